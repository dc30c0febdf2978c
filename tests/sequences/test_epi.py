"""EPI: times, places and labels of what is played, by pypulseq's own tracing, and the image it gives."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.epi import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for

PRISMA = Scanner.preset("siemens-prisma")
SMALL = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}
KINDS = [
    {},
    {"ramp_sampling": False},
    {"echo": "spin"},
    {"echo": "spin", "navigators": False, "ramp_sampling": False},
    {"segments": 2, "blips": "both", "dummies": 1},
    {"slices": 3, "partial_fourier": 0.75, "repetitions": 2},
    {"echo": "spin", "segments": 3, "blips": "both", "partial_fourier": 0.75, "matrix": (32, 24)},
    {"blips": "none", "te": 0.03},
]


def made(edge: float = 0.22, **extra) -> Protocol:
    return Protocol(**({"matrix": (32, 32), "fov": (edge, edge, edge / 50)} | extra))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("extra", KINDS, ids=str)
def test_playable(name, extra, tmp_path):
    scanner = Scanner.preset(name)
    seq = build(made(SMALL[name], **extra), scanner)
    assert seq.check_timing()[0]
    seq.write(str(tmp_path / "epi.seq"))
    report = check(read_seq(tmp_path / "epi.seq"), scanner)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings
    assert not [finding for finding in report.findings if finding.rule.startswith("label")], report.findings


@pytest.mark.parametrize("extra", KINDS, ids=str)
@pytest.mark.parametrize("more", [{"tr": None}, {"te": 60e-3, "tr": 0.5}], ids=["least", "longer"])
def test_times_places_and_labels(extra, more):
    protocol = made(**(extra | more))
    seq = build(protocol, PRISMA)
    k, _, excitation, refocusing, time = seq.calculate_kspace()
    labels = {name: np.asarray(value) for name, value in seq.evaluate_labels(evolution="adc").items()}
    count = k.shape[1] // len(labels["LIN"])
    k, time, excitation = k.reshape(3, -1, count), time.reshape(-1, count), np.asarray(excitation)
    nav, middle = labels["NAV"] == 1, count // 2
    encoded = (labels["LIN"] - protocol.matrix[1] // 2) / protocol.fov[1]
    assert np.allclose(k[:, :, middle].T, np.column_stack([0 * encoded, encoded, 0 * encoded]), atol=1e-3)
    assert np.ptp(k[1:], axis=2).max() < 1e-3  # blips are over while samples are taken
    assert np.array_equal(k[0, :, -1] < k[0, :, 0], labels["REV"] == 1)
    assert np.array_equal(labels["SEG"], labels["REV"])
    assert k[0].max() >= (protocol.matrix[0] / 2 - 0.5) / protocol.fov[0]
    assert k[0].min() <= -(protocol.matrix[0] / 2 - 0.5) / protocol.fov[0]
    shot = np.searchsorted(excitation, time[:, middle]) - 1
    central = ~nav & (labels["LIN"] == protocol.matrix[1] // 2)
    after = time[central, middle] - excitation[shot[central]]
    te, tr = seq.definitions["TE"], seq.definitions["TR"]
    if protocol.blips == "none":
        after = after[protocol.matrix[1] // 2]
    assert np.allclose(after, te, atol=1.1e-5)
    assert np.allclose(np.diff(excitation[:: protocol.slices]), tr, atol=1e-9)
    if protocol.echo == "spin":
        assert np.allclose(refocusing - excitation, te / 2, atol=1.1e-5)
    if protocol.tr is not None:
        assert (te, tr) == (pytest.approx(60e-3, abs=2e-5), pytest.approx(0.5, abs=3e-5))
    cells = np.column_stack([labels[name] for name in ("LIN", "SLC", "SET", "REP", "AVG", "NAV", "SEG")])
    one_train = ~nav | (protocol.segments == 1)  # each segment has navigators of its own
    assert len(np.unique(cells[one_train], axis=0)) == one_train.sum()


def test_every_line_is_read_once_and_segments_grow_smoothly_in_time():
    seq = build(made(segments=4, blips="both", navigators=False), PRISMA)
    labels = seq.evaluate_labels(evolution="adc")
    _, _, excitation, _, time = seq.calculate_kspace()
    time = time.reshape(len(labels["LIN"]), -1).mean(1)
    after = time - np.asarray(excitation)[np.searchsorted(excitation, time) - 1]
    spacing = seq.definitions["EchoSpacing"]
    for number, sign in ((0, 1), (1, -1)):
        own = np.asarray(labels["SET"]) == number
        lines = np.asarray(labels["LIN"])[own]
        order = np.argsort(lines)
        assert np.array_equal(lines[order], np.arange(32))
        assert np.allclose(sign * np.diff(after[own][order]), spacing / 4, atol=1.1e-5)


def test_ramp_sampling_is_faster_and_samples_on_the_ramps():
    plain, ramps = (build(made(bandwidth=4000.0, ramp_sampling=on), PRISMA) for on in (False, True))
    assert ramps.definitions["EchoSpacing"] < 0.8 * plain.definitions["EchoSpacing"]
    rise, flat, _, begin, length = ramps.definitions["TrapezoidGriddingParameters"]
    assert begin < rise
    assert begin + length > rise + flat


def simulated(protocol: Protocol, tmp_path, **more):
    """Return the scan of a brain, and where the brain is in the image."""
    path = tmp_path / "epi.seq"
    build(protocol, PRISMA).write(str(path))
    phantom = phantom_for(read_seq(path), "brain", 32, PRISMA)
    inside = np.roll(phantom.proton_density[0].numpy()[::-1] > 0.5, 1, 0)  # y of the scanner is to the back
    return acquire(path, phantom, PRISMA, tol=1e-2, **more), inside


def ghost(image: np.ndarray, inside: np.ndarray) -> float:
    """Return the mean signal half a field of view from the object, where the object is not, over that of the object."""
    wide = inside | np.roll(inside, 1, 0) | np.roll(inside, -1, 0) | np.roll(inside, 1, 1) | np.roll(inside, -1, 1)
    where = np.roll(inside, inside.shape[0] // 2, 0) & ~wide
    assert where.sum() > 20
    return float(image[where].mean() / image[inside].mean())


@pytest.mark.parametrize(
    "extra",
    [
        {"navigators": False},
        {"ramp_sampling": False, "echo": "spin"},
        {"ramp_sampling": False, "segments": 2, "tr": 3.0, "dummies": 2},
        {"ramp_sampling": False, "blips": "down"},
        {},
    ],
    ids=str,
)
def test_the_image_is_the_phantom_and_navigators_undo_the_ghost(extra, tmp_path):
    raw, inside = simulated(made(**extra), tmp_path, receiver_delay=3e-6)
    images = reconstruct(raw)
    assert images.quality["ghost_reference"] == extra.get("navigators", True)
    assert images.quality["gradient_delay"] == pytest.approx(-3e-6, abs=0.05e-6)
    assert ghost(images.extras["uncorrected"][0], inside) > 0.1
    image = np.abs(images.values[0, 0])
    assert ghost(image, inside) < 0.02  # blips down shift what is off resonance the other way
    wide = inside | np.roll(inside, 1, 0) | np.roll(inside, -1, 0) | np.roll(inside, 1, 1) | np.roll(inside, -1, 1)
    assert image[~wide].mean() < 0.04 * image[inside].mean()


@pytest.mark.parametrize("segments", [1, 4])
def test_segments_of_the_default_have_no_ghost(segments, tmp_path):
    raw, inside = simulated(made(segments=segments, ramp_sampling=False), tmp_path)
    assert ghost(np.abs(reconstruct(raw).values[0, 0]), inside) < 0.015


def test_a_first_segment_with_all_the_magnetisation_is_a_ghost(tmp_path):
    raw, inside = simulated(made(segments=4, ramp_sampling=False, dummies=0, tr=None), tmp_path)
    assert ghost(np.abs(reconstruct(raw).values[0, 0]), inside) > 0.1


def test_a_train_without_blips_is_a_ghost_reference(tmp_path):
    raw, inside = simulated(made(navigators=False), tmp_path, receiver_delay=3e-6)
    reference, _ = simulated(made(navigators=False, blips="none"), tmp_path, receiver_delay=3e-6)
    images = reconstruct(raw, reference=reference)
    assert images.quality["ghost_reference"] == 1
    assert images.quality["gradient_delay"] == pytest.approx(-3e-6, abs=0.05e-6)
    assert ghost(np.abs(images.values[0, 0]), inside) < 0.01


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"te = 10 ms is too short: 14\.\d+ ms is the least"):
        build(made(te=10e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 20 ms is too short"):
        build(made(tr=20e-3), PRISMA)
    with pytest.raises(ProtocolError, match="twice the segments"):
        made(segments=3)
    with pytest.raises(ProtocolError, match="blips"):
        made(blips="sideways")


@pytest.mark.parametrize("ramps", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_the_bandwidth_that_is_said_to_work_does(ramps, name):
    scanner = Scanner.preset(name)
    with pytest.raises(ProtocolError, match=r"\d+ Hz is the most that works") as refused:
        build(made(SMALL[name], bandwidth=1e6, ramp_sampling=ramps), scanner)
    most = float(str(refused.value).split(": ")[1].split(" Hz")[0])
    assert build(made(SMALL[name], bandwidth=most, ramp_sampling=ramps), scanner).check_timing()[0]
    with pytest.raises(ProtocolError, match="is the most"):
        build(made(SMALL[name], bandwidth=1.2 * most, ramp_sampling=ramps), scanner)


@pytest.mark.parametrize("name", ["siemens-prisma", "siemens-terra"])
def test_fat_is_saturated_before_each_excitation(name):
    scanner = Scanner.preset(name)
    seq = build(Protocol(matrix=(32, 32), slices=2, dummies=0), scanner)
    pulses = [block.rf for block in map(seq.get_block, seq.block_events) if block.rf is not None]
    assert [pulse.use for pulse in pulses] == ["saturation", "excitation"] * 2
    assert pulses[0].freq_offset == pytest.approx(-3.45e-6 * scanner.gamma * scanner.field_strength)
    plain = build(Protocol(matrix=(32, 32), slices=2, fat_saturation=False), scanner)
    assert plain.definitions["TE"] == pytest.approx(seq.definitions["TE"])
