"""Saturation recovery: the signal at each recovery time, whatever the B1; T1 of an image; what is played."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sequences.saturation_recovery import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel, vials
from tests.sequences.nonlines import EDGE, PRISMA, Scanner, errors
from tests.world import at_voxels


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize(
    "extra", [{"shots": 2}, {"readout": "epi", "matrix": (32, 32, 2), "bandwidth": 2000.0}], ids=str
)
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    settings = {"matrix": (16, 16, 1), "recovery_times": (1.0, 0.4), "fov": (edge, edge, edge / 4)}
    assert not errors(build(Protocol(**(settings | extra)), scanner), tmp_path / "recovery.seq", scanner)


@pytest.mark.parametrize("b1", [0.75, 1.0, 1.25])
def test_the_signal_recovers_with_t1_whatever_b1(b1, tmp_path):
    times = (3.0, 1.0, 0.5, 0.2, 0.05, 0.2, 0.3)
    protocol = Protocol(
        readout="fid", matrix=(1, 1, 1), fov=(4e-3,) * 3, oversampling=4, rf_duration=5e-4, flip_angle=np.pi / 2,
        recovery_times=times,
    )  # fmt: skip
    build(protocol, PRISMA).write(str(tmp_path / "recovery.seq"))
    seq = read_seq(tmp_path / "recovery.seq")
    raw = acquire(seq, single_voxel(Tissue(1.0, 0.9, 0.08), (4e-3,) * 3, b1=b1), PRISMA)
    signal = np.abs(raw.groups[0].samples[:, 0, 0])
    assert seq.definitions["TI"] == pytest.approx(times, abs=1e-5)
    assert np.allclose(signal / abs(np.sin(b1 * np.pi / 2)), 1 - np.exp(-np.array(times) / 0.9), atol=0.02)


def test_times_from_the_last_pulse_to_the_centre_of_k_space():
    protocol = Protocol(matrix=(16, 16, 4), shots=4, recovery_times=(0.7, 0.3), order="linear")
    seq = build(protocol, PRISMA)
    _, _, excitation, _, time = seq.calculate_kspace()
    labels = seq.evaluate_labels(evolution="adc")
    time, start, saturated = time.reshape(len(labels["LIN"]), -1), 0.0, []
    for number in seq.block_events:
        block = seq.get_block(number)
        if block.rf is not None and block.rf.use == "saturation":
            saturated.append(start + block.rf.delay + block.rf.center)
        start += seq.block_durations[number]
    centre = time[(labels["LIN"] == 8) & (labels["PAR"] == 2), 16]
    excited = np.asarray(excitation)[np.searchsorted(excitation, centre) - 1]
    last = np.asarray(saturated)[np.searchsorted(saturated, excited) - 1]
    assert np.allclose(excited - last, [0.7, 0.3], atol=6e-6)


def test_t1_of_an_image(tmp_path):
    protocol = Protocol(matrix=(20, 20, 1), recovery_times=(5.0, 0.8), readout="epi", bandwidth=2000.0)
    build(protocol, PRISMA).write(str(tmp_path / "recovery.seq"))
    tissues = [Tissue(1.0, t1, 0.1) for t1 in (0.5, 1.6)]
    phantom = vials((1, 20, 20), protocol.fov, tissues=tissues)
    images = reconstruct(acquire(tmp_path / "recovery.seq", phantom, PRISMA, tol=1e-2))
    long, short = (np.abs(at_voxels(image, images.affine, phantom)) for image in images.values)
    for one in tissues:
        inside = (phantom.proton_density.numpy() > 0.9) & np.isclose(phantom.t1.numpy(), one.t1, rtol=0.01)
        expected = (1 - np.exp(-0.8 / one.t1)) / (1 - np.exp(-5.0 / one.t1))
        assert inside.sum() >= 6
        assert short[inside].sum() / long[inside].sum() == pytest.approx(expected, rel=0.02)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"recovery_times = 1 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(recovery_times=(1.0, 1e-3)), PRISMA)
    with pytest.raises(ProtocolError, match="recovery_times: give at least one"):
        Protocol(recovery_times=())
