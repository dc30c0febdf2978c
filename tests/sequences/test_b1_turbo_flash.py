"""Pre-saturated turbo-FLASH: times, places and labels of what is played, its slices, and the B1 of its images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.b1_turbo_flash import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_shapes import Ellipsoid, painted
from pulsetwin.sim.phantom_tissue import Tissue
from tests.sequences.bloch import longitudinal, spinor
from tests.sequences.nonlines import EDGE, PRISMA, errors, net_moments
from tests.world import at_voxels

SMALL = {"fov": (0.2, 0.1, 0.005), "matrix": (32, 8, 1)}


@pytest.mark.parametrize("name", EDGE)
@pytest.mark.parametrize("extra", [{}, {"slices": 3, "noise_samples": 100}, {"tr": None, "spoiling": 0.0}])
def test_playable(name, extra, tmp_path):
    scanner, edge = Scanner.preset(name), EDGE[name]
    protocol = Protocol(fov=(edge, edge, edge / 40), matrix=(32, 8, 1), slice_gap=edge / 40, **extra)
    assert not errors(build(protocol, scanner), tmp_path / "b1.seq", scanner)


@pytest.mark.parametrize(("te", "tr"), [(None, None), (4e-3, 1.5)])
def test_times_and_places(te, tr):
    seq = build(Protocol(**SMALL, slices=3, te=te, tr=tr), PRISMA)
    k, _, excitation, _, time = seq.calculate_kspace()
    k, time, excitation = k.reshape(3, -1, 64), time.reshape(-1, 64), np.asarray(excitation)
    assert len(time) == 2 * 3 * 8
    assert np.allclose(k[0, :, 32], 0, atol=1e-3)
    order = [4, 5, 3, 6, 2, 7, 1, 0]
    assert np.allclose(k[1, :, 32], np.tile((np.array(order) - 4) / 0.1, 6), atol=1e-3)
    assert np.allclose(time[:, 32] - excitation[-len(time) :], seq.definitions["TE"], atol=1e-9)
    assert np.allclose(np.diff(time[::8, 0].reshape(2, 3), axis=0), seq.definitions["TR"], atol=1e-9)
    if te is not None:
        assert seq.definitions["TE"] == pytest.approx(te, abs=5e-6)
        assert seq.definitions["TR"] == pytest.approx(tr, abs=4e-5)


def test_preparations_and_labels():
    seq = build(Protocol(**SMALL, slices=3, dummies=1, noise_samples=64), PRISMA)
    found = seq.evaluate_labels(evolution="adc")
    assert found["NOISE"].tolist() == [1] + [0] * 48
    assert np.array_equal(found["SET"][1:], np.repeat([0, 1], 24))
    assert np.array_equal(found["SLC"][1:], np.tile(np.repeat([0, 2, 1], 8), 2))
    assert np.array_equal(found["LIN"][1:], np.tile([4, 5, 3, 6, 2, 7, 1, 0], 6))
    start = np.cumsum([0, *seq.block_durations.values()])
    pulses = [
        (start[at] + rf.delay + rf.center, rf.use)
        for at, rf in enumerate(seq.get_block(number).rf for number in seq.block_events)
        if rf is not None
    ]
    prepared = [n for n, (_, use) in enumerate(pulses) if use == "preparation"]
    assert prepared == [48, 57, 66]  # after 24 excitations of the dummies and 24 of the reference
    for n in prepared:
        assert pulses[n + 1][0] - pulses[n][0] == pytest.approx(seq.definitions["PreparationDelay"], abs=1e-9)


def test_gradients_spoil_by_whole_cycles(tmp_path):
    seq = build(Protocol(**SMALL, dummies=0), PRISMA)
    seq.write(str(tmp_path / "b1.seq"))
    along_z = net_moments(tmp_path / "b1.seq")[:, 2] * 5e-3  # cycles, from the start of a pulse's block to the next's
    first_half = [block.gz.area / 2 * 5e-3 for block in map(seq.get_block, seq.block_events) if block.rf is not None]
    along_z += np.diff(first_half)  # from centre to centre
    assert np.allclose(along_z[:7], 2, atol=1e-4)
    assert np.allclose(along_z[8], 8, atol=1e-4)
    assert np.allclose(along_z[9:], 2, atol=1e-4)


@pytest.mark.parametrize("b1", [0.6, 1.0, 1.2])
def test_the_prepared_slab_is_even_where_the_slice_is(b1):
    """By rotations across the slice, what is excited has the angle to 1.5 percent in its mean."""
    seq = build(Protocol(**SMALL), PRISMA)
    z = np.linspace(-0.015, 0.015, 301)
    blocks = [block for block in map(seq.get_block, seq.block_events) if block.rf is not None]
    excite, prepare = blocks[0], next(block for block in blocks if block.rf.use == "preparation")
    turned = []
    for block in (excite, prepare):
        signal = block.rf.signal[: len(block.rf.signal) // 10 * 10].reshape(-1, 10).mean(1)
        turned.append(spinor(signal, np.full(z.shape, b1), block.gz.amplitude * z, 10e-6))
    (a, b), after = turned[0], longitudinal(turned[1])
    length = len(excite.rf.signal) * PRISMA.rf_raster
    across = (
        2 * np.conj(a) * b * np.exp(-1j * np.pi * excite.gz.amplitude * z * length)
    )  # rephased by half of the pulse
    across *= np.exp(-1j * np.angle(across.sum()))
    assert abs(across.sum()) > 0.9 * abs(across[np.abs(z) < 2.5e-3]).sum()
    ratio = (across * after).sum().real / across.sum().real
    assert math.acos(ratio) / math.radians(80) / b1 == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize(("tr", "dummies"), [(5.0, 0), (0.8, 2)])
def test_the_flip_angle_is_that_of_the_map(tr, dummies, tmp_path):
    """Flip angles from 52 to 100 degrees along x to 2 percent, also where TR is shorter than T1."""
    protocol = Protocol(fov=(0.16, 0.16, 0.005), matrix=(16, 16, 1), tr=tr, dummies=dummies)
    seq = build(protocol, PRISMA)
    seq.write(str(tmp_path / "b1.seq"))
    phantom = painted((1, 16, 16), protocol.fov, [Ellipsoid((0, 0, 0), (0.07, 0.07, math.inf), Tissue(1.0, 1.0, 0.08))])
    map_of_b1 = torch.linspace(0.65, 1.25, 16, dtype=torch.float64).expand(1, 1, 16, 16)
    phantom = replace(phantom, b1=map_of_b1.to(phantom.b1.dtype).clone())
    images = reconstruct(acquire(tmp_path / "b1.seq", phantom, PRISMA, engine="graphs", tol=1e-2))
    reference, prepared = (at_voxels(images.values[number], images.affine, phantom) for number in range(2))
    full = phantom.proton_density.numpy() > 0.99
    found = np.arccos((prepared / reference).real[full]) / protocol.preparation
    error = np.abs(found / map_of_b1[0].numpy()[full] - 1)
    assert np.median(error) < 0.01
    assert error.max() < 0.02


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"te = 0.5 ms is too short: [\d.]+ ms is the least"):
        build(Protocol(**SMALL, te=0.5e-3), PRISMA)
    with pytest.raises(ProtocolError, match="tr = 2 ms is too short"):
        build(Protocol(**SMALL, tr=2e-3), PRISMA)
    with pytest.raises(ProtocolError, match="the preparation pulse of 1 ms is too short"):
        build(Protocol(**SMALL, preparation_duration=1e-3), PRISMA)
    with pytest.raises(ProtocolError, match="give 1 partition"):
        Protocol(matrix=(32, 8, 2))
