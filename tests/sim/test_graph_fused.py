"""The fused graph engine against the batched one in double precision."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.graph_fused import fused_signal
from pulsetwin.sim.graph_tables import graph_tables
from pulsetwin.sim.graph_torch import graph_signal
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations
from pulsetwin.sim.timeline import Timeline

FOV = 0.2


def random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def tissue(count: int, shape: str = "box", coils: int = 1, channels: int = 1, seed: int = 0) -> Voxels:
    g = torch.Generator().manual_seed(seed)
    field = lambda n: torch.complex(0.6 + 0.8 * random(g, n, count), 0.6 * random(g, n, count) - 0.3)  # noqa: E731
    return Voxels(
        position=(random(g, count, 3) - 0.5) * torch.tensor([FOV, FOV, 0.01]), proton_density=0.5 + random(g, count),
        t1=0.5 + random(g, count), t2=0.05 + 0.1 * random(g, count), t2_prime=0.02 + 0.05 * random(g, count),
        diffusion=3e-9 * random(g, count), b0=40 * random(g, count) - 20, b1=field(channels) / channels,
        coils=field(coils), size=(FOV / 16, FOV / 16, 0.005), shape=shape,
    )  # fmt: skip


def train(pulses: int, samples: int, seed: int = 0, spoiling: float = 2.0) -> Timeline:
    """Unequal pulses with a balanced or spoiled readout of `samples` between them, at unequal places along y."""
    g = torch.Generator().manual_seed(seed)
    duration = torch.full((pulses, samples + 2), 1e-4, dtype=torch.float64)
    duration[:, 0], duration[:, -1] = 4e-3, 5e-3
    moment = torch.zeros(pulses, samples + 2, 3, dtype=torch.float64)
    moment[:, 1:-1, 0] = 1 / FOV
    moment[:, 0, 0], moment[:, -1, 0] = -(samples // 2) / FOV, (spoiling - 0.5) * samples / FOV
    moment[:, 0, 1] = (torch.arange(pulses) - pulses // 2) / FOV
    moment[:, -1, 1] = -moment[:, 0, 1]
    taken = torch.zeros(samples + 2, dtype=torch.bool)
    taken[1:-1] = True
    flip = math.radians(40) + math.radians(80) * random(g, pulses)
    return Timeline.from_repetitions(
        flip, 6 * random(g, pulses), duration, moment, taken, 6 * random(g, pulses)
    )  # fmt: skip


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("shape", ["point", "box", "sinc"])
@pytest.mark.parametrize(("coils", "channels", "shimmed"), [(1, 1, False), (3, 2, True), (2, 2, False)])
def test_signal(shape, coils, channels, shimmed):
    line, voxels = train(7, 12), tissue(150, shape, coils, channels)
    if shimmed:
        g = torch.Generator().manual_seed(5)
        line = dataclasses.replace(line, shim=torch.complex(random(g, 7, channels), random(g, 7, channels)))
    graph = build_graph(line, voxels)
    tables = graph_tables(graph, line, voxels.size, voxels.shape)
    wanted = graph_signal(graph, tables, line, voxels, torch.complex128)
    assert relative(fused_signal(graph, line, voxels), wanted) < 3e-6


VALUES = ("flip_angle", "phase", "duration", "moment", "sample_phase")
MAPS = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")


def gradients(line: Timeline, voxels: Voxels, weight: Tensor, fused: bool, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Gradients of ``Re sum(weight signal)`` with respect to values of the timeline and maps of the voxels."""
    owned = {name: line if hasattr(line, name) else voxels for name in names}
    leaves = {name: getattr(owner, name).clone().requires_grad_() for name, owner in owned.items()}
    moving = dataclasses.replace(line, **{name: leaf for name, leaf in leaves.items() if owned[name] is line})
    tissue = dataclasses.replace(voxels, **{name: leaf for name, leaf in leaves.items() if owned[name] is voxels})
    graph = build_graph(line, voxels)
    tables = graph_tables(graph, moving, voxels.size, voxels.shape)
    if fused:
        signal = fused_signal(graph, moving, tissue)
    else:
        signal = graph_signal(graph, tables, moving, tissue, torch.complex128)
    (signal * weight).real.sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize(("shape", "coils", "channels", "shimmed"), [("box", 2, 2, True), ("sinc", 1, 1, False)])
@pytest.mark.parametrize("names", [VALUES + MAPS, ("flip_angle", "phase"), ("t2", "b0"), ("moment",)])
def test_gradients(shape, coils, channels, shimmed, names):
    line, voxels, g = train(6, 8), tissue(150, shape, coils, channels), torch.Generator().manual_seed(5)
    if shimmed:
        line = dataclasses.replace(line, shim=torch.complex(random(g, 6, channels), random(g, 6, channels)))
        names = (*names, "shim")
    weight = torch.complex(random(g, coils, line.samples) - 0.5, random(g, coils, line.samples) - 0.5)
    wanted = gradients(line, voxels, weight, False, names)
    for name, got in gradients(line, voxels, weight, True, names).items():
        assert relative(got, wanted[name]) < 5e-6, name


def test_finite_pulses():
    """Rotations of any kind between instantaneous pulses, some pulses with the same one: signal and gradients."""
    line, voxels, g = train(7, 8), tissue(150, coils=2), torch.Generator().manual_seed(3)
    spin = torch.randn(2, 3, 150, generator=g, dtype=torch.complex128)
    alpha, beta = spin / spin.abs().square().sum(0).sqrt()
    rotations = PulseRotations(torch.tensor([0, -1, 1, 1, -1, 2, 0]), alpha, beta)
    graph = build_graph(line, voxels, rotations=rotations)
    weight = torch.complex(random(g, 2, line.samples) - 0.5, random(g, 2, line.samples) - 0.5)
    found = []
    for fused in (True, False):
        leaves = [value.clone().requires_grad_() for value in (alpha, beta, line.phase, line.moment, line.flip_angle)]
        moving = dataclasses.replace(line, phase=leaves[2], moment=leaves[3], flip_angle=leaves[4])
        turned = PulseRotations(rotations.table, leaves[0], leaves[1])
        if fused:
            signal = fused_signal(graph, moving, voxels, turned)
        else:
            tables = graph_tables(graph, moving, voxels.size, voxels.shape)
            signal = graph_signal(graph, tables, moving, voxels, torch.complex128, rotations=turned)
        (signal * weight).real.sum().backward()
        found.append([signal.detach(), *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*found, strict=True):
        assert relative(got, wanted) < 5e-6


def test_gradient_by_differences():
    """Steps so large that states part whose paths do, so that graphs at neighbouring values need no gradients."""
    line, voxels = train(5, 6, spoiling=0.5), tissue(40)
    weight = torch.ones(1, line.samples, dtype=torch.complex128)
    got = gradients(line, voxels, weight, True, ("flip_angle", "duration", "moment"))

    def value(name, index, change):
        moved = getattr(line, name).clone()
        moved.view(-1)[index] += change
        there = dataclasses.replace(line, **{name: moved})
        graph = build_graph(there, voxels)
        tables = graph_tables(graph, there, voxels.size, voxels.shape)
        return float(graph_signal(graph, tables, there, voxels, torch.complex128).real.sum())

    for name, index, change in (("flip_angle", 2, 1e-4), ("duration", 8, 1e-6), ("moment", 3 * 15 + 1, 0.02)):
        wanted = (value(name, index, change) - value(name, index, -change)) / (2 * change)
        assert float(got[name].view(-1)[index]) == pytest.approx(wanted, rel=1e-3), name


def test_chunks_and_threads_change_nothing(monkeypatch):
    line, voxels = train(5, 6), tissue(300)
    weight = torch.ones(1, line.samples, dtype=torch.complex128)
    whole = gradients(line, voxels, weight, True, VALUES + MAPS)
    monkeypatch.setattr("pulsetwin.sim.graph_chunks._MEMORY", 1)
    monkeypatch.setattr("pulsetwin.sim.graph_chunks._LEAST", 1)
    monkeypatch.setattr("pulsetwin.sim.graph_chunks._STATES", 1)
    monkeypatch.setattr("pulsetwin.sim.graph_chunks.np.sqrt", lambda x: 0 * x)
    for name, got in gradients(line, voxels, weight, True, VALUES + MAPS).items():
        assert relative(got, whole[name]) < 1e-6, name


def test_backends():
    line, voxels = train(4, 6), tissue(50)
    wanted = simulate_graphs(line, voxels, dtype=torch.complex128).signal
    for backend in (None, "numba", "torch"):
        assert relative(simulate_graphs(line, voxels, backend=backend).signal, wanted) < 3e-6
    for backend, dtype in (("numba", torch.complex128), ("cuda", torch.complex64)):
        with pytest.raises(ProtocolError, match="backend"):
            simulate_graphs(line, voxels, dtype=dtype, backend=backend)
