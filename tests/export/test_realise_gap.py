"""The reality gap against isochromats that fill the slice, and where it must be large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError
from pulsetwin.export.realise import realise
from pulsetwin.export.realise_gap import across_slice, reality_gap
from pulsetwin.sim.isochromats import two_seed_error
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.export.test_realise import FOV, PRISMA, gre, written

SIZE = 8


def image_of(signal: Tensor) -> Tensor:
    return torch.fft.fft2(signal.reshape(SIZE, SIZE))


def voxels():
    return shepp_logan((1, SIZE, SIZE), FOV).voxels()


def test_realised_image_is_that_of_isochromats(tmp_path):
    """Each in-plane voxel is filled with spins through twice the slice, which see every microsecond of the pulses."""
    learnt = gre(SIZE)
    seq = written(realise(learnt, PRISMA, fov=FOV), tmp_path / "a.seq")
    found = reality_gap(learnt, seq, voxels(), image_of)
    one = voxels()
    thick = replace(one, size=(*one.size[:2], 2 * one.size[2]), proton_density=2 * one.proton_density)
    signal, error = two_seed_error(timeline_from_seq(seq), thick, spins=2048)
    truth = image_of(signal[0])
    assert float((found.realised - truth).norm() / truth.norm()) < 1.5 * error < 0.02
    assert 1e-4 < found.shape_gap < 0.01
    assert found.shape_gap <= found.gap < 0.03
    assert found.realised.norm() > 0.97 * found.learnt.norm()


def test_another_sequence_is_far_away(tmp_path):
    learnt, other = gre(SIZE), gre(SIZE, jitter=0.2)
    seq = written(realise(other, PRISMA, fov=FOV), tmp_path / "a.seq")
    assert reality_gap(learnt, seq, voxels(), image_of).gap > 0.1
    with pytest.raises(MismatchError, match="64 samples are played, 256 were learnt"):
        reality_gap(gre(16), seq, voxels(), image_of)


def test_layers_hold_the_object():
    one = voxels()
    slab = across_slice(one, 9)
    assert float(slab.proton_density.sum()) == pytest.approx(2 * float(one.proton_density.sum()))
    assert float(slab.position[:, 2].max() + slab.size[2] / 2) == pytest.approx(one.size[2])
    assert torch.equal(slab.t1[: len(one)], one.t1)
