"""The fused graph engine against the batched one in double precision."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.graph_fused import fused_signal
from pulsetwin.sim.graph_tables import graph_tables
from pulsetwin.sim.graph_torch import graph_signal
from pulsetwin.sim.phantom import Voxels
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
    assert relative(fused_signal(graph, tables, line, voxels), wanted) < 3e-6
