"""Gradients that play later than the `.seq` says, each axis by a time of its own, relative to pulses and samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import NONE, Array, GradientEvents
from pulsetwin.sequences.seqfile import GX, GZ, SeqFile

_TOUCH = 1e-10  # blocks overlap by more than this [s]
_Part = tuple[int, float, float]
"""Row of a gradient event, its block's start relative to that of the block it plays in [s], and its weight."""


def delayed_gradients(seq: SeqFile, delay: tuple[float, float, float]) -> SeqFile:
    """Return `seq` with the gradients along x, y, z later by `delay`: waveforms that cross into other blocks are cut.

    Axes are those of the scanner: rotations of blocks are carried out first.

    Parameters
    ----------
    seq
        The sequence.
    delay
        Of the gradients along x, y, z [s]; negative ones play earlier.

    Raises
    ------
    ProtocolError
        If `delay` is not three finite numbers.
    """
    if len(delay) != 3 or not all(math.isfinite(d) for d in delay):
        raise ProtocolError(f"gradient_delay {delay}: give three numbers, for x, y and z [s]")
    if not any(delay):
        return seq
    known: dict[tuple[object, ...], int] = {}
    events, made = seq.events.copy(), list[tuple[Array, Array]]()
    begin = seq.block_start
    end = begin + seq.block_duration
    for axis, late in enumerate(delay):
        first = np.searchsorted(end + late, begin + _TOUCH, side="right")
        last = np.searchsorted(begin + late, end - _TOUCH, side="left")
        for block, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            parts = _parts(seq, axis, low, high, late - float(begin[block]))
            length = float(seq.block_duration[block])
            key = (round(length, 12), *((event, round(at, 12), round(weight, 12)) for event, at, weight in parts))
            if parts and key not in known:
                known[key] = len(seq.gradients) + len(made)
                made.append(_summed(seq.gradients, parts, length))
            events[block, GX + axis] = known[key] if parts else NONE
    plain = replace(seq.extensions, rotation=np.full(len(seq.extensions), NONE))
    return replace(seq, events=events, gradients=_extended(seq.gradients, made), extensions=plain)


def _parts(seq: SeqFile, axis: int, low: int, high: int, shift: float) -> list[_Part]:
    """Return what plays along an axis from the blocks `low` to `high`, whose starts are moved by `shift` [s]."""
    parts: list[_Part] = []
    for block in range(low, high):
        matrix = np.eye(3) if seq.rotation[block] == NONE else seq.extensions.rotations[seq.rotation[block]]
        for logical, event in enumerate(seq.events[block, GX : GZ + 1].tolist()):
            weight = float(matrix[axis, logical])
            if event != NONE and weight:
                parts.append((event, float(seq.block_start[block]) + shift, weight))
    return parts


def _summed(gradients: GradientEvents, parts: list[_Part], length: float) -> tuple[Array, Array]:
    """Return the sum of the parts from 0 to `length` as points joined by straight lines; jumps are points at one time.

    Returns times [s] and amplitudes [Hz/m].
    """
    lines = [(gradients.points(event), at, weight) for event, at, weight in parts]
    corners = np.concatenate([points[0] + at for points, at, _ in lines])
    edge = np.unique(np.round(np.clip(np.append(corners, (0.0, length)), 0.0, length), 12))
    quarter = np.diff(edge) / 4
    low, high = (
        sum(weight * np.interp(t - at, *points, left=0.0, right=0.0) for points, at, weight in lines)
        for t in (edge[:-1] + quarter, edge[1:] - quarter)
    )
    # A line through two points within each piece reaches its ends, jumps there or not.
    ends = np.stack((1.5 * low - 0.5 * high, 1.5 * high - 0.5 * low), 1).ravel()
    time = np.repeat(edge, 2)[1:-1]
    jump = np.abs(np.diff(ends)[1::2]) > 1e-9 * np.abs(ends).max()
    keep = np.ones(len(time), bool)
    keep[2::2] = jump
    return time[keep], ends[keep]


def _extended(gradients: GradientEvents, made: list[tuple[Array, Array]]) -> GradientEvents:
    """Return the table of gradients with more of them at its end."""
    if not made:
        return gradients
    count = np.array([len(time) for time, _ in made])
    moments = [np.append(0.0, np.cumsum((value[1:] + value[:-1]) / 2 * np.diff(time))) for time, value in made]
    return GradientEvents(
        id=np.append(gradients.id, gradients.id.max(initial=0) + 1 + np.arange(len(made))),
        kind=np.append(gradients.kind, ["e"] * len(made)),
        delay=np.append(gradients.delay, np.zeros(len(made))),
        start=np.append(gradients.start, gradients.start[-1] + np.cumsum(count)),
        time=np.concatenate((gradients.time, *(time for time, _ in made))),
        amplitude=np.concatenate((gradients.amplitude, *(value for _, value in made))),
        moment=np.concatenate((gradients.moment, *moments)),
    )
