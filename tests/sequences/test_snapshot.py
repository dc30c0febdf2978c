"""Snapshots after a preparation: places, times and labels by pypulseq's own tracing, and the image they give."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sequences.snapshot import Settings, check_readout, readout, start
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantoms import phantom_by_name
from tests.sequences.nonlines import EDGE, PRISMA, Scanner, errors
from tests.world import at_voxels

VOLUME = {"matrix": (16, 12, 6), "fov": (0.16, 0.12, 0.06)}
EPI = {"readout": "epi", "bandwidth": 2000.0}
KINDS = [
    {},
    {"shots": 3, "te": 5e-3, "echo_spacing": 12e-3} | VOLUME,
    {"order": "linear"} | VOLUME,
    EPI | VOLUME,
    EPI | {"navigators": False, "ramp_sampling": True, "te": 20e-3, "echo_spacing": 40e-3} | VOLUME,
    EPI | {"segments": 3, "shots": 2} | VOLUME,
    EPI | {"segments": 2, "order": "linear", "navigators": False} | VOLUME,
]


def played(settings: Settings, scanner: Scanner = PRISMA, measurements: int = 2):
    """Return a sequence of a number of measurements without preparations, and its readout."""
    check_readout(settings)
    snapshot = readout(settings, 0.3, scanner)
    seq = start(settings, snapshot, scanner)
    for number in range(measurements):
        for shot in range(settings.shots):
            snapshot.add(seq, shot, number)
    seq.set_definition("FOV", list(settings.fov))
    seq.set_definition("Matrix", [float(count) for count in settings.matrix])
    return seq, snapshot


@pytest.mark.parametrize("extra", KINDS, ids=str)
def test_places_times_and_labels(extra):
    settings = Settings(**({"matrix": (16, 16, 1)} | extra))
    seq, snapshot = played(settings)
    k, _, excitation, _, time = seq.calculate_kspace()
    labels = {name: np.asarray(value) for name, value in seq.evaluate_labels(evolution="adc").items()}
    samples = k.shape[1] // len(labels["LIN"])
    k, time, excitation = k.reshape(3, -1, samples), time.reshape(-1, samples), np.asarray(excitation)
    nav, middle = labels["NAV"] == 1, samples // 2
    y, z = (
        (labels[name] - n // 2) / fov
        for name, n, fov in zip(("LIN", "PAR"), settings.matrix[1:], settings.fov[1:], strict=True)
    )
    wanted = np.column_stack((0 * y, y, np.where(nav, 0, z)))
    assert np.allclose(k[:, :, middle].T, wanted, atol=1e-3)
    cells = np.column_stack([labels[name] for name in ("LIN", "PAR", "SET")])[~nav]
    assert len(np.unique(cells, axis=0)) == len(cells) == 2 * settings.matrix[1] * settings.matrix[2]
    assert np.array_equal(labels["REV"] == 1, k[0, :, -1] < k[0, :, 0])
    total = 2 * settings.shots * snapshot.duration
    assert seq.duration()[0] == pytest.approx(total, abs=1e-9)
    shot = np.searchsorted(excitation, time[:, middle]) - 1
    central = ~nav & (labels["LIN"] == settings.matrix[1] // 2)
    assert np.allclose(time[central, middle] - excitation[shot[central]], snapshot.te, atol=1.1e-5)
    if settings.te is not None:
        assert snapshot.te == pytest.approx(settings.te, abs=1.1e-5)
    spacing = np.diff(excitation)
    assert np.ptp(spacing) < 1e-9
    assert spacing[0] == pytest.approx(settings.echo_spacing or spacing[0], abs=1e-9)
    origin = central & (labels["PAR"] == settings.matrix[2] // 2)
    earlier = excitation[shot[origin]].min() // snapshot.duration * snapshot.duration
    if settings.segments == 1:
        assert excitation[shot[origin]].min() - earlier == pytest.approx(snapshot.centre, abs=1e-9)


def test_noise_comes_first():
    seq, _ = played(Settings(matrix=(16, 16, 1), noise_samples=100), measurements=1)
    labels = seq.evaluate_labels(evolution="adc")
    assert np.array_equal(labels["NOISE"], [1] * 4 + [0] * 16)  # of 32 samples each
    assert seq.get_block(2).rf is None
    assert seq.get_block(2).gx is None


def test_centric_order_moves_outwards_in_each_shot():
    settings = Settings(matrix=(16, 16, 8), shots=4)
    seq, _ = played(settings, measurements=1)
    labels = seq.evaluate_labels(evolution="adc")
    radius = np.hypot((labels["LIN"] - 8) / 8, (labels["PAR"] - 4) / 4).reshape(4, -1)
    assert np.all(np.diff(radius, axis=1) >= 0)
    assert radius[:, 0].max() < 0.3


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", KINDS, ids=str)
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    settings = Settings(**({"matrix": (16, 16, 1)} | extra | {"fov": (edge, edge, edge / 4)}))
    assert not errors(played(settings, scanner, 1)[0], tmp_path / "snapshot.seq", scanner)


@pytest.mark.parametrize(
    "extra",
    [
        {"matrix": (24, 24, 1)},
        EPI | {"matrix": (32, 32, 1), "segments": 2, "shots": 2},
        EPI | {"matrix": (32, 32, 1), "ramp_sampling": True, "navigators": False},
    ],
    ids=str,
)
def test_the_image_is_the_phantom(extra, tmp_path):
    settings = Settings(**extra)
    seq, _ = played(settings, measurements=1)
    seq.write(str(tmp_path / "snapshot.seq"))
    phantom = phantom_by_name("shepp-logan", settings.matrix[::-1], settings.fov)
    images = reconstruct(acquire(read_seq(tmp_path / "snapshot.seq"), phantom, PRISMA, tol=1e-2))
    image = np.abs(at_voxels(images.values[0], images.affine, phantom))
    assert np.corrcoef(image.ravel(), phantom.proton_density.numpy().ravel())[0, 1] > 0.95


def test_what_cannot_be_is_refused():
    for wrong, told in (
        ({"matrix": (16, 15, 1)}, "even numbers"),
        ({"shots": 3}, "a divisor of the 64 excitations"),
        ({"segments": 2}, "only epi has them"),
        ({"readout": "epi", "matrix": (16, 18, 1), "segments": 2}, "a multiple of 4 lines"),
        ({"readout": "fid"}, "a fid has no encoding"),
    ):
        with pytest.raises(ProtocolError, match=told):
            check_readout(Settings(**wrong))
    for wrong, told in (({"te": 1e-3}, "te = 1 ms is too short"), ({"echo_spacing": 1e-3}, "echo_spacing = 1 ms")):
        for kind in ("flash", "epi"):
            with pytest.raises(ProtocolError, match=told):
                readout(Settings(readout=kind, **wrong), 0.3, PRISMA)
