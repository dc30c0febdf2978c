"""RF pulses of a `.seq` as flip angles, phases and segments of constant field for engines with finite pulses.

A `.seq` plays ``A m(t) exp(i (2 pi p(t) + phase + 2 pi f t))``, t from the end of the delay; the twin counts phases
the other way round, so that everything here is conjugated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at, moment_at
from pulsetwin.sequences.seqfile import GX, GZ, RF, SeqFile
from pulsetwin.sim.block_intervals import codes
from pulsetwin.sim.pulse_waves import MOST_STEPS, RAMP_STEP, Wave, divided, is_chirped, segments, wave
from pulsetwin.sim.timeline import PulseShape


@dataclass(frozen=True, slots=True)
class Pulses:
    """The pulses of a sequence in order of play, in the twin's signs.

    Parameters
    ----------
    block
        Row of each pulse's block, int64 ``[pulse]``.
    flip_angle, phase
        At the centre [rad], float64 ``[pulse]``; `phase` without offsets of the carrier's phase and frequency.
    shape
        Entry of `shapes`, int64 ``[pulse]``.
    shapes
        Distinct shapes.
    """

    block: Array
    flip_angle: Array
    phase: Array
    shape: Array
    shapes: tuple[PulseShape, ...]


def played_pulses(seq: SeqFile) -> Pulses:
    """Return the pulses of `seq`.

    The flip angle is ``2 pi |sum b1 dt|``, the phase that of the sum. An adiabatic or otherwise chirped pulse has a
    sum that says little: one used for inversion or refocusing counts as 180 degrees with the phase of its centre, any
    other as what it makes of z on resonance. A pulse that undoes itself on resonance (1, -1) counts as the sum of
    ``|b1| dt`` with the phase of its centre: only an engine with finite pulses plays it rightly.
    """
    block = np.nonzero(seq.events[:, RF] != NONE)[0]
    row = seq.events[block, RF]
    waves, kind, largest = _waves(seq)
    amplitude = np.abs(seq.rf.amplitude)
    flip = np.array([one.flip if one.fixed else size * one.flip for one, size in zip(waves, amplitude, strict=True)])
    phase = np.array([one.phase for one in waves]) + np.where(seq.rf.amplitude < 0, np.pi, 0.0)
    number, shapes = _shapes(seq, block, waves, kind, largest)
    return Pulses(block, flip[row], phase[row], number, shapes)


def _waves(seq: SeqFile) -> tuple[list[Wave], Array, Array]:
    """Return the unit wave of each RF event, its kind (what a shape depends on), and the kind's largest amplitude."""
    rf = seq.rf
    known: dict[tuple[object, ...], Wave] = {}
    plain: dict[tuple[object, ...], tuple[tuple[Array, Array], bool]] = {}
    waves, keys = [], []
    for row in range(len(rf)):
        place = (rf.magnitude[row], rf.phase_shape[row], rf.time_shape[row])
        if place not in plain:
            parts = segments(seq, row)
            plain[place] = parts, is_chirped(*parts)
        parts, chirped = plain[place]
        key = (*place, rf.center[row], *((rf.use[row], abs(rf.amplitude[row])) if chirped else ()))
        if key not in known:
            known[key] = wave(seq, row, parts)
        waves.append(known[key])
        keys.append((*key, rf.delay[row]))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    kind = np.array([numbers[key] for key in keys], np.int64)
    largest = np.zeros(len(numbers))
    np.maximum.at(largest, kind, np.abs(rf.amplitude))
    return waves, kind, np.where(largest > 0, largest, 1.0)


def _shapes(
    seq: SeqFile, block: Array, waves: list[Wave], kind: Array, largest: Array
) -> tuple[Array, tuple[PulseShape, ...]]:
    """Return the distinct shapes with the gradients that play meanwhile, and the shape of each pulse."""
    row = seq.events[block, RF]
    begin, end = seq.rf.delay[row], seq.rf.delay[row] + seq.rf.duration[row]
    events = seq.events[block, GX : GZ + 1]
    if len(seq.gradients):
        first = np.append(seq.gradients.time[seq.gradients.start[:-1]], 0.0)[events]
        last = np.append(seq.gradients.end, 0.0)[events]
        events = np.where((first < end[:, None] - 1e-12) & (last > begin[:, None] + 1e-12), events, NONE)
    number, example = codes(kind[row], *events.T)
    known: dict[bytes, int] = {}
    plain, place = [], np.zeros(len(example), np.int64)
    for index, pulse in enumerate(example):
        shape = _shape(seq, int(row[pulse]), waves[row[pulse]], events[pulse], float(largest[kind[row[pulse]]]))
        key = _key(shape)
        if key not in known:
            known[key] = len(plain)
            plain.append(shape)
        place[index] = known[key]
    return _rotated(seq, plain, place[number], seq.rotation[block])


def _rotated(
    seq: SeqFile, plain: list[PulseShape], number: Array, rotation: Array
) -> tuple[Array, tuple[PulseShape, ...]]:
    """Return the distinct shapes after the rotations of the pulses' blocks, and the shape of each pulse."""
    matrices = np.concatenate((seq.extensions.rotations.reshape(-1, 3, 3), np.eye(3)[None]))
    shapes, final = [], np.zeros(len(number), np.int64)
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number, minlength=len(plain))))[:-1]
    for shape, mine in zip(plain, parts, strict=True):
        used, which = np.unique(rotation[mine], return_inverse=True)
        gradient = shape.gradient.numpy()
        _, size, axes = np.linalg.svd(gradient.T @ gradient)
        # rotations that agree on the directions that the gradient takes give one shape
        spanned = matrices[used] @ (axes * (size > 1e-12 * max(size[0], 1e-300))[:, None]).T
        group, example = codes(*np.round(spanned.reshape(len(used), -1) / 1e-9).T)
        final[mine] = len(shapes) + group[which]
        for turn in used[example]:
            own = shape.gradient if turn == NONE else torch.from_numpy(gradient @ matrices[turn].T)
            shapes.append(shape if turn == NONE else replace(shape, gradient=own))
    return final, tuple(shapes)


def _shape(seq: SeqFile, row: int, wave: Wave, events: Array, amplitude: float) -> PulseShape:
    delay, edges = seq.rf.delay[row], wave.edges
    used = [event for event in events if event != NONE]
    if used:
        points = np.concatenate([seq.gradients.points(event)[0] for event in used]) - delay
        edges = np.unique(np.round(np.concatenate((edges, points)), 12))
        edges = edges[(edges >= 0) & (edges <= wave.edges[-1] + 1e-12)]
        quarter = 0.25 * np.diff(edges)
        pair = np.stack((edges[:-1] + quarter, edges[1:] - quarter)) + delay
        low, high = (amplitude_at(seq.gradients, events, np.broadcast_to(t, (3, len(t)))) for t in pair)
        sloped = np.any(np.abs(low - high) > 1e-9 * np.abs(low).max(), axis=0)
        steps = np.clip(np.ceil(np.diff(edges) / RAMP_STEP - 1e-6), 1, MOST_STEPS)
        edges = divided(edges, np.where(sloped, steps, 1).astype(np.int64))
    duration = np.diff(edges)
    total = moment_at(seq.gradients, events, np.broadcast_to(edges + delay, (3, len(edges))))
    gradient = (np.diff(total) / duration).T
    middle = np.searchsorted(wave.edges, 0.5 * (edges[1:] + edges[:-1]), side="right") - 1
    values = amplitude * np.exp(-1j * wave.phase) * wave.values[np.clip(middle, 0, len(wave.values) - 1)]
    duration, values, gradient = _runs(duration, values, gradient)
    return PulseShape(
        duration=torch.from_numpy(duration), b1=torch.from_numpy(values), gradient=torch.from_numpy(gradient),
        center=float(seq.rf.center[row]), flip_angle=wave.flip if wave.fixed else amplitude * wave.flip,
    )  # fmt: skip


def _runs(duration: Array, values: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """Join neighbouring segments of equal field and gradient."""
    same = np.abs(np.diff(values)) <= 1e-12 * np.abs(values).max()
    same &= np.all(np.abs(np.diff(gradient, axis=0)) <= 1e-9 * np.abs(gradient).max(), axis=1)
    first = np.concatenate(([0], np.nonzero(~same)[0] + 1))
    return np.add.reduceat(duration, first), values[first], np.ascontiguousarray(gradient[first])


def _key(shape: PulseShape) -> bytes:
    """Return the same bytes for shapes that are equal up to rounding."""
    gradient, b1 = shape.gradient.numpy(), shape.b1.numpy()
    parts = [np.array([shape.center, shape.flip_angle]) / 1e-10, shape.duration.numpy() / 1e-12]
    parts += [b1.view(np.float64) / (1e-9 * np.abs(b1).max(initial=1e-9)), (gradient / 1e-4).ravel()]
    return np.round(np.concatenate(parts)).astype(np.int64).tobytes()
