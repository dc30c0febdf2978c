"""Graphs beside sums over isochromats on a brain, and the error that a tolerance allows beside the one it leaves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import qmc
from torch import Tensor

from benchmarks.truth_sequences import STRUCTURED, brain_voxels, from_zero
from pulsetwin.sim.isochromats import two_seed_error
from pulsetwin.sim.pdg import GraphResult, simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline
from tests.sim.graph_cases import replicated, spins

AGREE = 1.5  # times the error that the reference has of its own
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)
ANGLES = (5, 30)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def head() -> Voxels:
    return brain_voxels(32)


def distance(signal: Tensor, truth: Tensor) -> float:
    return float((signal - truth).norm() / truth.norm())


def exact(timeline: Timeline, voxels: Voxels, **options) -> GraphResult:
    return simulate_graphs(timeline, voxels, dtype=torch.complex128, **options)


def cloud(voxels: Voxels, count: int, seed: int) -> Voxels:
    """Each voxel as `count` points, at Sobol points of its box and of the Lorentzian line of T2', shifted at random."""
    points = torch.from_numpy(qmc.Sobol(4, seed=seed).random(count))
    shift = torch.rand(len(voxels), 1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = ((points + shift) % 1).reshape(-1, 4)
    some = replicated(voxels, count)
    offset = torch.tan(math.pi * (u[:, 3] - 0.5)) / (2 * math.pi * some.t2_prime)
    position = some.position + (u[:, :3] - 0.5) * torch.tensor(voxels.size, dtype=torch.float64)
    return replace(some, position=position, b0=some.b0 + offset, shape="point")


@pytest.mark.parametrize("case", STRUCTURED)
def test_graphs_agree_with_spins_written_out(case, head):
    """Plain rotations and relaxation of each spin, none of the package's own kernels."""
    keep = torch.arange(0, len(head), 6)
    names = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")
    some = replace(head, **{n: getattr(head, n)[keep] for n in names}, b1=head.b1[:, keep], coils=head.coils[:, keep])
    timeline = STRUCTURED[case](12)
    one, two = (spins(timeline, cloud(some, 128, seed)) for seed in range(2))
    own = float((one - two).norm() / (one + two).norm())
    assert own < 0.06
    assert distance(exact(timeline, some).signal, (one + two) / 2) < AGREE * own


@pytest.mark.parametrize("case", STRUCTURED)
def test_graphs_agree_with_isochromats(case, head):
    timeline = STRUCTURED[case](24)
    truth, own = two_seed_error(timeline, head, spins=128, finite_rf=False)
    assert own < 0.1
    assert distance(exact(timeline, head).signal, truth) < AGREE * own


@pytest.mark.parametrize("angle", ANGLES)
def test_graphs_from_zero_agree_with_isochromats(angle, head):
    timeline = from_zero(math.radians(angle), 7)
    truth, own = two_seed_error(timeline, head, spins=128, finite_rf=False)
    full = exact(timeline, head)
    assert full.states_dropped == 0
    assert own < 0.1
    assert distance(full.signal, truth) < AGREE * own


@pytest.mark.slow
@pytest.mark.parametrize("case", STRUCTURED)
def test_graphs_agree_with_many_isochromats(case, head):
    timeline = STRUCTURED[case](32)
    truth, own = two_seed_error(timeline, head, spins=16384, finite_rf=False)
    assert own < 1e-2
    assert distance(exact(timeline, head).signal, truth) < AGREE * own


def check_tolerances(timeline: Timeline, voxels: Voxels, **options) -> None:
    """Check that error and estimate are within each tolerance, with ever more states, half of them at most for 0.1."""
    full = exact(timeline, voxels)
    assert full.states_dropped == 0
    kept = 0
    for tol in TOLERANCES:
        found = exact(timeline, voxels, tol=tol, **options)
        error = distance(found.signal, full.signal)
        assert found.error <= tol
        assert error <= tol, f"{error:.2e} where {found.error:.2e} was estimated and {tol:g} allowed"
        assert (found.error > 0) == (found.states < full.states)
        assert kept < found.states <= full.states * (0.5 if tol == 0.1 else 1)
        kept = found.states


@pytest.mark.parametrize("case", STRUCTURED)
def test_tolerance_is_kept(case, head):
    check_tolerances(STRUCTURED[case](12), head)


@pytest.mark.parametrize("angle", ANGLES)
def test_tolerance_is_kept_from_zero(angle, head):
    check_tolerances(from_zero(math.radians(angle), 6), head)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", STRUCTURED)
def test_tolerance_is_kept_whatever_the_seed(case, seed, head):
    check_tolerances(STRUCTURED[case](32), head, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(("angle", "seed"), [(5, 0), (5, 1), (5, 2), (30, 0), (30, 1), (30, 2)])
def test_tolerance_is_kept_from_zero_whatever_the_seed(angle, seed, head):
    check_tolerances(from_zero(math.radians(angle), 8, seed=seed), head, seed=seed)


@pytest.mark.parametrize("tol", [None, 1e-2])
def test_where_it_cannot_promise_it_says_so(tol, head):
    """Of the largest states only, the signal is further off than the tolerance: no error is given."""
    timeline = from_zero(math.radians(30), 7)
    full, found = exact(timeline, head), exact(timeline, head, tol=tol, max_states=50)
    assert distance(found.signal, full.signal) > 1e-2
    assert found.states_dropped > 0
    assert found.error is None
    assert full.error == 0


@pytest.mark.slow
@pytest.mark.parametrize("angle", ANGLES)
def test_long_sequences_from_zero_are_not_promised(angle, head):
    """24 repetitions make 3^24 paths: no graph holds them, and none claims to."""
    found = exact(from_zero(math.radians(angle), 24), head, max_states=256)
    assert found.states_dropped > 0
    assert found.error is None


@pytest.mark.slow
def test_tolerance_is_kept_in_a_large_head():
    """Of 1829 voxels 37 have a T2 above 0.37 s; they make nearly all of the error of a FLASH that keeps most states."""
    check_tolerances(STRUCTURED["FLASH"](64), brain_voxels(64), seed=6)
