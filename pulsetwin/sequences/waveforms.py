"""Played waveforms of a range of blocks: gradients after rotation, RF envelopes, acquisitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile

_RF_POINTS = 2000


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
    gradients = [_plain(seq, blocks[~turned], axis) for axis in range(3)]
    for block in blocks[turned]:
        time, vector = corners(seq, int(block))
        for axis in range(3):
            old = gradients[axis]
            gradients[axis] = (np.append(old[0], time + seq.block_start[block]), np.append(old[1], vector[:, axis]))
    rf_time, rf = _rf(seq, blocks[seq.events[blocks, RF] != NONE])
    acquires = blocks[seq.events[blocks, ADC] != NONE]
    adc = seq.events[acquires, ADC]
    begin = seq.block_start[acquires]
    return Waveforms(
        start, stop, tuple(_framed(*wave, start, stop) for wave in gradients), rf_time, rf,
        begin + seq.adc.delay[adc], begin + seq.adc.end[adc] if len(adc) else begin, acquires,
    )  # fmt: skip


def _plain(seq: SeqFile, blocks: Array, axis: int) -> tuple[Array, Array]:
    """Gather the points of one axis of unrotated blocks."""
    event = seq.events[blocks, GX + axis]
    blocks, event = blocks[event != NONE], event[event != NONE]
    if not len(event):
        return np.zeros(0), np.zeros(0)
    begin = seq.gradients.start[event]
    count = seq.gradients.start[event + 1] - begin
    point = np.arange(count.sum()) + np.repeat(begin - np.concatenate(([0], np.cumsum(count)[:-1])), count)
    time = seq.gradients.time[point] + np.repeat(seq.block_start[blocks], count)
    return time, seq.gradients.amplitude[point]


def _framed(time: Array, value: Array, start: float, stop: float) -> tuple[Array, Array]:
    """Sort the points and add zeros at the window's edges where nothing plays there."""
    order = np.argsort(time, kind="stable")
    time, value = time[order], value[order]
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
    """Return the RF envelopes of some blocks, each closed by a NaN."""
    times, values = [np.zeros(0)], [np.zeros(0, complex)]
    for block in blocks:
        time, value = pulse(seq, int(seq.events[block, RF]))
        times += [time + seq.block_start[block], time[-1:] + seq.block_start[block]]
        values += [value, np.array([np.nan + 0j])]
    return np.concatenate(times), np.concatenate(values)


def pulse(seq: SeqFile, row: int) -> tuple[Array, Array]:
    """Return times from the block's start [s] and the complex envelope [Hz] of one RF event, at most 2000 points.

    The phase offset is part of it; the frequency offset is not.
    """
    rf = seq.rf
    magnitude = seq.shapes[rf.magnitude[row]]
    index = np.linspace(0, magnitude.num_samples - 1, min(magnitude.num_samples, _RF_POINTS))
    raster = seq.rasters["RadiofrequencyRasterTime"]
    time = (index + 0.5) * raster
    if rf.time_shape[row] != NONE:
        time = seq.shapes[rf.time_shape[row]].at(index) * raster
    turns = 0.0 if rf.phase_shape[row] == NONE else seq.shapes[rf.phase_shape[row]].at(index)
    phase = 2 * np.pi * turns + rf.phase[row]
    return rf.delay[row] + time, rf.amplitude[row] * magnitude.at(index) * np.exp(1j * phase)
