"""A timeline in the form that the isochromat kernel plays: distinct pulses, distinct intervals, a list of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.isochromat_maps import steady_gradient
from pulsetwin.sim.isochromat_walk import walk_moments
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_steps import hard_step, nominal_scale, pulse_steps
from pulsetwin.sim.timeline import PulseShape, Timeline

Motion = Callable[[float], tuple[Tensor, Tensor]]
"""From the time since the start of the sequence [s] to a rotation ``[3, 3]`` and a shift ``[3]`` [m]."""

_SLOTS = 96  # distinct intervals whose factors are kept: 200 kB for a block of spins
_WINDOW = 1e-7  # by which a pulse's shape may differ from its window [s]


@dataclass(frozen=True, slots=True)
class Program:
    """What `isochromat_kernel.run_voxels` plays; see there for the columns.

    Parameters
    ----------
    steps, step_start
        Steps of each distinct pulse, and where those of each begin.
    plan
        Of each distinct pulse, ``[played, 6]``.
    pulses
        ``[pulse, 15]``.
    intervals
        Runs of equal intervals ``[run, 8]``: those between samples joined, those within pulses left out.
    start
        First run of each repetition and the total.
    attenuation
        By diffusion since the pulse, of each column of the result [s/m^2].
    column
        Column of the result that holds each sample, ``[sample]``.
    """

    steps: np.ndarray
    step_start: np.ndarray
    plan: np.ndarray
    pulses: np.ndarray
    intervals: np.ndarray
    start: np.ndarray
    attenuation: np.ndarray
    column: np.ndarray

    @property
    def recorded(self) -> int:
        """Number of columns of the result."""
        return len(self.attenuation)


def compile_timeline(timeline: Timeline, voxels: Voxels, *, finite_rf: bool, motion: Motion | None) -> Program:
    """Return the program of a timeline for an object whose extent and fields set the accuracy needed.

    Raises
    ------
    ProtocolError
        If samples lie within a played pulse, or its shape does not fill its window.
    """
    inside = timeline.in_pulse.numpy() & finite_rf
    if finite_rf:
        _check_windows(timeline)
    duration = timeline.duration.detach().numpy()
    kept = np.nonzero(~inside)[0]
    index = timeline.sample_interval.numpy()
    if inside[index].any():
        sample = int(np.nonzero(inside[index])[0][0])
        raise ProtocolError(f"sample {sample} lies within an RF pulse: take it outside, or pass finite_rf=False")
    sampled, column = np.unique(index, return_inverse=True)
    moment, extra = _moved_moments(timeline, motion)
    intervals = np.concatenate((duration[:, None], moment, extra[:, None], np.full((len(duration), 3), -1.0)), 1)
    intervals[sampled, 6] = np.arange(len(sampled))
    intervals = intervals[kept]
    start = np.searchsorted(kept, timeline.interval_start.numpy())
    total = np.concatenate(([0.0], np.cumsum(intervals[:, 0])))
    played, pulses, lead = _pulses(timeline, voxels, finite_rf, motion)
    pulses[:, 3] = total[start[1:]] - total[start[:-1]]
    pulses[:, 10:], attenuation = walk_moments(intervals[:, 0], intervals[:, 1:4], start, lead)
    ends = np.cumsum([0, *(len(steps) for steps in played)])
    steps = np.concatenate(played) if played else np.zeros((0, 13))
    plan = np.array([steady_gradient(one, _extent(voxels)) for one in played]).reshape(-1, 6)
    runs, first = _runs(*_joined(intervals, start))
    return Program(steps, ends, plan, pulses, runs, first, attenuation[intervals[:, 6] >= 0], column)


def _extent(voxels: Voxels) -> np.ndarray:
    """Return the largest distance of spins from the origin along each axis [m], ``[3]``."""
    return voxels.position.detach().double().abs().amax(0).numpy() + np.array(voxels.size) / 2


def _joined(intervals: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the intervals of each repetition from sample to sample: their phases add up."""
    if not len(intervals):
        return intervals, start
    first = np.append(True, intervals[:-1, 6] >= 0)
    first[start[start < len(intervals)]] = True
    heads = np.nonzero(first)[0]
    joined = np.add.reduceat(intervals, heads, axis=0)
    joined[:, 5:] = intervals[np.append(heads[1:], len(intervals)) - 1, 5:]
    return joined, np.searchsorted(heads, start)


def _runs(intervals: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join equal neighbours and give the most frequent intervals a slot each.

    Returns runs ``[run, 8]`` and the first run of each repetition and the total.
    """
    if not len(intervals):
        return intervals, start
    scale = np.abs(intervals[:, 1:4]).max(initial=1e-6)
    keys = np.round(intervals[:, :5] / np.array([1e-13, *[1e-12 * scale] * 3, 1e-13]))
    _, number, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    number = number.ravel()
    slot = np.full(len(count), -1)
    frequent = np.argsort(-count, kind="stable")[:_SLOTS]
    slot[frequent] = np.where(count[frequent] > 1, np.arange(len(frequent)), -1)
    column = intervals[:, 6]
    joins = np.zeros(len(number), bool)
    follows = np.where(column[1:] < 0, column[:-1] < 0, (column[:-1] >= 0) & (column[1:] == column[:-1] + 1))
    joins[1:] = (number[1:] == number[:-1]) & follows
    joins[start[start < len(number)]] = False
    heads = np.nonzero(~joins)[0]
    runs = intervals[heads]
    runs[:, 5], runs[:, 7] = slot[number[heads]], np.diff(np.append(heads, len(number)))
    return runs, np.searchsorted(heads, start)


def _check_windows(timeline: Timeline) -> None:
    """Raise unless the intervals within pulses last as long as the pulses' shapes do."""
    spans = [(shape.center, float(shape.duration.sum()) - shape.center) for shape in timeline.shapes]
    before, after = (np.array([0.0, *(span[k] for span in spans)])[timeline.shape.numpy() + 1] for k in range(2))
    wanted = after + np.append(before[1:], 0.0)
    passed = np.concatenate(([0.0], np.cumsum(np.where(timeline.in_pulse, timeline.duration.detach(), 0.0))))
    start = timeline.interval_start.numpy()
    found = passed[start[1:]] - passed[start[:-1]]
    wrong = np.abs(found - wanted) > _WINDOW
    # After the last pulse its window may be cut off by the end of the sequence's last sample.
    wrong[-1:] &= found[-1:] > 0
    if wrong.any():
        r = int(np.nonzero(wrong)[0][0])
        raise ProtocolError(
            f"repetition {r}: {found[r] * 1e3:.4f} ms lie within pulses whose shapes take {wanted[r] * 1e3:.4f} ms "
            "there: mark each interval in a pulse's window in_pulse, or pass finite_rf=False"
        )


def _pulses(
    timeline: Timeline, voxels: Voxels, finite_rf: bool, motion: Motion | None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the steps of each distinct pulse, the program's rows of all, and the duration of each [s]."""
    times = timeline.start_time + _pulse_times(timeline)
    shims = timeline.shim.detach().numpy() if timeline.shim is not None else None
    flips, phases = timeline.flip_angle.detach().tolist(), timeline.phase.detach().tolist()
    frequencies, shapes = timeline.frequency.detach().tolist(), timeline.shape.tolist()
    known: dict[tuple[object, ...], int] = {}
    played: list[np.ndarray] = []
    moments: list[np.ndarray] = []
    rows, length = np.zeros((timeline.pulses, 15)), np.zeros(timeline.pulses)
    for r, (flip, number, frequency) in enumerate(zip(flips, shapes, frequencies, strict=True)):
        shim = np.ones(len(voxels.b1), complex) if shims is None else shims[r]
        shape = timeline.shapes[number] if number >= 0 and finite_rf else None
        pose = motion(float(times[r])) if motion and shape else None
        key = (number if shape else -1, flip, frequency if shape else 0.0, shim.tobytes(), _bytes(pose))
        if key not in known:
            known[key] = len(played)
            moved = shape and _turned_shape(shape, pose)
            played.append(_steps(moved, flip, frequency, shim, voxels, pose))
            moments.append(_moments_around_center(moved) if moved else np.zeros(6))
        rows[r, 0], rows[r, 1], rows[r, 2] = known[key], -phases[r], phases[r]
        rows[r, 4:10] = moments[known[key]]
        if shape:
            length[r] = float(shape.duration.sum())
            rows[r, 1] -= 2 * math.pi * frequency * shape.center
            rows[r, 2] -= 2 * math.pi * frequency * (length[r] - shape.center)
    return played, rows, length


def _bytes(pose: tuple[Tensor, Tensor] | None) -> bytes:
    return b"".join(part.detach().double().numpy().tobytes() for part in pose) if pose else b""


def _turned_shape(shape: PulseShape, pose: tuple[Tensor, Tensor] | None) -> PulseShape:
    """Return the shape as the object sees it that is turned by the pose, ``G . R r = (R^T G) . r``."""
    return replace(shape, gradient=shape.gradient @ pose[0].to(shape.gradient)) if pose else shape


def _steps(
    shape: PulseShape | None, flip: float, frequency: float, shim: np.ndarray, voxels: Voxels,
    pose: tuple[Tensor, Tensor] | None,
) -> np.ndarray:  # fmt: skip
    if shape is None:
        return hard_step(flip, shim)
    # In the object's axes the shift is that of every point by R^T s.
    shift = (pose[0].double().T @ pose[1].double()).numpy() if pose else np.zeros(3)
    extent = _extent(voxels) + np.abs(shift)
    gradient = shape.gradient.detach().abs().amax(0).numpy() if len(shape.gradient) else np.zeros(3)
    # Half of the Lorentzian line's far tails, 4 % of spins, is left to a lesser accuracy.
    line = 32 / (2 * math.pi * float(voxels.t2_prime.min()))
    spread = float(voxels.b0.abs().max()) + float(gradient @ extent) + abs(frequency) + line
    return pulse_steps(
        shape, shim * nominal_scale(flip, shape.flip_angle), spread=spread, frequency=frequency, shift=shift,
        rate=1 / float(min(voxels.t1.min(), voxels.t2.min())), field=float(voxels.b1.detach().abs().max()),
    )  # fmt: skip


def _moments_around_center(shape: PulseShape) -> np.ndarray:
    """Return the gradient's moments before and after the centre [1/m], ``[6]``."""
    ends = torch.cat((torch.zeros(1, dtype=torch.float64), shape.duration.detach().cumsum(0)))
    before = (ends.clamp(max=shape.center).diff()[:, None] * shape.gradient.detach()).sum(0)
    total = (shape.duration.detach()[:, None] * shape.gradient.detach()).sum(0)
    return torch.cat((before, total - before)).numpy()


def _pulse_times(timeline: Timeline) -> np.ndarray:
    """Return the centre of each pulse since that of the first [s]."""
    passed = np.concatenate(([0.0], np.cumsum(timeline.duration.detach().numpy())))
    return passed[timeline.interval_start.numpy()[:-1]]


def _moved_moments(timeline: Timeline, motion: Motion | None) -> tuple[np.ndarray, np.ndarray]:
    """Return moments as a moving object sees them, and the phase [cycles] by its shift, by Simpson's rule."""
    moment = timeline.moment.detach().numpy()
    if motion is None:
        return moment, np.zeros(len(moment))
    ends = timeline.start_time + np.concatenate(([0.0], np.cumsum(timeline.duration.detach().numpy())))
    seen, extra = np.empty_like(moment), np.empty(len(moment))
    for i, (begin, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        poses = [motion(t) for t in (begin, (begin + end) / 2, end)]
        rotation, shift = (
            sum(w * pose[k].detach().double().numpy() for w, pose in zip((1 / 6, 2 / 3, 1 / 6), poses, strict=True))
            for k in range(2)
        )
        seen[i], extra[i] = moment[i] @ rotation, moment[i] @ shift
    return seen, extra
