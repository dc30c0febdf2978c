"""Gradient events of a `.seq` file as points joined by straight lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.events import NONE, Array, GradientEvents
from pulsetwin.sequences.shapes import Shape


@dataclass(frozen=True, slots=True)
class GradientRows:
    """The rows of `[TRAP]` and `[GRADIENTS]`, before they are made into points.

    Parameters
    ----------
    trap_id, trap
        Ids, int64 ``[trap]``, and amplitude [Hz/m], rise, flat, fall, delay [s], float64 ``[trap, 5]``.
    id, amplitude, delay
        Of the shaped gradients: int64, [Hz/m], [s].
    first, last
        Values at the edges [Hz/m]; NaN where the file (before 1.5) does not state them.
    shape, time_shape
        Rows in the table of shapes; a `time_shape` of `NONE` means the raster, -2 the raster oversampled by two.
    """

    trap_id: Array
    trap: Array
    id: Array
    amplitude: Array
    delay: Array
    first: Array
    last: Array
    shape: Array
    time_shape: Array


OVERSAMPLED = -2


def duration(rows: GradientRows, shapes: tuple[Shape, ...], raster: float) -> Array:
    """Return the end of each event from its block's start [s], float64 ``[gradient]``, trapezoids first."""
    shaped = np.zeros(len(rows.id))
    for row, (shape, time) in enumerate(zip(rows.shape, rows.time_shape, strict=True)):
        count = shapes[shape].num_samples
        if time == NONE:
            shaped[row] = count * raster
        elif time == OVERSAMPLED:
            shaped[row] = (count + 1) // 2 * raster
        else:
            shaped[row] = shapes[time].value[-1] * raster
    return np.concatenate((rows.trap[:, 1:].sum(1), rows.delay + shaped))


def last_values(rows: GradientRows, shapes: tuple[Shape, ...]) -> Array:
    """Return the gradient at the end of each event [Hz/m]; where not stated, extrapolated by half a raster interval."""
    last = rows.last.copy()
    for row in np.nonzero(np.isnan(last))[0]:
        value = _tail(shapes[rows.shape[row]])
        on_raster = rows.time_shape[row] == NONE
        last[row] = rows.amplitude[row] * ((3 * value[1] - value[0]) / 2 if on_raster else value[1])
    return np.concatenate((np.zeros(len(rows.trap_id)), last))


def _tail(shape: Shape) -> Array:
    """Return the last two samples (twice the only one)."""
    return shape.at(np.array([max(shape.num_samples - 2, 0), shape.num_samples - 1]))


def first_values(rows: GradientRows, used: Array, block_duration: Array, end: Array, last: Array) -> Array:
    """Return the gradient at the start of each shaped event [Hz/m].

    Files before 1.5 do not state it: it continues the gradient of the block before the event's first use, or is zero.

    Parameters
    ----------
    used
        Gradient events of the blocks, int64 ``[block, 3]``, `NONE` for none.
    block_duration
        Durations [s], ``[block]``.
    end, last
        Of all events, trapezoids first; see `duration` and `last_values`.
    """
    traps = len(rows.trap_id)
    first = rows.first.copy()
    if not np.any(np.isnan(first)):
        return first
    touches = np.where(used == NONE, False, np.abs(end[used] - block_duration[:, None]) < 1e-9)
    before = np.zeros(used.shape)
    before[1:] = np.where(touches[:-1], last[used[:-1]], 0.0)
    event, where = np.unique(used.reshape(-1), return_index=True)
    shaped = event >= traps
    row, where = event[shaped] - traps, where[shaped]
    inherited = np.where(rows.delay[row] > 0, 0.0, before.reshape(-1)[where])
    unknown = np.isnan(first[row])
    first[row[unknown]] = inherited[unknown]
    return np.nan_to_num(first)


def build(rows: GradientRows, shapes: tuple[Shape, ...], raster: float, first: Array, last: Array) -> GradientEvents:
    """Return all events as points; `first` [Hz/m] ``[shaped]``, `last` [Hz/m] ``[gradient]``, trapezoids first."""
    traps = len(rows.trap_id)
    amplitude, rise, flat, fall, delay = rows.trap.T
    nothing = np.zeros(traps)
    times = [np.cumsum(np.stack((delay, rise, flat, fall), 1), 1).reshape(-1)]
    values = [np.stack((nothing, amplitude, amplitude, nothing), 1).reshape(-1)]
    counts = [np.full(traps, 4)]
    for row in range(len(rows.id)):
        time, value = _shaped(rows, row, shapes, raster, first[row], last[traps + row])
        times.append(time + rows.delay[row])
        values.append(value)
        counts.append(np.array([len(time)]))
    start = np.concatenate(([0], np.cumsum(np.concatenate(counts)))).astype(np.int64)
    time, value = np.concatenate(times), np.concatenate(values)
    letters = {NONE: "a", OVERSAMPLED: "o"}
    kind = np.array(["t"] * traps + [letters.get(int(t), "e") for t in rows.time_shape], "U1")
    ids = np.concatenate((rows.trap_id, rows.id))
    delays = np.concatenate((delay, rows.delay))
    return GradientEvents(ids, kind, delays, start, time, value, _moments(start, time, value))


def _shaped(
    rows: GradientRows, row: int, shapes: tuple[Shape, ...], raster: float, first: float, last: float
) -> tuple[Array, Array]:
    """Return times from the end of the delay [s] and amplitudes [Hz/m] of one shaped gradient."""
    shape, timing, amplitude = shapes[rows.shape[row]], rows.time_shape[row], rows.amplitude[row]
    if timing >= 0:
        index = np.union1d(shape.index, shapes[timing].index)
        time, value = shapes[timing].at(index) * raster, amplitude * shape.at(index)
        if time[0] > 0:
            return np.concatenate(([0.0], time)), np.concatenate(([first], value))
        return time, value
    if timing == OVERSAMPLED:
        time, end = 0.5 * raster * (shape.index + 1), 0.5 * raster * (shape.num_samples + 1)
    else:
        time, end = raster * (shape.index + 0.5), raster * shape.num_samples
    value = amplitude * shape.value
    return np.concatenate(([0.0], time, [end])), np.concatenate(([first], value, [last]))


def _moments(start: Array, time: Array, value: Array) -> Array:
    """Integrate each event from its start: the trapezoid rule, exact for straight lines."""
    if not len(time):
        return np.zeros(0)
    piece = np.concatenate(([0.0], 0.5 * (value[1:] + value[:-1]) * np.diff(time)))
    piece[start[:-1]] = 0.0
    total = np.cumsum(piece)
    return total - np.repeat(total[start[:-1]], np.diff(start))


def moment_at(gradients: GradientEvents, event: Array, time: Array) -> Array:
    """Return the integral of gradient `event` from its block's start to `time` [1/m], float64 ``[pair, sample]``.

    Parameters
    ----------
    event
        Rows of `gradients`, int64 ``[pair]``; `NONE` gives zeros.
    time
        Times from the block's start [s], float64 ``[pair, sample]``.
    """
    here, inside, step = _locate(gradients, event, time)
    if here is None:
        return np.zeros(time.shape)
    slope = _slope(gradients, here)
    value = gradients.moment[here] + step * (gradients.amplitude[here] + 0.5 * slope * step)
    return np.where(inside > 0, value, 0.0)


def amplitude_at(gradients: GradientEvents, event: Array, time: Array) -> Array:
    """Return the gradient [Hz/m] of `event` ``[pair]`` at `time` [s] ``[pair, sample]``; zero outside the event."""
    here, inside, step = _locate(gradients, event, time)
    if here is None:
        return np.zeros(time.shape)
    value = gradients.amplitude[here] + _slope(gradients, here) * step
    return np.where(inside == 1, value, 0.0)


def _locate(gradients: GradientEvents, event: Array, time: Array) -> tuple[Array | None, Array, Array]:
    """Return the point before each time, whether the time lies before (0), in (1) or after (2) the event, and the step.

    One search serves all events: event `g` is shifted by ``g`` spans, so that all points are in order.
    """
    if not len(gradients):
        return None, np.zeros(0), np.zeros(0)
    span = 2 * float(gradients.time.max()) + 1e-3
    owner = np.repeat(np.arange(len(gradients)), np.diff(gradients.start))
    row = np.maximum(event, 0)[:, None]
    begin, end = gradients.start[row], gradients.start[row + 1] - 1
    clipped = np.clip(time, gradients.time[begin], gradients.time[end])
    here = np.searchsorted(gradients.time + owner * span, clipped + row * span, side="right") - 1
    here = np.clip(here, begin, np.maximum(end - 1, begin))
    position = (time >= gradients.time[begin]).astype(np.int8) + (time > gradients.time[end])
    position[event == NONE] = 0
    return here, position, clipped - gradients.time[here]


def _slope(gradients: GradientEvents, here: Array) -> Array:
    after = np.minimum(here + 1, len(gradients.time) - 1)
    step = gradients.time[after] - gradients.time[here]
    rise = gradients.amplitude[after] - gradients.amplitude[here]
    return np.divide(rise, step, out=np.zeros(step.shape), where=step > 0)
