"""Cutting and resampling against sums over small cells, and against what must not change."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.phantom import Phantom, Pool
from pulsetwin.sim.phantom_grid import crop, overlap, resample, slice_at, stack

MAPS = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")


def make(matrix=(4, 6, 5), size=(1e-3, 2e-3, 3e-3), seed=0, pools=()) -> Phantom:
    """A phantom of random values, a third of it empty and with nonsense in the times there."""
    generator = torch.Generator().manual_seed(seed)

    def random(low: float, high: float, *lead: int) -> torch.Tensor:
        return low + (high - low) * torch.rand((*lead, *matrix), generator=generator, dtype=torch.float64)

    density = random(0.2, 1)
    empty = random(0, 1) < 0.3
    density[empty] = 0
    times = {"t1": random(0.5, 2), "t2": random(0.05, 0.2), "t2_prime": random(0.02, 0.3)}
    for values in times.values():
        values[empty] = 0
    b1, coils = (torch.complex(random(0.5, 1, n), random(-1, 1, n)) for n in (2, 3))
    return Phantom(density, **times, diffusion=random(0, 3e-9), b0=random(-50, 50), b1=b1, coils=coils, size=size,
                   pools=pools)  # fmt: skip


def a_pool(matrix=(4, 6, 5)) -> Pool:
    generator = torch.Generator().manual_seed(9)
    fraction = torch.rand(matrix, generator=generator, dtype=torch.float64)
    rate = 100 * torch.rand(matrix, generator=generator, dtype=torch.float64)
    return Pool(fraction, rate, 3.5, torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64))


def same(one: Phantom, other: Phantom, **tolerance) -> None:
    assert one.size == pytest.approx(other.size)
    filled = one.proton_density > 0
    for name in MAPS:
        a, b = getattr(one, name), getattr(other, name)
        if name in ("t1", "t2", "t2_prime", "diffusion"):
            a, b = a[filled], b[filled]
        assert torch.allclose(a, b, **tolerance), name


def by_small_cells(phantom: Phantom, matrix, size, name: str) -> np.ndarray:
    """Mean over each new voxel of a map's rate weighted by proton density, from cells of 0.5 mm."""
    cell = 0.5e-3
    values = getattr(phantom, name).numpy()
    density = phantom.proton_density.numpy()
    rates = 1 / np.where(density > 0, values, 1) if name.startswith("t") else values
    weight, total = np.zeros(matrix), np.zeros(matrix)
    spans = [np.arange(-40, 40) * cell + cell / 2 for _ in range(3)]
    old, new = [], []
    for axis, centres in enumerate(spans):
        edge, new_edge = phantom.size[2 - axis], size[2 - axis]
        old.append(np.floor(centres / edge + 0.5).astype(int) + phantom.grid[axis] // 2)
        new.append(np.floor(centres / new_edge + 0.5).astype(int) + matrix[axis] // 2)
    pairs = [
        [(a, b) for a, b in zip(o, n, strict=True) if 0 <= a < phantom.grid[i] and 0 <= b < matrix[i]]
        for i, (o, n) in enumerate(zip(old, new, strict=True))
    ]
    lists = [np.array(p).T for p in pairs]
    source = np.ix_(*(p[0] for p in lists))
    target = np.ix_(*(p[1] for p in lists))
    np.add.at(weight, target, density[source])
    np.add.at(total, target, (density * rates)[source])
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), 0)


@pytest.mark.parametrize("name", ["t1", "t2", "t2_prime", "diffusion", "b0"])
@pytest.mark.parametrize(
    ("matrix", "size"), [((2, 3, 2), (2e-3, 4e-3, 6e-3)), ((5, 5, 7), (1e-3, 3e-3, 1e-3)), ((1, 1, 1), (5e-3,) * 3)]
)
def test_resample_is_a_weighted_mean_of_rates(name, matrix, size):
    phantom = make()
    fov = tuple(edge * n for edge, n in zip(size, matrix[::-1], strict=True))
    result = resample(phantom, matrix, fov)
    filled = result.proton_density.numpy() > 0
    values = getattr(result, name).numpy()[filled]
    expected = by_small_cells(phantom, matrix, size, name)[filled]
    assert filled.any()
    assert np.allclose(1 / values if name.startswith("t") else values, expected, rtol=1e-10)


def test_resample_keeps_the_protons():
    phantom = make((4, 6, 5))
    wider = resample(phantom, (3, 5, 8), (0.02, 0.03, 0.04))
    before = phantom.proton_density.sum() * math.prod(phantom.size)
    after = wider.proton_density.sum() * math.prod(wider.size)
    assert float(after) == pytest.approx(float(before), rel=1e-12)


def test_resample_to_the_same_grid_changes_nothing():
    phantom = make(pools=(a_pool(),))
    result = resample(phantom, phantom.grid)
    same(phantom, result, rtol=1e-12, atol=1e-15)
    old, new = phantom.pools[0], result.pools[0]
    filled = phantom.proton_density > 0
    assert torch.allclose(old.fraction[filled], new.fraction[filled])
    assert torch.allclose(old.exchange_rate[filled], new.exchange_rate[filled])
    assert torch.allclose(new.t1[filled], torch.ones((), dtype=torch.float64))


def test_resample_keeps_an_infinite_t2_prime_and_makes_no_nan():
    phantom = make()
    phantom = replace(phantom, t2_prime=torch.where(phantom.proton_density > 0, math.inf, 0.0))
    result = resample(phantom, (3, 3, 3), (0.02, 0.02, 0.02))
    assert all(not bool(getattr(result, name).isnan().any()) for name in MAPS)
    assert bool(torch.isinf(result.t2_prime[result.proton_density > 0]).all())
    assert bool((result.proton_density == 0).any())  # beyond the phantom


def test_resample_can_be_differentiated():
    phantom = make((2, 3, 3))

    def mean_t1(density: torch.Tensor, t1: torch.Tensor) -> torch.Tensor:
        return resample(replace(phantom, proton_density=density, t1=t1), (1, 2, 2)).t1

    filled = torch.where(phantom.proton_density > 0, phantom.proton_density, 0.5)
    t1 = torch.where(phantom.t1 > 0, phantom.t1, 1.0)
    assert torch.autograd.gradcheck(mean_t1, (filled.requires_grad_(), t1.requires_grad_()))


def test_overlap_rows():
    weights = overlap(-2.0, 1.0, 4, -2.5, 1.5, 4).numpy()
    expected = [[1 / 1.5 * w for w in row] for row in ([1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 0.5, 1], [0, 0, 0, 0])]
    assert np.allclose(weights, expected)


def positions(phantom: Phantom) -> dict[tuple[float, ...], float]:
    voxels = phantom.voxels()
    places = [tuple(np.round(p * 1e6).astype(int)) for p in voxels.position.numpy()]
    return dict(zip(places, voxels.t1.tolist(), strict=True))


@pytest.mark.parametrize("matrix", [(2, 3, 4), (1, 6, 5), (3, 4, 1), (4, 6, 5)])
def test_crop_leaves_voxels_where_they_are(matrix):
    phantom = make(pools=(a_pool(),))
    cut = crop(phantom, matrix)
    whole, part = positions(phantom), positions(cut)
    assert cut.grid == matrix
    assert part.items() <= whole.items()
    assert cut.pools[0].fraction.shape == matrix


@pytest.mark.parametrize("matrix", [(5, 6, 5), (0, 1, 1), (1, 1)])
def test_crop_to_more_is_refused(matrix):
    with pytest.raises(ShapeError):
        crop(make(), matrix)


def test_slice_at_takes_the_plane_that_holds_z():
    phantom = make()
    for z, plane in [(-6e-3, 0), (-1.6e-3, 1), (-1.4e-3, 2), (0.0, 2), (3e-3, 3), (4.4e-3, 3)]:
        assert torch.equal(slice_at(phantom, z).t1[0], phantom.t1[plane])


@pytest.mark.parametrize("z", [-7.6e-3, 4.6e-3, math.nan])
def test_slice_outside_is_refused(z):
    with pytest.raises(ProtocolError, match="outside"):
        slice_at(make(), z)


def test_thick_slice_is_a_mean():
    phantom = make()
    thick = slice_at(phantom, 0.0, 4e-3)  # all of plane 2 and half a millimetre of its neighbours
    expected = (0.5 * phantom.proton_density[1] + 3 * phantom.proton_density[2] + 0.5 * phantom.proton_density[3]) / 4
    assert torch.allclose(thick.proton_density[0], expected)
    assert thick.size == (1e-3, 2e-3, 4e-3)
    with pytest.raises(ProtocolError, match="thickness"):
        slice_at(phantom, 0.0, 0.0)


def test_stack_undoes_slicing():
    phantom = make(pools=(a_pool(),))
    joined = stack([slice_at(phantom, (n - 2) * 3e-3) for n in range(4)])
    same(phantom, joined, rtol=0, atol=0)
    assert torch.equal(joined.pools[0].fraction, phantom.pools[0].fraction)
    assert joined.pools[0].t1.shape == phantom.grid


def test_stack_refuses_the_unlike():
    with pytest.raises(ShapeError, match="phantom 1"):
        stack([make(), make(size=(1e-3, 2e-3, 4e-3))])
    with pytest.raises(ShapeError, match="phantom 1"):
        stack([make(), make((4, 6, 4))])
    with pytest.raises(ShapeError, match="at least one"):
        stack([])
