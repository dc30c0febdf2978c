"""Signal of isochromats by batched torch operations, differentiable in the sequence.

Each repetition is computed again in the backward pass, so that memory grows with pulses and spins, not with samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pulsetwin.sim.isochromat_kernel import place_spins
from pulsetwin.sim.isochromats import check_isochromats, spin_points, voxel_table
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import edge_factors, instant_rotation
from pulsetwin.sim.timeline import Timeline

_TOGETHER = 1 << 21  # spins times samples of a repetition that are in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class _Spins:
    """Spins of a portion of the voxels: x, y, z [m] and offset [Hz] ``[voxel, 4, spin]``; maps ``[voxel, 1]``."""

    place: Tensor
    r1: Tensor
    r2: Tensor
    diffusion: Tensor
    b1: Tensor
    weight: Tensor

    def turned(self, steps: Tensor, walk: Tensor) -> Tensor:
        """Return the angle ``-2 pi (k r + t f)`` of each spin less whole turns, float32 ``[voxel, spin, n]``.

        `steps` are k [1/m] and t [s] ``[n, 4]``, `walk` how far spins are from their places ``[voxel, 3, spin]``.
        """
        turns = self.place.mT @ steps.T
        turns = (turns - turns.detach().round()).float() + walk.mT @ steps[:, :3].T.float()
        return -2 * torch.pi * turns


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """A repetition since its pulse, at its samples and, last, at its end.

    Parameters
    ----------
    steps
        k [1/m] and time t [s], ``[n, 4]``.
    spread
        Integral of the squared distance of k from where it is at last [s/m^2], ``[n]``: diffusion attenuates by
        ``exp(-4 pi^2 D spread)``.
    first, second
        Integrals of k ``[3]`` and of its square over the repetition.
    """

    steps: Tensor
    spread: Tensor
    first: Tensor
    second: Tensor


def differentiable_isochromats(timeline: Timeline, voxels: Voxels, *, spins: int = 64, seed: int = 0) -> Tensor:
    """Return the signal of spins at the points of `isochromats.simulate_isochromats`, whose pulses are instants.

    Differentiable in the timeline's flip angles, phases, durations, moments, sample phases and shim. Diffusing spins
    walk at random, freely through the voxel's faces, a step from pulse to pulse; samples are attenuated by the
    expectation over the walks since their pulse.

    Parameters
    ----------
    timeline, voxels
        As of `isochromats.simulate_isochromats`.
    spins
        Per voxel, best a power of 2.
    seed
        Of points and walks.

    Returns
    -------
    Tensor
        complex64 ``[coil, sample]``.

    Raises
    ------
    ProtocolError, ShapeError
        As of `isochromats.simulate_isochromats`.
    """
    check_isochromats(timeline, voxels, spins)
    table, _ = voxel_table(voxels)
    cloud, shift = spin_points(spins, len(voxels), seed)
    size = voxels.position.new_tensor(voxels.size if voxels.shape == "box" and spins > 1 else (0.0, 0.0, 0.0))
    place = torch.from_numpy(place_spins(cloud, shift, table, size.double().numpy()))
    courses = _courses(timeline)
    count = max(1, _TOGETHER // (spins * max(len(course.steps) for course in courses)))
    random = torch.Generator().manual_seed(seed)
    signal: Tensor | float = 0.0
    for first in range(0, len(voxels), count):
        here = slice(first, first + count)
        r1, r2, diffusion = (one[here, None].float() for one in (1 / voxels.t1, 1 / voxels.t2, voxels.diffusion))
        weight = (voxels.coils * voxels.proton_density)[:, here].to(torch.complex64)
        own = _Spins(place[here], r1, r2, diffusion, voxels.b1[:, here], weight)
        signal = signal + _portion(timeline, own, courses, random)
    return signal * torch.exp(1j * timeline.sample_phase).to(torch.complex64)


def _courses(timeline: Timeline) -> list[_Course]:
    starts = timeline.interval_start.tolist()
    return [_course(timeline, slice(*part), timeline.sample_interval - part[0]) for part in pairwise(starts)]


def _course(timeline: Timeline, part: slice, samples: Tensor) -> _Course:
    """Return the course of a repetition, whose intervals are a `part`; `samples` are taken after intervals of it."""
    moment, time = timeline.moment[part], timeline.duration[part]
    end = moment.cumsum(0)
    begin = end - moment
    first = ((begin + end) / 2 * time[:, None]).cumsum(0)
    second = ((begin.square() + begin * end + end.square()).sum(1) / 3 * time).cumsum(0)
    elapsed = time.cumsum(0)
    spread = end.square().sum(1) * elapsed - 2 * (end * first).sum(1) + second
    at = torch.cat((samples[(samples >= 0) & (samples < len(time))], torch.tensor([len(time) - 1])))
    return _Course(torch.cat((end, elapsed[:, None]), 1)[at], spread[at], first[-1], second[-1])


def _portion(timeline: Timeline, own: _Spins, courses: list[_Course], random: torch.Generator) -> Tensor:
    """Return the signal of a portion of the voxels ``[coil, sample]``, without the samples' phases."""
    z = torch.ones(own.place[:, 0].shape)
    state: tuple[Tensor, ...] = (torch.zeros_like(z, dtype=torch.complex64), z, torch.zeros(own.place[:, :3].shape))
    walks, found = bool((own.diffusion > 0).any()), []
    for r, course in enumerate(courses):
        shim = own.b1.new_ones(len(own.b1)) if timeline.shim is None else timeline.shim[r].to(own.b1.dtype)
        rotation = edge_factors(*instant_rotation(timeline.flip_angle[r], shim @ own.b1))
        chance = torch.randn((len(z), 4, z.shape[1]), generator=random) if walks else None
        *state, heard = checkpoint(
            _repetition, own, *state, rotation, timeline.phase[r], course, chance, use_reentrant=False,
            preserve_rng_state=False,
        )  # fmt: skip
        found.append(heard)
    return torch.cat(found, 1)


def _repetition(
    own: _Spins, plus: Tensor, z: Tensor, walk: Tensor, rotation: tuple[Tensor, ...], phase: Tensor, course: _Course,
    chance: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the magnetisation and the walk at the end of a repetition, and its signal ``[coil, sample]``."""
    z_plus, kept, mirrored, z_z, plus_z, mirrored_z = (one.to(plus.dtype)[:, None] for one in rotation)
    axis = torch.exp(1j * phase).to(plus.dtype)
    plus = plus * axis.conj()
    turned = axis * (kept * plus + mirrored * plus.conj() + z_plus * z)
    z = (z_z * z + plus_z * plus + mirrored_z * plus.conj()).real
    angle, time = own.turned(course.steps, walk), course.steps[:, 3].float()
    decay = own.r2 * time + 4 * torch.pi**2 * own.diffusion * course.spread.float()
    heard = own.weight @ (_heard(turned, angle[..., :-1]) * torch.exp(-decay[:, :-1]))
    last = angle[..., -1]
    if chance is not None:
        step, turns = _walked(own, course, chance)
        walk, last = walk + step, last - 2 * torch.pi * turns
    plus = turned * torch.polar(torch.exp(-own.r2 * time[-1]).expand_as(z), last)
    return plus, 1 + (z - 1) * torch.exp(-own.r1 * time[-1]), walk, heard


def _walked(own: _Spins, course: _Course, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps of spins over a repetition ``[voxel, 3, spin]`` and the turns that their walks add to its end.

    With a walk W, these turns are ``k W(T)`` less the integral of ``k dW``, whose variance is ``2 D`` times that of
    ``k^2``, and whose part that goes with W(T) is the mean of k.
    """
    time = course.steps[-1, 3].clamp_min(1e-12)
    spread = (2 * own.diffusion).sqrt()  # apart from time, whose gradient is finite where nothing diffuses
    step = (spread * time.float().sqrt())[..., None] * chance[:, :3]
    mean = course.first / time
    rest = (course.second - (mean * course.first).sum()).clamp_min(1e-12).float()
    turns = ((course.steps[-1, :3] - mean).float()[:, None] * step).sum(1)
    return step, turns - spread * rest.sqrt() * chance[:, 3]


def _heard(plus: Tensor, angle: Tensor) -> Tensor:
    """Return the mean over spins of ``plus exp(i angle)``, complex ``[voxel, sample]``."""
    parts = torch.stack((plus.real, plus.imag), 1) / plus.shape[1]
    along, across = parts @ torch.cos(angle), parts @ torch.sin(angle)
    return torch.complex(along[:, 0] - across[:, 1], along[:, 1] + across[:, 0])
