"""What one RF event of a `.seq` plays: segments of constant field, and the instantaneous pulse in their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.rf import envelope
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sequences.shapes import Shape

RAMP_STEP = 10e-6
MOST_STEPS = 4096
_CHIRPED = 0.6
_NULLED = 1e-3


@dataclass(frozen=True, slots=True)
class Wave:
    """A pulse of unit amplitude, conjugated: edges [s] from the end of the delay, values, and what it does.

    `flip` is the flip angle [rad] and `phase` the axis [rad] of the instantaneous pulse in its place; `fixed` says that
    `flip` does not grow with the amplitude.
    """

    edges: Array
    values: Array
    flip: float
    phase: float
    fixed: bool


def wave(seq: SeqFile, row: int, segments: tuple[Array, Array]) -> Wave:
    """Return the wave of one RF event; see `pulse_shapes.played_pulses` for what counts as its flip angle and phase.

    Parameters
    ----------
    row
        In `seq.rf`.
    segments
        What `segments` returned for it.
    """
    edges, values = segments
    use, amplitude = seq.rf.use[row], abs(seq.rf.amplitude[row])
    weighted = 2 * np.pi * values * np.diff(edges)
    at_center = values[np.clip(np.searchsorted(edges, seq.rf.center[row], side="right") - 1, 0, len(values) - 1)]
    if at_center == 0:
        at_center = values[np.argmax(np.abs(values))]
    if is_chirped(edges, values):
        if use in ("i", "r"):
            return Wave(edges, values, np.pi, float(np.angle(at_center)), True)
        transverse, longitudinal = _on_resonance(amplitude * weighted)
        if abs(transverse) > 1e-6:
            flip = float(np.arctan2(abs(transverse), longitudinal))
            return Wave(edges, values, flip, float(np.angle(1j * transverse)), True)
    net, total = np.sum(weighted), np.abs(weighted).sum()
    if abs(net) < _NULLED * total:
        return Wave(edges, values, float(total), float(np.angle(at_center)), False)
    return Wave(edges, values, float(abs(net)), float(np.angle(net)), False)


def is_chirped(edges: Array, values: Array) -> bool:
    """Say whether the sum of a pulse tells little of what it does: its phase runs, and the sum is small."""
    weighted = values * np.diff(edges)
    total = np.abs(weighted).sum()
    straight = np.abs(np.sum(np.abs(weighted) * np.exp(2j * np.angle(values)))) > (1 - 1e-6) * total
    return bool(not straight and np.abs(weighted.sum()) < _CHIRPED * total)


def segments(seq: SeqFile, row: int) -> tuple[Array, Array]:
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
    steps = np.ceil(np.diff(time.at(corner)) * raster / RAMP_STEP - 1e-6)
    steps = np.where(flat, 1, np.clip(np.maximum(steps, np.diff(corner)), 1, MOST_STEPS)).astype(np.int64)
    node = divided(corner.astype(np.float64), steps)
    middle = 0.5 * (node[1:] + node[:-1]) if len(node) > 1 else node
    edges = time.at(node) * raster
    turns = 0.0 if phase is None else _turns(phase, middle)
    values = magnitude.at(middle) * np.exp(-2j * np.pi * turns)
    return _framed(edges, values, float(rf.duration[row]))


def _turns(phase: Shape, index: Array) -> Array:
    """Return a phase [turns] between its samples, which may jump by whole turns from one to the next."""
    before = np.floor(index)
    low, step = phase.at(before), phase.at(before + 1) - phase.at(before)
    return low + (index - before) * (step - np.round(step))


def _framed(edges: Array, values: Array, duration: float) -> tuple[Array, Array]:
    """Let a pulse with its own times fill the time from 0 to `duration`.

    Times in the middle of steps leave half a step at either end, which the outer values fill; more is silence.
    """
    if len(edges) < 2:
        return np.array([0.0, duration]), values
    step = np.diff(edges)
    if edges[0] <= step[0]:
        edges[0] = 0.0
    if duration - edges[-1] <= step[-1]:
        edges[-1] = duration
    edges = np.concatenate(([0.0], edges, [duration]))
    kept = np.diff(edges) > 0
    return np.append(edges[:-1][kept], duration), np.concatenate(([0.0], values, [0.0]))[kept]


def divided(edges: Array, steps: Array) -> Array:
    """Return `edges` with each piece between them divided into equal steps, int64 ``[piece]``."""
    part = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    inner = np.repeat(edges[:-1], steps) + part * np.repeat(np.diff(edges) / steps, steps)
    return np.append(inner, edges[-1:])


def _on_resonance(rotations: Array) -> tuple[complex, float]:
    """Return M+ and Mz after small rotations ``angle exp(i phase)`` in turn of magnetisation that begins along z."""
    transverse, longitudinal = 0j, 1.0
    angle, turn = np.abs(rotations), np.exp(1j * np.angle(rotations))
    for c, s, t in zip(np.cos(angle).tolist(), np.sin(angle).tolist(), turn.tolist(), strict=True):
        along = transverse * t.conjugate()
        transverse = t * complex(along.real, c * along.imag - s * longitudinal)
        longitudinal = c * longitudinal + s * along.imag
    return transverse, longitudinal
