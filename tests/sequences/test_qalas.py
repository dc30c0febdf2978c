"""3D-QALAS: the published timing table, labels and phases as pypulseq traces them, and signals by the closed form."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.protocol import definitions, protocol_from
from pulsetwin.sequences.qalas import Protocol, build, sampling
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import WATER
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import preparation_maps
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sequences.nonlines import EDGE, PRISMA, errors

PROTOCOLS = Path(__file__).resolve().parents[2] / "examples" / "protocols"
TEN_US = 10e-6 + 1e-9
SMALL = {
    "matrix": (32, 12, 8), "acceleration": 1.5, "calibration": 4, "train": 8, "bandwidth": 500.0, "te": None,
    "t2prep_te": 0.04, "t2prep_delay": None, "echo_spacing": None, "inversion_gap": 0.2, "ti": 0.1, "gap": 0.2,
    "tr": 1.2,
}  # fmt: skip
LEAST = {"te": None, "echo_spacing": None, "t2prep_delay": None, "inversion_gap": None, "ti": None, "gap": None}


def small(edge=0.2, **more) -> Protocol:
    return Protocol(fov=(edge,) * 3, **(SMALL | more))


def pulses(seq) -> list[tuple[float, float, pp.Sequence]]:
    """Return the start of the block, the centre of the pulse [s], and the pulse, of all pulses."""
    found, start = [], 0.0
    for number in seq.block_events:
        rf = seq.get_block(number).rf
        if rf is not None:
            found.append((start, start + rf.delay + rf.center, rf))
        start += seq.block_durations[number]
    return found


def acquired(seq) -> dict[str, np.ndarray]:
    """Return the labels of each acquisition."""
    labels = seq.evaluate_labels(evolution="adc")
    return {name: np.asarray(values) for name, values in labels.items()}


@pytest.fixture(scope="module")
def table():
    """The default times with few lines of the same resolution, and no dummies."""
    return build(Protocol(fov=(0.256, 0.024, 0.016), matrix=(256, 24, 16), acceleration=None, dummies=0), PRISMA)


def test_timing_table(table):
    """Jun's 1 mm protocol as rebuilt from its writer: TR 4500.02 ms, TE 2.276 ms, 90-90 100 ms, five train starts."""
    found = pulses(table)
    tips = [(start, centre) for start, centre, rf in found if rf.use == "preparation"]
    begin = tips[0][0]
    assert tips[1][1] - tips[0][1] == pytest.approx(0.1, abs=1e-9)
    assert tips[2][0] - begin == pytest.approx(4.50002, abs=TEN_US)
    assert table.definitions["TR"] == pytest.approx(tips[2][0] - begin, abs=1e-9)
    excitations = [(start, centre) for start, centre, rf in found if rf.use == "excitation"]
    starts = np.array([excitations[127 * contrast][0] for contrast in range(5)]) - begin
    assert np.allclose(1e3 * starts, [110.14, 1009.92, 1909.92, 2809.92, 3709.92], atol=1e3 * TEN_US)
    spacing = np.diff([start for start, _ in excitations[:635]]).reshape(-1)
    assert np.allclose(np.delete(spacing, np.arange(126, 634, 127)), 5.8e-3, atol=1e-9)
    (inverted,) = [start for start, _, rf in found[:700] if rf.use == "inversion"]
    assert inverted - begin == pytest.approx(903.44e-3, abs=TEN_US)
    k, _, _, _, time = table.calculate_kspace()
    middle = np.argmin(np.abs(k[0].reshape(-1, 512)), axis=1)
    assert np.all(middle == 256)
    te = time.reshape(-1, 512)[:, 256] - [centre for _, centre in excitations]
    assert np.allclose(te, 2.276e-3, atol=TEN_US)
    assert np.allclose(te, table.definitions["TE"], atol=1e-9)


def test_definitions_tell_all_times(table):
    found = pulses(table)
    said = table.definitions
    begin = found[0][0]
    excitations = [centre - begin for _, centre, rf in found if rf.use == "excitation"]
    inverted = next((start, rf) for start, _, rf in found if rf.use == "inversion")
    tips = [centre - begin for _, centre, rf in found if rf.use == "preparation"]
    assert np.allclose(said["TrainStarts"], excitations[:635:127], atol=1e-9)
    assert said["EchoSpacing"] == pytest.approx(excitations[1] - excitations[0], abs=1e-9)
    assert said["TrainLength"] == 127
    assert (said["T2prepStart"], said["T2prepTE"]) == pytest.approx((tips[0], tips[1] - tips[0]), abs=1e-9)
    assert said["InversionStart"] == pytest.approx(inverted[0] - begin + inverted[1].delay, abs=1e-9)
    assert said["InversionDuration"] == pytest.approx(inverted[1].shape_dur, abs=1e-9)
    middle = inverted[0] - begin + inverted[1].delay + inverted[1].center
    assert said["TI"] == pytest.approx(excitations[127] - middle, abs=1e-9)
    assert np.allclose(said["FlipAngles"], [math.radians(4)] * 5)


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {**LEAST, "tr": None, "noise_samples": 200, "acceleration": None, "dummies": 0}])
def test_playable(name, extra, tmp_path):
    scanner = Scanner.preset(name)
    protocol = small(EDGE[name], **extra)
    seq = build(protocol, scanner)
    assert not errors(seq, tmp_path / "qalas.seq", scanner)
    peak = max(np.abs(rf.signal).max() for _, _, rf in pulses(seq))
    assert peak <= scanner.max_b1 * scanner.gamma * (1 + 1e-9)


def test_labels_are_where_the_trajectory_is():
    seq, protocol = build(small(), PRISMA), small()
    k, _, _, _, _ = seq.calculate_kspace()
    k = k.reshape(3, -1, 64)[:, :, 32] * 0.2
    named = acquired(seq)
    assert np.allclose(k[0], 0, atol=1e-3)
    assert np.allclose(k[1:], [named["LIN"] - 6, named["PAR"] - 4], atol=1e-3)
    orders = sampling(protocol)
    number = np.arange(orders[..., 0].size * 5).reshape(len(orders), 5, 8)
    assert np.array_equal(named["SEG"][number], np.broadcast_to(np.arange(len(orders))[:, None, None], number.shape))
    assert np.array_equal(named["ECO"][number], np.broadcast_to(np.arange(5)[None, :, None], number.shape))
    assert np.array_equal(named["LIN"][number], np.broadcast_to(orders[:, None, :, 0], number.shape))
    centre = (np.abs(named["LIN"] - 5.5) < 2) & (np.abs(named["PAR"] - 3.5) < 2)
    assert np.array_equal(named["REF"], centre)
    assert np.array_equal(named["IMA"], centre)
    assert centre.sum() == 5 * 16
    assert not named["ONCE"].any()


def test_rf_spoiling_starts_anew_each_tr_and_the_receiver_follows():
    seq = build(small(), PRISMA)
    phase, received = [], []
    for block in map(seq.get_block, seq.block_events):
        if block.rf is not None and block.rf.use == "excitation":
            phase.append(block.rf.phase_offset)
        if block.adc is not None:
            received.append(block.adc.phase_offset)
    number = np.arange(40)
    wanted = np.exp(1j * np.radians(117) * number * (number + 1) / 2)
    assert np.allclose(np.exp(1j * np.array(phase)).reshape(-1, 40), wanted, atol=1e-6)
    assert np.allclose(np.exp(1j * np.array(received)).reshape(-1, 40), wanted, atol=1e-6)


def test_each_readout_is_spoiled_along_x_and_rewound_along_y_and_z():
    seq = build(small(spoiling=1.5), PRISMA)
    areas = np.zeros((0, 3))
    total, counting = np.zeros(3), False
    for block in map(seq.get_block, seq.block_events):
        if block.rf is not None:
            if counting:
                areas = np.vstack((areas, total))
            total, counting = np.zeros(3), block.rf.use == "excitation"
        for axis, one in enumerate((block.gx, block.gy, block.gz)):
            total[axis] += 0 if one is None else one.area
    inside = areas[np.abs(areas[:, 2]) < 1]  # the spoilers of preparations are along z
    assert len(inside) > 100
    assert np.allclose(inside, [1.5 * 32 / 0.2, 0, 0], atol=1e-6)


def test_dummies_and_noise_come_first():
    seq = build(small(dummies=2, noise_samples=100), PRISMA)
    kinds = [(block.rf is not None, block.adc is not None) for block in map(seq.get_block, seq.block_events)]
    firsts = [number for number, (rf, adc) in enumerate(kinds) if adc]
    assert not any(rf for rf, _ in kinds[: firsts[1] + 1])
    assert sum(rf for rf, _ in kinds[: firsts[2]]) == 2 * (6 + 1 + 40) + 6 + 1
    named = acquired(seq)
    assert named["NOISE"].tolist() == [1, 1] + [0] * (len(firsts) - 2)


def test_trains_begin_in_the_centre_and_move_outwards():
    orders = sampling(Protocol(matrix=(256, 64, 48), train=40))
    assert orders.shape == (13, 40, 2)
    assert len(np.unique(orders.reshape(-1, 2), axis=0)) == 13 * 40
    radius = np.hypot((orders[..., 0] - 32) / 32, (orders[..., 1] - 24) / 24)
    assert np.all(radius[:, 1:].min(0) >= radius[:, :-1].max(0) - 1e-12)
    assert np.all(radius <= 1)


@pytest.mark.slow
def test_annuli_of_the_default_pattern():
    """Mean radius of the 1st, 2nd, 6th, 21st and last echo of the published pattern; 16 x 16 lines are all there."""
    orders = sampling(Protocol())
    assert orders.shape == (64, 127, 2)
    assert len(np.unique(orders.reshape(-1, 2), axis=0)) == 64 * 127
    y, z = (orders[..., 0] - 120) / 120, (orders[..., 1] - 104) / 104
    radius = np.hypot(y, z)
    for echo, published in ((0, 0.029), (1, 0.045), (5, 0.13), (20, 0.37), (126, 0.997)):
        assert radius[:, echo].mean() == pytest.approx(published, abs=0.07)
        assert radius[:, echo].std() < 0.02
    centre = (np.abs(orders[..., 0] - 119.5) < 8) & (np.abs(orders[..., 1] - 103.5) < 8)
    assert centre.sum() == 256


def test_full_sampling_is_an_ellipse_with_full_trains():
    """The NIST protocol: 168 x 56 lines, of which 78 % are sampled in 58 TRs."""
    orders = sampling(Protocol(fov=(0.192, 0.168, 0.168), matrix=(192, 168, 56), acceleration=None))
    cells = np.unique(orders.reshape(-1, 2), axis=0)
    assert orders.shape == (58, 127, 2)
    assert len(cells) == 58 * 127
    inside = np.hypot((cells[:, 0] - 84) / 84, (cells[:, 1] - 28) / 28) <= 1
    y, z = np.meshgrid(np.arange(168), np.arange(56))
    assert inside.sum() == (np.hypot((y - 84) / 84, (z - 28) / 28) <= 1).sum()


TINY = Protocol(
    fov=(0.008, 0.004, 0.002), matrix=(8, 4, 2), acceleration=None, calibration=0, train=8, dummies=2, te=None,
    bandwidth=500.0, inversion_gap=0.6, gap=0.6, tr=3.0,
)  # fmt: skip


def first_echoes(seq, path, t1, t2, **settings) -> np.ndarray:
    """Return the signal at k = 0 of each train without its decay, of a voxel of 1 mm by the twin."""
    seq.write(str(path))
    raw = acquire(path, single_voxel(replace(WATER, t1=t1, t2=t2)), PRISMA, **settings)
    return np.asarray(raw.groups[0].samples)[::8, 0, 8] * 1j * math.exp(seq.definitions["TE"] / t2)


def test_twin_gives_the_closed_form(tmp_path):
    """White matter by graphs, whose pulses act at once, at their centres."""
    seq = build(TINY, PRISMA)
    found = first_echoes(seq, tmp_path / "qalas.seq", 0.85, 0.07)
    angles = TINY.flip_angle * 5
    wanted = np.sin(angles) * closed_form(seq.definitions, 0.85, 0.07, np.cos(angles))
    assert np.allclose(found, wanted, atol=0.005 * wanted.max())


def test_flip_angles_of_trains(tmp_path):
    """Five angles are those of the trains, as the file tells, and the twin's signals are of the model with them."""
    angles = tuple(math.radians(angle) for angle in (6.0, 4.0, 7.0, 2.0, 5.0))
    seq = build(replace(TINY, flip_angle=angles), PRISMA)
    played = np.array([2 * math.pi * abs(rf.signal).mean() * rf.shape_dur for _, _, rf in pulses(seq)
                       if rf.use == "excitation"])  # fmt: skip
    assert np.allclose(played.reshape(-1, 5, TINY.train), np.array(angles)[:, None], rtol=1e-6)
    found = first_echoes(seq, tmp_path / "qalas.seq", 0.85, 0.07)
    assert seq.definitions["FlipAngles"] == list(angles)
    wanted = np.sin(angles) * closed_form(seq.definitions, 0.85, 0.07, np.cos(angles))
    assert np.allclose(found, wanted, atol=0.005 * wanted.max())
    with pytest.raises(ProtocolError, match="flip_angle has 3 values: give 1 or 5"):
        replace(TINY, flip_angle=angles[:3])


@pytest.mark.parametrize(("t1", "t2", "efficiency"), [(0.85, 0.07, 0.887), (1.35, 0.085, 0.906)])
def test_twin_gives_the_closed_form_of_the_real_pulses(t1, t2, efficiency, tmp_path):
    """White and grey matter by isochromats that relax during pulses; the inversion as by the ODE solver at 21 uT."""
    seq = build(TINY, PRISMA)
    found = first_echoes(seq, tmp_path / "qalas.seq", t1, t2, engine="isochromats", spins=4096)
    timing = QalasTiming.from_definitions(seq.definitions)
    spins = [torch.tensor([value], dtype=torch.float64) for value in (t1, t2, 1.0, 0.0)]
    windows, (t2prep, inverted) = preparation_maps(timeline_from_seq(read_seq(tmp_path / "qalas.seq")), timing, *spins)
    assert -float(inverted[0] + inverted[1]) == pytest.approx(efficiency, abs=0.002)
    names = ("t2prep_start", "t2prep_end", "inversion_start", "inversion_end")
    pulses = SimpleNamespace(
        **dict(zip(names, [*windows[0], *windows[1]], strict=True)),
        both=lambda *_: (t2prep, inverted),
        left=lambda *_: 0.0,
    )
    wanted = signals(timing, *spins[:2], pulses=pulses)[0].numpy()
    assert np.allclose(found, wanted, atol=0.01 * wanted.max())


def closed_form(said, t1, t2, cosines) -> np.ndarray:
    """Return the steady state of Mz before each train, by the times that the `.seq` states."""
    tipped, inverted = said["T2prepStart"] + said["T2prepTE"], said["InversionStart"] + said["InversionDuration"] / 2
    state, maps = np.array([math.exp(-said["T2prepTE"] / t2), 0.0]), []  # Mz -> state[0] Mz + state[1]

    def recovered(time):
        return state * math.exp(-time / t1) + [0, 1 - math.exp(-time / t1)]

    ends = [start + said["TrainLength"] * said["EchoSpacing"] for start in said["TrainStarts"]]
    for contrast, start in enumerate(said["TrainStarts"]):
        begin = ([tipped, *ends])[contrast]
        if contrast == 1:
            state, begin = -recovered(inverted - begin), inverted
        state = recovered(start - begin)
        maps.append(state)
        for _ in range(said["TrainLength"]):
            state = state * cosines[contrast]
            state = recovered(said["EchoSpacing"])
    state = recovered(said["TR"] + said["T2prepStart"] - ends[-1])
    steady = state[1] / (1 - state[0])
    return np.array([one[0] * steady + one[1] for one in maps])


def protocol_of(name: str) -> Protocol:
    path = PROTOCOLS / f"{name}.toml"
    return protocol_from(Protocol, tomllib.loads(path.read_text("utf-8"))["qalas"], name)


def test_the_rodent_protocol_is_playable(tmp_path):
    scanner = Scanner.preset("bruker-biospec-94")
    seq = build(replace(protocol_of("qalas_rodent"), acceleration=16.0, dummies=0), scanner)
    assert not errors(seq, tmp_path / "qalas.seq", scanner)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "repetitions"), [(None, 64), ("qalas_nist", 58)])
def test_whole_protocols_are_written_and_playable(name, repetitions, tmp_path):
    protocol = protocol_of(name) if name else Protocol()
    seq = build(protocol, PRISMA)
    report = write_siemens(
        seq, tmp_path / "qalas.seq", scanner=PRISMA, definitions=definitions(protocol, "qalas", "test")
    )
    assert not report.errors
    assert len(seq.block_events) > 150_000
    named = acquired(seq)
    counted = np.bincount(named["SEG"])
    assert counted.tolist() == [635] * repetitions
    places = [set(zip(named["LIN"][n], named["PAR"][n], strict=True)) for n in (named["ECO"] == c for c in range(5))]
    assert all(one == other for one, other in pairwise(places))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("te", 1e-3, "te = 1 ms is too short"), ("echo_spacing", 1e-3, "echo_spacing = 1 ms is too short"),
        ("t2prep_te", 0.01, "t2prep_te = 10 ms is too short"), ("ti", 0.01, "ti = 10 ms is too short"),
        ("t2prep_delay", 0.005, "t2prep_delay = 5 ms is too short"), ("gap", 0.01, "gap = 10 ms is too short"),
        ("inversion_gap", 0.12, "inversion_gap = 120 ms is too short"), ("tr", 0.5, "tr = 500 ms is too short"),
        ("inversion_b1", 30e-6, "peak B1 = 30 uT is more than the 24 uT"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(setting, value, said):
    with pytest.raises(ProtocolError, match=said):
        build(small(**{setting: value}), PRISMA)


def test_uneven_matrices_are_refused():
    with pytest.raises(ProtocolError, match="even numbers"):
        replace(small(), matrix=(31, 8, 8))
