"""RF pulses of a `.seq` as flip angles, phases and segments of constant field for engines with finite pulses.

A `.seq` plays ``A m(t) exp(i (2 pi p(t) + phase + 2 pi f t))``, t from the end of the delay; the twin counts phases
the other way round, so that everything here is conjugated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at, moment_at
from pulsetwin.sequences.rf import envelope
from pulsetwin.sequences.seqfile import GX, GZ, RF, SeqFile
from pulsetwin.sim.block_intervals import codes
from pulsetwin.sim.timeline import PulseShape

_RAMP_STEP = 10e-6
_MOST_STEPS = 4096
_CHIRPED = 0.6
_NULLED = 1e-3


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


@dataclass(frozen=True, slots=True)
class _Wave:
    """A pulse of unit amplitude, conjugated: edges [s] from the end of the delay, values, and what it does.

    `flip` is the flip angle [rad] and `phase` the axis [rad] of the instantaneous pulse in its place; `fixed` says that
    `flip` does not grow with the amplitude.
    """

    edges: Array
    values: Array
    flip: float
    phase: float
    fixed: bool


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
    flip = np.array(
        [wave.flip if wave.fixed else size * wave.flip for wave, size in zip(waves, amplitude, strict=True)]
    )
    phase = np.array([wave.phase for wave in waves]) + np.where(seq.rf.amplitude < 0, np.pi, 0.0)
    number, shapes = _shapes(seq, block, waves, kind, largest)
    return Pulses(block, flip[row], phase[row], number, shapes)


def _waves(seq: SeqFile) -> tuple[list[_Wave], Array, Array]:
    """Return the unit wave of each RF event, its kind (what a shape depends on), and the kind's largest amplitude."""
    rf = seq.rf
    known: dict[tuple[object, ...], _Wave] = {}
    plain: dict[tuple[object, ...], tuple[Array, Array]] = {}
    waves, keys = [], []
    for row in range(len(rf)):
        place = (rf.magnitude[row], rf.phase_shape[row], rf.time_shape[row])
        if place not in plain:
            plain[place] = _segments(seq, row)
        edges, values = plain[place]
        chirped = _is_chirped(edges, values)
        key = (*place, rf.center[row], *((rf.use[row], abs(rf.amplitude[row])) if chirped else ()))
        if key not in known:
            known[key] = _wave(edges, values, rf.center[row], chirped, str(rf.use[row]), abs(rf.amplitude[row]))
        waves.append(known[key])
        keys.append((*key, rf.delay[row]))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    kind = np.array([numbers[key] for key in keys], np.int64)
    largest = np.zeros(len(numbers))
    np.maximum.at(largest, kind, np.abs(rf.amplitude))
    return waves, kind, np.where(largest > 0, largest, 1.0)


def _segments(seq: SeqFile, row: int) -> tuple[Array, Array]:
    """Return edges [s] from the end of the delay and conjugated values of one RF event of amplitude 1."""
    rf, shapes, raster = seq.rf, seq.shapes, seq.rasters["RadiofrequencyRasterTime"]
    magnitude = shapes[rf.magnitude[row]]
    phase = None if rf.phase_shape[row] == NONE else shapes[rf.phase_shape[row]]
    if rf.time_shape[row] == NONE:
        pulse = envelope(magnitude, phase, None, raster)
        return np.append(0.0, np.round(np.cumsum(pulse.weight / raster), 6)) * raster, np.conj(pulse.signal)
    time = shapes[rf.time_shape[row]]
    corner = np.unique(np.concatenate([s.index for s in (magnitude, phase, time) if s is not None]))
    flat = np.diff(magnitude.at(corner)) == 0
    if phase is not None:
        flat &= np.diff(phase.at(corner)) == 0
    steps = np.ceil(np.diff(time.at(corner)) * raster / _RAMP_STEP - 1e-6)
    steps = np.where(flat, 1, np.clip(np.maximum(steps, np.diff(corner)), 1, _MOST_STEPS)).astype(np.int64)
    node = _divided(corner.astype(np.float64), steps)
    middle = 0.5 * (node[1:] + node[:-1])
    edges = time.at(node) * raster
    turns = 0.0 if phase is None else phase.at(middle)
    values = magnitude.at(middle) * np.exp(-2j * np.pi * turns)
    return _framed(edges, values, float(rf.duration[row]))


def _framed(edges: Array, values: Array, duration: float) -> tuple[Array, Array]:
    """Let a pulse with its own times fill the time from 0 to `duration`.

    Times in the middle of steps leave half a step at either end, which the outer values fill; more is silence.
    """
    if len(edges) < 2:
        return np.array([0.0, duration]), np.append(values, 1.0)[:1]
    step = np.diff(edges)
    if edges[0] <= step[0]:
        edges[0] = 0.0
    if duration - edges[-1] <= step[-1]:
        edges[-1] = duration
    edges = np.concatenate(([0.0], edges, [duration]))
    kept = np.diff(edges) > 0
    return np.append(edges[:-1][kept], duration), np.concatenate(([0.0], values, [0.0]))[kept]


def _divided(edges: Array, steps: Array) -> Array:
    """Return `edges` with each piece between them divided into equal steps, int64 ``[piece]``."""
    part = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    inner = np.repeat(edges[:-1], steps) + part * np.repeat(np.diff(edges) / steps, steps)
    return np.append(inner, edges[-1:])


def _is_chirped(edges: Array, values: Array) -> bool:
    """Say whether the sum of a pulse tells little of what it does: its phase runs, and the sum is small."""
    weighted = values * np.diff(edges)
    total = np.abs(weighted).sum()
    straight = np.abs(np.sum(np.abs(weighted) * np.exp(2j * np.angle(values)))) > (1 - 1e-6) * total
    return bool(not straight and np.abs(weighted.sum()) < _CHIRPED * total)


def _wave(edges: Array, values: Array, center: float, chirped: bool, use: str, amplitude: float) -> _Wave:
    weighted = 2 * np.pi * values * np.diff(edges)
    at_center = values[np.clip(np.searchsorted(edges, center, side="right") - 1, 0, len(values) - 1)]
    if at_center == 0:
        at_center = values[np.argmax(np.abs(values))]
    if chirped and use in ("i", "r"):
        return _Wave(edges, values, np.pi, float(np.angle(at_center)), True)
    if chirped and amplitude > 0:
        transverse, longitudinal = _on_resonance(amplitude * weighted)
        if abs(transverse) > 1e-6:
            flip = float(np.arctan2(abs(transverse), longitudinal))
            return _Wave(edges, values, flip, float(np.angle(1j * transverse)), True)
    net, total = np.sum(weighted), np.abs(weighted).sum()
    if abs(net) < _NULLED * total:
        return _Wave(edges, values, float(total), float(np.angle(at_center)), False)
    return _Wave(edges, values, float(abs(net)), float(np.angle(net)), False)


def _on_resonance(rotations: Array) -> tuple[complex, float]:
    """Return M+ and Mz after small rotations ``angle exp(i phase)`` in turn of magnetisation that begins along z."""
    transverse, longitudinal = 0j, 1.0
    angle, turn = np.abs(rotations), np.exp(1j * np.angle(rotations))
    for c, s, t in zip(np.cos(angle).tolist(), np.sin(angle).tolist(), turn.tolist(), strict=True):
        along = transverse * t.conjugate()
        transverse = t * complex(along.real, c * along.imag - s * longitudinal)
        longitudinal = c * longitudinal + s * along.imag
    return transverse, longitudinal


def _shapes(
    seq: SeqFile, block: Array, waves: list[_Wave], kind: Array, largest: Array
) -> tuple[Array, tuple[PulseShape, ...]]:
    """Return the distinct shapes with the gradients that play meanwhile, and the shape of each pulse."""
    row = seq.events[block, RF]
    begin, end = seq.rf.delay[row], seq.rf.delay[row] + seq.rf.duration[row]
    events = seq.events[block, GX : GZ + 1]
    if len(seq.gradients):
        first = np.append(seq.gradients.time[seq.gradients.start[:-1]], 0.0)[events]
        last = np.append(seq.gradients.end, 0.0)[events]
        events = np.where((first < end[:, None] - 1e-12) & (last > begin[:, None] + 1e-12), events, NONE)
    rotation = np.where(np.all(events == NONE, axis=1), NONE, seq.rotation[block])
    number, example = codes(kind[row], *events.T, rotation)
    known: dict[bytes, int] = {}
    shapes, place = [], np.zeros(len(example), np.int64)
    for index, pulse in enumerate(example):
        size = largest[kind[row[pulse]]]
        shape = _shape(seq, int(row[pulse]), waves[row[pulse]], events[pulse], int(rotation[pulse]), float(size))
        key = _key(shape)
        if key not in known:
            known[key] = len(shapes)
            shapes.append(shape)
        place[index] = known[key]
    return place[number], tuple(shapes)


def _shape(seq: SeqFile, row: int, wave: _Wave, events: Array, rotation: int, amplitude: float) -> PulseShape:
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
        steps = np.clip(np.ceil(np.diff(edges) / _RAMP_STEP - 1e-6), 1, _MOST_STEPS)
        edges = _divided(edges, np.where(sloped, steps, 1).astype(np.int64))
    duration = np.diff(edges)
    total = moment_at(seq.gradients, events, np.broadcast_to(edges + delay, (3, len(edges))))
    gradient = (np.diff(total) / duration).T
    if rotation != NONE:
        gradient = gradient @ seq.extensions.rotations[rotation].T
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
