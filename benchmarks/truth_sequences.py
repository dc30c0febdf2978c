"""Sequences and the object on which the engines of the digital twin are held against each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.timeline import Timeline

FOV = 0.22
_STEP = 1 / FOV


def brain_voxels(matrix: int) -> Voxels:
    """Return the box voxels of an axial slice of `matrix` voxels squared, with B0, B1 and T2', without diffusion."""
    voxels = brain((1, matrix, matrix)).voxels()
    return replace(voxels, diffusion=torch.zeros_like(voxels.diffusion))


def flash(matrix: int, pulses: int | None = None) -> Timeline:
    """Return a FLASH of 10 degrees, TR 10.6 ms, RF-spoiled by 117 degrees, spoiled along x by 1.5 readouts."""
    pulses = pulses or matrix
    n = _range(pulses)
    dwell, before = 80e-6, 2.4e-3
    after = 10.6e-3 - before - matrix * dwell
    moment = _encoded(matrix, n - pulses // 2, before=-matrix / 2 - 1, after=1.5 * matrix + 1)
    phase = math.radians(117) * n * (n + 1) / 2
    return _timeline(torch.full_like(n, math.radians(10)), phase, _times(pulses, matrix, before, dwell, after), moment)


def rare(matrix: int, flip_angle: float, pulses: int | None = None) -> Timeline:
    """Return a single-shot RARE from the centre of k-space outwards: 80 us dwell time, crushers of one readout along x.

    The echo spacing is 5.12 ms more than the readout, 12.8 ms for a matrix of 96; `flip_angle` [rad] is that of
    refocusing.
    """
    pulses = pulses or matrix
    half, dwell = (80e-6 * matrix + 5.12e-3) / 2, 80e-6
    before = half - (matrix // 2 + 1) * dwell
    times = _times(pulses + 1, matrix, before, dwell, 2 * half - before - matrix * dwell)
    times[0] = half / (matrix + 2)
    n = _range(pulses)
    lines = (n / 2).ceil() * (1 - 2 * (n % 2))  # 0, -1, 1, -2, ...
    moment = torch.zeros(pulses + 1, matrix + 2, 3, dtype=torch.float64)
    moment[1:] = _encoded(matrix, lines, before=matrix - 1, after=matrix + 1)
    moment[0, 0, 0] = 1.5 * matrix * _STEP
    flips, phase = torch.full((2, pulses + 1), flip_angle, dtype=torch.float64)
    flips[0] = math.pi / 2
    phase[0], phase[1:] = 0, math.pi / 2
    return _timeline(flips, phase, times, moment, receiver=torch.zeros_like(phase))


def bssfp(matrix: int, pulses: int | None = None) -> Timeline:
    """Return a bSSFP of 60 degrees and alternating phase, TR 2.86 ms, 20 us dwell time, after half a pulse."""
    pulses = pulses or matrix
    dwell, tr = 20e-6, 2.86e-3
    before = tr / 2 - (matrix // 2 + 1) * dwell
    times = _times(pulses + 1, matrix, before, dwell, tr - before - matrix * dwell)
    times[0] = tr / 2 / (matrix + 2)
    moment = torch.zeros(pulses + 1, matrix + 2, 3, dtype=torch.float64)
    moment[1:] = _encoded(matrix, _range(pulses) - pulses // 2, before=-matrix / 2 - 1, after=1 - matrix / 2)
    flips = torch.full((pulses + 1,), math.radians(60), dtype=torch.float64)
    flips[0] /= 2
    return _timeline(flips, math.pi * _range(pulses + 1), times, moment)


def from_zero(flip_angle: float, pulses: int = 24, samples: int = 24, *, seed: int = 0) -> Timeline:
    """Return a sequence as an optimisation from zero has it: random moments and phases, no two paths meet.

    TR 20 ms, first sample after 3 ms; `flip_angle` [rad] is that of every pulse. Moments are even within half of the
    k-space of `samples` before and after the readout, within two steps of it from sample to sample.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=random, dtype=torch.float64) - 1

    times = _times(pulses, samples, 3e-3, 80e-6, 17e-3 - 80e-6 * samples)
    moment = torch.zeros(pulses, samples + 2, 3, dtype=torch.float64)
    moment[:, 1:-1, :2] = 2 * _STEP * draw(pulses, samples, 2)
    moment[:, [0, -1], :2] = samples / 2 * _STEP * draw(pulses, 2, 2)
    return _timeline(torch.full((pulses,), flip_angle, dtype=torch.float64), math.pi * draw(pulses), times, moment)


STRUCTURED: dict[str, Callable[[int], Timeline]] = {
    "FLASH": flash,
    "RARE 180": lambda matrix: rare(matrix, math.pi),
    "RARE 120": lambda matrix: rare(matrix, math.radians(120)),
    "bSSFP": bssfp,
}


def _range(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64)


def _times(pulses: int, samples: int, before: float, dwell: float, after: float) -> Tensor:
    return torch.tensor([before, *[dwell] * samples, after], dtype=torch.float64).repeat(pulses, 1)


def _encoded(matrix: int, lines: Tensor, *, before: float, after: float) -> Tensor:
    """Return moments of readouts along x between moments `before` and `after`, phase encoded and rewound along y."""
    moment = torch.zeros(len(lines), matrix + 2, 3, dtype=torch.float64)
    moment[:, 0, 0], moment[:, 1:-1, 0], moment[:, -1, 0] = before, 1, after
    moment[:, 0, 1], moment[:, -1, 1] = lines, -lines
    return moment * _STEP


def _timeline(flips: Tensor, phase: Tensor, times: Tensor, moment: Tensor, receiver: Tensor | None = None) -> Timeline:
    """Return a timeline with samples at the ends of all intervals but the first and last of each repetition."""
    taken = torch.tensor([False, *[True] * (times.shape[1] - 2), False])
    return Timeline.from_repetitions(flips, phase, times, moment, taken, phase if receiver is None else receiver)
