"""Played waveforms of a range of blocks: gradients after rotation, RF envelopes, acquisitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile

_RF_POINTS, _LEAST_RF_POINTS, _ALL_RF_POINTS = 2000, 10, 400_000


@dataclass(frozen=True, slots=True)
class Waveforms:
    """What the blocks of a window play; times since the sequence's start.

    Parameters
    ----------
    start, stop
        The window [s].
    gradients
        For x, y, z: times [s] and amplitudes [Hz/m] of points joined by straight lines.
    rf_time, rf
        Times [s] and complex envelopes, gamma B1 / 2 pi [Hz], with phase but without frequency offset; NaN between
        pulses.
    adc_start, adc_stop
        Begin and end of the acquisitions [s], ``[adc]``.
    adc_block
        Their blocks, int64 ``[adc]``.
    """

    start: float
    stop: float
    gradients: tuple[tuple[Array, Array], ...]
    rf_time: Array
    rf: Array
    adc_start: Array
    adc_stop: Array
    adc_block: Array


def blocks_between(seq: SeqFile, start: float, stop: float) -> Array:
    """Return the rows of the blocks that overlap the time from `start` to `stop` [s], int64 ``[block]``."""
    begins, ends = seq.block_start, seq.block_start + seq.block_duration
    return np.nonzero((begins < stop - 1e-9) & (ends > start + 1e-9))[0]


def waveforms(seq: SeqFile, start: float, stop: float) -> Waveforms:
    """Return what `seq` plays from `start` to `stop` [s], whole blocks."""
    blocks = blocks_between(seq, start, stop)
    turned = seq.rotation[blocks] != NONE
    rotated = _turned(seq, blocks[turned])
    gradients = [
        [np.concatenate(parts) for parts in zip(_plain(seq, blocks[~turned], axis), rotated[axis], strict=True)]
        for axis in range(3)
    ]
    rf_time, rf = _rf(seq, blocks[seq.events[blocks, RF] != NONE])
    acquires = blocks[seq.events[blocks, ADC] != NONE]
    adc = seq.events[acquires, ADC]
    begin = seq.block_start[acquires]
    return Waveforms(
        start, stop, tuple(_framed(*wave, start, stop) for wave in gradients), rf_time, rf,
        begin + seq.adc.delay[adc], begin + seq.adc.end[adc] if len(adc) else begin, acquires,
    )  # fmt: skip


def _plain(seq: SeqFile, blocks: Array, axis: int) -> tuple[Array, Array, Array]:
    """Gather the points of one axis of unrotated blocks: start of their block, time from it, and amplitude."""
    event = seq.events[blocks, GX + axis]
    blocks, event = blocks[event != NONE], event[event != NONE]
    if not len(event):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    begin = seq.gradients.start[event]
    count = seq.gradients.start[event + 1] - begin
    point = np.arange(count.sum()) + np.repeat(begin - np.concatenate(([0], np.cumsum(count)[:-1])), count)
    return np.repeat(seq.block_start[blocks], count), seq.gradients.time[point], seq.gradients.amplitude[point]


def _turned(seq: SeqFile, blocks: Array) -> list[tuple[Array, Array, Array]]:
    """Gather the points of the three axes of rotated blocks; blocks of equal events and rotation are turned once."""
    keys = np.column_stack((seq.events[blocks, GX : GZ + 1], seq.rotation[blocks]))
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    begins, times, vectors = [np.zeros(0)], [np.zeros(0)], [np.zeros((0, 3))]
    for number, block in enumerate(blocks[first]):
        time, vector = corners(seq, int(block))
        starts = seq.block_start[blocks[index.reshape(-1) == number]]
        begins.append(np.repeat(starts, len(time)))
        times.append(np.tile(time, len(starts)))
        vectors.append(np.tile(vector, (len(starts), 1)))
    begin, time, vector = (np.concatenate(parts) for parts in (begins, times, vectors))
    return [(begin, time, vector[:, axis]) for axis in range(3)]


def _framed(begin: Array, time: Array, value: Array, start: float, stop: float) -> tuple[Array, Array]:
    """Sort the points block by block and add zeros at the window's edges where nothing plays there."""
    order = np.lexsort((time, begin))
    time, value = np.maximum.accumulate((begin + time)[order]), value[order]
    if not len(time) or time[0] > start:
        time, value = np.append(start, time), np.append(0.0, value)
    if time[-1] < stop:
        time, value = np.append(time, stop), np.append(value, 0.0)
    return time, value


def corners(seq: SeqFile, block: int) -> tuple[Array, Array]:
    """Return times from the block's start [s] and rotated gradients [Hz/m] ``[corner, 3]`` of one block."""
    events = seq.events[block, GX : GZ + 1]
    used = [event for event in events if event != NONE]
    if not used:
        return np.zeros(0), np.zeros((0, 3))
    time = np.unique(np.concatenate([seq.gradients.points(event)[0] for event in used]))
    vector = amplitude_at(seq.gradients, events, np.broadcast_to(time, (3, len(time)))).T
    row = seq.rotation[block]
    return time, vector if row == NONE else vector @ seq.extensions.rotations[row].T


def _rf(seq: SeqFile, blocks: Array) -> tuple[Array, Array]:
    """Return the RF envelopes of some blocks, each between NaNs; of many pulses, the strongest points of each."""
    most = int(np.clip(_ALL_RF_POINTS // max(len(blocks), 1), _LEAST_RF_POINTS, _RF_POINTS))
    begins, times, values = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, complex)]
    rf, rows = seq.rf, seq.events[blocks, RF]
    keys = np.column_stack((rf.magnitude, rf.phase_shape, rf.time_shape))[rows]
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    for number, row in enumerate(rows[first]):
        own = index.reshape(-1) == number
        time, value = _strongest(*_pulse_shape(seq, int(row)), most)
        scale = rf.amplitude[rows[own]] * np.exp(1j * rf.phase[rows[own]])
        begins.append(np.repeat(seq.block_start[blocks[own]], len(time) + 2))
        times.append((rf.delay[rows[own], None] + np.pad(time, 1, "edge")).ravel())
        values.append((scale[:, None] * np.pad(value, 1, constant_values=np.nan)).ravel())
    begin, time, value = (np.concatenate(parts) for parts in (begins, times, values))
    order = np.argsort(begin, kind="stable")
    return (begin + time)[order], value[order]


def pulse(seq: SeqFile, row: int) -> tuple[Array, Array]:
    """Return times from the block's start [s] and the complex envelope [Hz] of one RF event.

    The phase offset is part of it; the frequency offset is not.
    """
    time, value = _pulse_shape(seq, row)
    return seq.rf.delay[row] + time, seq.rf.amplitude[row] * np.exp(1j * seq.rf.phase[row]) * value


def _pulse_shape(seq: SeqFile, row: int) -> tuple[Array, Array]:
    """Return times since the end of the delay [s] and the relative complex envelope of one RF event.

    It is given at its samples, or where they are more than 2000, at the corners of its shapes and 2000 times between.
    """
    rf = seq.rf
    shapes = [seq.shapes[one[row]] for one in (rf.magnitude, rf.phase_shape, rf.time_shape) if one[row] != NONE]
    last = shapes[0].num_samples - 1
    index = np.linspace(0, last, min(last + 1, _RF_POINTS))
    if last >= _RF_POINTS:
        index = np.unique(np.concatenate([index, *(shape.index for shape in shapes)]))
    timed = rf.time_shape[row] != NONE
    time = seq.rasters["RadiofrequencyRasterTime"] * (shapes[-1].at(index) if timed else index + 0.5)
    turns = 0.0 if rf.phase_shape[row] == NONE else seq.shapes[rf.phase_shape[row]].at(index)
    return time, shapes[0].at(index) * np.exp(2j * np.pi * turns)


def _strongest(time: Array, value: Array, most: int) -> tuple[Array, Array]:
    """Return at most `most` points: the first, the last, and the strongest of each equal part."""
    if len(time) <= most:
        return time, value
    parts = np.array_split(np.arange(len(time)), most - 2)
    picked = np.unique([0, len(time) - 1, *(part[np.argmax(np.abs(value[part]))] for part in parts)])
    return time[picked], value[picked]
