"""Cut the blocks of a `.seq` into intervals at pulses, samples and gradient corners, with exact gradient moments.

Blocks whose events share their times share their cuts; a gradient is integrated once for each set of cuts it meets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import NONE, Array, GradientEvents
from pulsetwin.sequences.gradients import amplitude_at, moment_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile

_PIECES = 64
_FEW_POINTS = 32
_FINE_DWELL = 100e-6
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Intervals:
    """What the blocks play, as intervals end to end.

    Parameters
    ----------
    duration
        [s], float64 ``[interval]``.
    moment
        Gradient moment [1/m], float64 ``[interval, 3]``.
    in_pulse, sampled, centered
        Whether an interval lies in the window of a pulse, ends with a sample, ends with a pulse's centre; bool
        ``[interval]``.
    steady
        Whether the gradient is constant during the interval, bool ``[interval]``.
    """

    duration: Array
    moment: Array
    in_pulse: Array
    sampled: Array
    centered: Array
    steady: Array

    def __len__(self) -> int:
        return len(self.duration)


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Ends of the intervals of one kind of block since its start [s], and what `Intervals` says of each."""

    end: Array
    in_pulse: Array
    sampled: Array
    centered: Array
    simple: Array


def cut_blocks(seq: SeqFile) -> Intervals:
    """Return the intervals of all blocks of `seq`.

    Raises
    ------
    ProtocolError
        If a pulse or a sample lies after the end of its block.
    """
    kind, first = _kinds(seq)
    cuts = [_cuts(seq, int(block)) for block in first]
    count = np.array([len(cut.end) for cut in cuts])
    start = np.cumsum(count) - count
    index = spread(start[kind], count[kind])
    end, in_pulse, sampled, centered, simple = (
        np.concatenate([getattr(cut, name) for cut in cuts]) for name in _Cuts.__slots__
    )
    begin = np.append(0.0, end)[: len(end)]
    begin[start[count > 0]] = 0.0
    free = ~(sampled | centered)
    joins = simple & (free | np.append(True, free)[: len(free)] | (begin == 0))
    owner = np.repeat(np.arange(len(seq)), count[kind])
    moment, steady = np.empty((len(index), 3)), np.ones(len(index), bool)
    for axis in range(3):
        moment[:, axis], constant = _axis(seq, axis, kind, begin, end, joins, start, count)
        steady &= constant
    turned = np.nonzero(seq.rotation[owner] != NONE)[0]
    if len(turned):
        matrix = seq.extensions.rotations[seq.rotation[owner[turned]]]
        moment[turned] = np.einsum("iab,ib->ia", matrix, moment[turned])
    return Intervals((end - begin)[index], moment, in_pulse[index], sampled[index], centered[index], steady)


def spread(start: Array, count: Array) -> Array:
    """Return ``start[i], start[i] + 1, ...``, ``count[i]`` numbers for each `i`, end to end."""
    before = np.cumsum(count) - count
    return np.arange(count.sum()) + np.repeat(start - before, count)


def merged(cut: Intervals) -> Intervals:
    """Join intervals between which nothing happens: no sample, no pulse, and the same constant gradient."""
    free = ~(cut.sampled | cut.centered) & cut.steady & (cut.duration > 0)
    after = cut.steady[1:] & (cut.duration[1:] > 0) & (cut.in_pulse[:-1] == cut.in_pulse[1:])
    candidate = np.nonzero(free[:-1] & after)[0]
    here, there = (cut.moment[i] / cut.duration[i, None] for i in (candidate, candidate + 1))
    same = np.all(np.abs(here - there) <= 1e-9 * np.abs(here).max(initial=0), axis=1)
    first = np.delete(np.arange(len(cut)), candidate[same] + 1)
    if len(first) == len(cut):
        return cut
    last = np.append(first[1:], len(cut)) - 1
    return Intervals(
        np.add.reduceat(cut.duration, first), np.add.reduceat(cut.moment, first, axis=0), cut.in_pulse[last],
        cut.sampled[last], cut.centered[last], cut.steady[last],
    )  # fmt: skip


def codes(*columns: Array) -> tuple[Array, Array]:
    """Return a number for each distinct row of the columns, ``[row]``, and the first row of each number."""
    total = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(0, np.int64)
    for column in columns:
        _, part = np.unique(column, return_inverse=True)
        _, first, total = np.unique(total * (part.max(initial=0) + 1) + part, return_index=True, return_inverse=True)
    return total, first


def _kinds(seq: SeqFile) -> tuple[Array, Array]:
    """Return a number for the times of each block's events; see `codes`."""
    rf, adc, gradients = seq.rf, seq.adc, seq.gradients
    rf_time = _with_none(codes(rf.delay, rf.center, rf.duration)[0])
    adc_time = _with_none(codes(adc.num_samples, adc.dwell, adc.delay)[0])
    grad_time = _with_none(_gradient_times(gradients))
    used = seq.events
    return codes(
        np.round(seq.block_duration, _DECIMALS), rf_time[used[:, RF]], adc_time[used[:, ADC]],
        *(grad_time[used[:, axis]] for axis in range(GX, GZ + 1)),
    )  # fmt: skip


def _with_none(number: Array) -> Array:
    return np.append(number, NONE).astype(np.int64)


def _gradient_times(gradients: GradientEvents) -> Array:
    """Return a number for the times at which each gradient wants cuts, int64 ``[gradient]``."""
    numbers = np.zeros(len(gradients), np.int64)
    count, known = np.diff(gradients.start), 0
    count = np.where(count > _FEW_POINTS, 0, count)
    for size in np.unique(count):
        rows = np.nonzero(count == size)[0]
        first = gradients.start[rows]
        point = first[:, None] + np.arange(size) if size else np.stack((first, gradients.start[rows + 1] - 1), 1)
        number, _ = codes(*np.round(gradients.time[point], _DECIMALS).T)
        numbers[rows] = number + known
        known += int(number.max()) + 1
    return numbers


def _cuts(seq: SeqFile, block: int) -> _Cuts:
    """Cut one block, the pattern of its kind."""
    rf, adc = seq.events[block, RF], seq.events[block, ADC]
    duration = np.round(seq.block_duration[block], _DECIMALS)
    samples, window = np.zeros(0), np.zeros(0)
    if adc != NONE:
        order = np.arange(seq.adc.num_samples[adc])
        samples = np.round(seq.adc.delay[adc] + (order + 0.5) * seq.adc.dwell[adc], _DECIMALS)
    if rf != NONE:
        window = np.round(seq.rf.delay[rf] + np.array([0.0, seq.rf.center[rf], seq.rf.duration[rf]]), _DECIMALS)
    if max(samples.max(initial=0), window.max(initial=0)) > duration + 1e-9:
        raise ProtocolError(
            f"{seq.path}: block {seq.number[block]} ends after {duration:g} s, before its pulse or its last sample: "
            "lengthen the block"
        )
    corners, simple = _corners(seq.gradients, seq.events[block, GX : GZ + 1])
    if len(samples) and seq.adc.dwell[adc] <= _FINE_DWELL:
        # so short a dwell follows the gradient better than its corners would
        corners = corners[(corners < samples[0]) | (corners > samples[-1])]
    end = np.unique(np.concatenate((samples, window, np.round(corners, _DECIMALS), [duration])))
    at_start = bool(len(window) and window[1] == 0)
    end = end[((end > 0) & (end <= duration)) | ((end == 0) & at_start)]
    begin = np.append(0.0, end)[:-1]
    in_pulse = (begin >= window[0]) & (end <= window[2]) if len(window) else np.zeros(len(end), bool)
    return _Cuts(end, in_pulse, np.isin(end, samples), np.isin(end, window[1:2]), np.full(len(end), simple))


def _corners(gradients: GradientEvents, events: Array) -> tuple[Array, bool]:
    """Return where the gradients of a block bend [s], and whether that is every bend: long waveforms are cut evenly."""
    used = [event for event in events if event != NONE]
    long = [event for event in used if gradients.start[event + 1] - gradients.start[event] > _FEW_POINTS]
    parts = [gradients.points(event)[0] for event in used if event not in long]
    if long:
        begin = min(gradients.points(event)[0][0] for event in long)
        parts.append(np.linspace(begin, max(gradients.points(event)[0][-1] for event in long), _PIECES + 1))
    return np.concatenate([np.zeros(0), *parts]), not long


def _axis(
    seq: SeqFile, axis: int, kind: Array, begin: Array, end: Array, joins: Array, start: Array, count: Array
) -> tuple[Array, Array]:
    """Return the moment [1/m] of each interval along one axis, unrotated, and whether it `joins` and is constant."""
    event = seq.events[:, GX + axis]
    number, first = codes(event, kind)
    size = count[kind[first]]
    pattern = spread(start[kind[first]], size)
    own = np.repeat(event[first], size)
    total = moment_at(seq.gradients, own, end[pattern, None])[:, 0]
    moment = np.diff(total, prepend=0.0)
    heads = np.cumsum(size) - size
    moment[heads[size > 0]] = total[heads[size > 0]]
    constant = joins[pattern]
    asked = np.nonzero(constant)[0]
    here, there = begin[pattern[asked]], end[pattern[asked]]
    inside = np.stack((0.75 * here + 0.25 * there, 0.25 * here + 0.75 * there), 1)
    value = amplitude_at(seq.gradients, own[asked], inside)
    constant[asked] = np.abs(value[:, 0] - value[:, 1]) <= 1e-9 * np.abs(value).max(initial=0)
    place = spread(heads[number], size[number])
    return moment[place], constant[place]
