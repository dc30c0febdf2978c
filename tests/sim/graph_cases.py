"""Sequences, objects and a direct sum over spins in double precision, for the tests of the graph engine."""

from dataclasses import replace

import torch

from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline


def spins(timeline: Timeline, voxels: Voxels) -> torch.Tensor:
    """Signal ``[coil, sample]`` of point voxels, each one spin, by plain rotation and relaxation; no T2', diffusion."""
    plus = torch.zeros(len(voxels), dtype=torch.complex128)
    z = torch.ones(len(voxels), dtype=torch.float64)
    out: dict[int, list[torch.Tensor]] = {}
    weights = voxels.coils * voxels.proton_density
    starts = timeline.interval_start.tolist()
    taken = timeline.sample_interval.tolist()
    for p in range(timeline.pulses):
        shim = torch.ones(len(voxels.b1)) if timeline.shim is None else timeline.shim[p]
        b1 = (shim[:, None] * voxels.b1).sum(0)
        a, axis = timeline.flip_angle[p] * b1.abs(), torch.exp(1j * timeline.phase[p]) * torch.exp(1j * b1.angle())
        mixed = (
            torch.cos(a / 2) ** 2 * plus + torch.sin(a / 2) ** 2 * axis**2 * plus.conj() - 1j * torch.sin(a) * axis * z
        )
        z = torch.cos(a) * z + torch.sin(a) * (axis.conj() * plus).imag
        plus = mixed
        for i in range(starts[p], starts[p + 1]):
            t = timeline.duration[i]
            turns = voxels.position @ timeline.moment[i] + voxels.b0 * t
            plus = plus * torch.exp(-2j * torch.pi * turns - t / voxels.t2)
            z = 1 + (z - 1) * torch.exp(-t / voxels.t1)
            for j in (n for n, at in enumerate(taken) if at == i):
                out[j] = weights @ plus
    return torch.stack([out[j] for j in range(timeline.samples)], 1) * torch.exp(1j * timeline.sample_phase)


def row_of_voxels(n: int = 32, fov: float = 0.2, *, seed: int = 0, spread: float = 0.3, channels: int = 1) -> Voxels:
    """An object of random voxels along x, without T2' and diffusion, as points."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    position = torch.zeros(n, 3, dtype=torch.float64)
    position[:, 0] = (torch.arange(n) - n // 2) * fov / n
    position[:, 1] = 0.1 * (draw(n) - 0.5)
    b1 = torch.polar(1 + spread * (draw(channels, n) - 0.5), 0.5 * draw(channels, n)) / channels
    return Voxels(
        position=position, proton_density=0.5 + draw(n), t1=0.3 + draw(n), t2=0.03 + 0.1 * draw(n),
        t2_prime=torch.full((n,), torch.inf, dtype=torch.float64), diffusion=torch.zeros(n, dtype=torch.float64),
        b0=40 * (draw(n) - 0.5), b1=b1, coils=torch.polar(draw(2, n), 6 * draw(2, n)),
        size=(fov / n, 0.01, 0.01), shape="point",
    )  # fmt: skip


def flash(pulses: int = 12, samples: int = 8, flip: float = 0.3, tr: float = 0.01) -> Timeline:
    """A gradient- and RF-spoiled gradient echo, rewound along y, spoiled along x."""
    n = torch.arange(pulses, dtype=torch.float64)
    duration = torch.full((pulses, samples + 2), tr / (samples + 2), dtype=torch.float64)
    moment = torch.zeros(pulses, samples + 2, 3, dtype=torch.float64)
    moment[:, 0, 0], moment[:, 1:-1, 0], moment[:, -1, 0] = -5.0 * samples / 2 - 5, 5.0, 5.0 * samples
    moment[:, 0, 1], moment[:, -1, 1] = 5 * (n - pulses // 2), -5 * (n - pulses // 2)
    phase = torch.deg2rad(58.5 * (n * n + n + 2))
    return Timeline.from_repetitions(
        torch.full((pulses,), flip, dtype=torch.float64), phase, duration, moment, _inner(samples), phase
    )


def rare(echoes: int = 8, samples: int = 8, flip: float = 2 * torch.pi / 3, spacing: float = 0.01) -> Timeline:
    """A turbo spin echo with an excitation of 90 degrees and crushers along x."""
    flips = torch.full((echoes + 1,), flip, dtype=torch.float64)
    flips[0] = torch.pi / 2
    phase = torch.full((echoes + 1,), torch.pi / 2, dtype=torch.float64)
    phase[0] = 0
    n = torch.arange(echoes + 1, dtype=torch.float64)
    duration = torch.full((echoes + 1, samples + 2), spacing / (samples + 2), dtype=torch.float64)
    duration[0] /= 2
    moment = torch.zeros(echoes + 1, samples + 2, 3, dtype=torch.float64)
    moment[:, 1:-1, 0] = 5.0
    moment[:, 0, 0] = moment[:, -1, 0] = 20.0
    moment[0] /= 2
    moment[1:, 0, 1], moment[1:, -1, 1] = 5 * n[1:], -5 * n[1:]
    return Timeline.from_repetitions(flips, phase, duration, moment, _inner(samples), torch.zeros_like(n))


def bssfp(pulses: int = 12, samples: int = 8, flip: float = 0.8, tr: float = 0.004) -> Timeline:
    """A balanced sequence with alternating phase after a half pulse."""
    n = torch.arange(pulses, dtype=torch.float64)
    flips = torch.full((pulses,), flip, dtype=torch.float64)
    flips[0] /= 2
    duration = torch.full((pulses, samples + 2), tr / (samples + 2), dtype=torch.float64)
    duration[0] /= 2
    moment = torch.zeros(pulses, samples + 2, 3, dtype=torch.float64)
    moment[1:, 0, 0] = moment[1:, -1, 0] = -5.0 * samples / 2
    moment[1:, 1:-1, 0] = 5.0
    moment[1:, 0, 1], moment[1:, -1, 1] = 5 * n[1:], -5 * n[1:]
    return Timeline.from_repetitions(flips, torch.pi * n, duration, moment, _inner(samples), torch.pi * n)


def unstructured(pulses: int = 6, intervals: int = 5, *, seed: int = 0) -> Timeline:
    """Random flip angles, phases, durations and moments, in which no two paths meet."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    taken = torch.arange(intervals) % 2 == 1
    return Timeline.from_repetitions(
        3 * draw(pulses), 6 * draw(pulses), 1e-3 + 4e-3 * draw(pulses, intervals),
        30 * (draw(pulses, intervals, 3) - 0.5), taken, 6 * draw(pulses),
    )  # fmt: skip


def _inner(samples: int) -> torch.Tensor:
    return torch.tensor([False, *[True] * samples, False])


def replicated(voxels: Voxels, count: int) -> Voxels:
    """Each voxel `count` times in a row, together of the same proton density."""
    names = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")
    maps = {name: getattr(voxels, name).repeat_interleave(count, 0) for name in names}
    maps["proton_density"] = maps["proton_density"] / count
    fields = {name: getattr(voxels, name).repeat_interleave(count, 1) for name in ("b1", "coils")}
    return replace(voxels, **maps, **fields)
