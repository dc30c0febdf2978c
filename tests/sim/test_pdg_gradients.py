"""Gradients of the graph engine: against finite differences, and against autograd through a direct sum over spins."""

from dataclasses import replace

import pytest
import torch

from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.pdg import simulate_graphs
from tests.sim import graph_cases as cases

LINE = ("flip_angle", "phase", "duration", "moment", "sample_phase")
MAPS = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")


def blurred(shape: str, voxels: int = 3):
    """A few voxels with everything that the engine models."""
    some = cases.row_of_voxels(voxels, 0.1, channels=2)
    ramp = torch.linspace(0.5, 1, voxels, dtype=torch.float64)
    return replace(some, t2_prime=0.02 * ramp, diffusion=2e-6 * ramp, shape=shape)


CASES = [(name, "box") for name in (*LINE, *MAPS)] + [("moment", "sinc"), ("moment", "point"), ("position", "sinc")]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_against_finite_differences(name, shape):
    line, voxels = cases.unstructured(3, 3), blurred(shape)
    graph = build_graph(line, voxels)
    value = getattr(line if name in LINE else voxels, name)

    def signal(x):
        here, there = (replace(line, **{name: x}), voxels) if name in LINE else (line, replace(voxels, **{name: x}))
        return torch.view_as_real(simulate_graphs(here, there, dtype=torch.complex128, graph=graph).signal)

    step = 1e-9 if name == "diffusion" else 1e-7
    assert torch.autograd.gradcheck(signal, (value.clone().requires_grad_(),), eps=step, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [cases.flash, cases.rare, cases.bssfp, cases.unstructured])
def test_merged_paths_carry_their_own_gradients(make):
    line, voxels = make(6, 4), cases.row_of_voxels(8)
    values = [getattr(line, name).clone().requires_grad_() for name in LINE]
    maps = [getattr(voxels, name).clone().requires_grad_() for name in MAPS if name not in ("t2_prime", "diffusion")]
    names = [name for name in MAPS if name not in ("t2_prime", "diffusion")]
    played = replace(line, **dict(zip(LINE, values, strict=True)))
    seen = replace(voxels, **dict(zip(names, maps, strict=True)))
    found = simulate_graphs(played, seen, dtype=torch.complex128).signal
    expected = cases.spins(played, seen)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(3), dtype=found.dtype)
    ours = torch.autograd.grad((weight.conj() * found).real.sum(), values + maps)
    theirs = torch.autograd.grad((weight.conj() * expected).real.sum(), values + maps)
    for name, a, b in zip([*LINE, *names], ours, theirs, strict=True):
        assert (a - b).norm() < 1e-8 * b.norm(), name


def test_chunks_of_voxels_give_the_same_gradients(monkeypatch):
    voxels = cases.row_of_voxels(12)

    def gradient():
        angle = cases.flash().flip_angle.requires_grad_()
        line = replace(cases.flash(), flip_angle=angle)
        simulate_graphs(line, voxels, dtype=torch.complex128).signal.abs().square().sum().backward()
        return angle.grad

    whole = gradient()
    monkeypatch.setattr("pulsetwin.sim.graph_torch._TAPE", 1 << 20)
    assert torch.allclose(gradient(), whole, rtol=1e-10)


def test_flip_angles_of_zero_have_gradients():
    line, voxels = cases.unstructured(4, 3), cases.row_of_voxels(8)
    angle = torch.zeros_like(line.flip_angle).requires_grad_()
    line = replace(line, flip_angle=angle)
    found = simulate_graphs(line, voxels, dtype=torch.complex128).signal.real.sum()
    expected = cases.spins(line, voxels).real.sum()
    assert torch.allclose(torch.autograd.grad(found, angle)[0], torch.autograd.grad(expected, angle)[0], rtol=1e-9)


def test_readouts_that_changed_are_not_taken_for_equal():
    line, voxels = cases.flash(), cases.row_of_voxels()
    changed = replace(line, moment=line.moment * (1 + 0.1 * torch.arange(len(line.moment))[:, None] / len(line.moment)))
    found = simulate_graphs(changed, voxels, dtype=torch.complex128).signal
    assert (found - cases.spins(changed, voxels)).norm() < 1e-6 * found.norm()


@pytest.mark.parametrize("make", [cases.flash, cases.rare, cases.bssfp])
@pytest.mark.parametrize(("name", "step"), [("moment", 0.05), ("duration", 1e-5)])
def test_merged_paths_against_graphs_in_which_they_part(make, name, step):
    """Steps above the merging grid: dephasing in the voxel, T2' and diffusion of each path, by graphs built anew."""
    line = make(6, 3)
    ramp = torch.linspace(0.5, 1, 5, dtype=torch.float64)
    voxels = replace(cases.row_of_voxels(5), t2_prime=0.02 * ramp, diffusion=2e-6 * ramp, shape="box")
    value = getattr(line, name)
    along = torch.rand(value.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 0.5

    def total(x):
        found = simulate_graphs(replace(line, **{name: x}), voxels, dtype=torch.complex128)
        weight = torch.randn(found.signal.shape, generator=torch.Generator().manual_seed(3), dtype=torch.complex128)
        return (weight.conj() * found.signal).real.sum(), found.states

    variable = value.clone().requires_grad_()
    whole, merged = total(variable)
    slope = float((torch.autograd.grad(whole, variable)[0] * along).sum())
    sides = [total(value + shift * step * along) for shift in (-2, -1, 1, 2)]
    assert min(states for _, states in sides) > 1.2 * merged
    (a, b, c, d) = (float(side) for side, _ in sides)
    assert (a - 8 * b + 8 * c - d) / (12 * step) == pytest.approx(slope, rel=1e-3)
