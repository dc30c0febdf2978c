"""What the receiver sees: times, labels and exact k-space positions of every ADC event that a `.seq` plays.

``k(t) = integral of G dt`` since the last excitation's centre; a refocusing pulse negates it. Gradients are straight
lines between points, so that the integral is exact. Blocks with equal events share one trajectory shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.rawdata import LABELS, Readouts, Samples, Trajectory
from pulsetwin.sequences import labels as label_tools
from pulsetwin.sequences.distinct import distinct_rows
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.gradients import amplitude_at, moment_at
from pulsetwin.sequences.seqfile import ADC, GX, GZ, RF, SeqFile


@dataclass(frozen=True, slots=True)
class PlayedReadouts:
    """The ADC events of a sequence in order of play.

    Parameters
    ----------
    seq
        The sequence.
    block
        Row of each event's block, int64 ``[event]``.
    num_samples
        Samples of each event, int64 ``[event]``.
    dwell
        Time from sample to sample [s], ``[event]``.
    start_time
        Time of the first sample (half a dwell time after the ADC starts) since the sequence's start [s], ``[event]``.
    labels
        Label to int32 ``[event]``; labels that the sequence never uses are absent.
    flags
        Flag (`rawdata.FLAGS`) to bool ``[event]``.
    slice_offset
        Where the last excitation's frequency offset puts the slice [m], along `slice_direction`, ``[event]``.
    slice_direction
        Unit vector of the last excitation's slice gradient in x, y, z, ``[event, 3]``; zeros without one.
    excitation_time
        Centre of the last excitation since the sequence's start [s], ``[event]``; NaN before the first.
    origin
        k-space position at the start of the event's block as it counts at the first sample [1/m], ``[event, 3]``.
    """

    seq: SeqFile
    block: Array
    num_samples: Array
    dwell: Array
    start_time: Array
    labels: dict[str, Array]
    flags: dict[str, Array]
    slice_offset: Array
    slice_direction: Array
    excitation_time: Array
    origin: Array

    def __len__(self) -> int:
        return len(self.block)

    def trajectory(self, events: Array) -> Trajectory:
        """Return the k-space positions [1/m] of some events, all of one length.

        Parameters
        ----------
        events
            Indices of events, int ``[readout]``.
        """
        lengths = np.unique(self.num_samples[events])
        if len(lengths) != 1:
            raise ShapeError(f"events have lengths {lengths.tolist()}: ask for the trajectory of one length at a time")
        blocks = self.block[events]
        keys = np.column_stack((self.seq.events[blocks, GX : ADC + 1], self.seq.rotation[blocks]))
        first, index = distinct_rows(keys)
        shapes = _moments_during_adc(self.seq, blocks[first])
        middle = shapes[:, int(lengths[0]) // 2].copy()
        return Trajectory(shapes - middle[:, None], index, self.origin[events] + middle[index])

    def readouts(self, events: Array, samples: Samples) -> Readouts:
        """Return `samples` ``[readout, coil, sample]``, measured in `events` ``[readout]``, with all that they need.

        The events must be of one length.
        """
        return Readouts(
            samples,
            self.trajectory(events),
            self.start_time[events],
            self.dwell[events],
            {name: values[events] for name, values in self.labels.items() if name in LABELS},
            {name: values[events] for name, values in self.flags.items()},
        )


def played_readouts(seq: SeqFile) -> PlayedReadouts:
    """Return the ADC events of `seq` with their times, labels, flags and k-space."""
    block = np.nonzero(seq.events[:, ADC] != NONE)[0]
    adc = seq.events[block, ADC]
    offset = seq.adc.delay[adc] + 0.5 * seq.adc.dwell[adc]
    before = np.concatenate((np.zeros((1, 3)), np.cumsum(_block_moments(seq), axis=0)))
    pulse = _Pulses(seq, before)
    start = seq.block_start[block] + offset
    last = np.searchsorted(pulse.time, start, side="right")
    excitation = pulse.excitation[last]
    labels = {name: values[block] for name, values in label_tools.evaluate(seq).items()}
    return PlayedReadouts(
        seq=seq,
        block=block,
        num_samples=seq.adc.num_samples[adc],
        dwell=seq.adc.dwell[adc],
        start_time=start,
        labels=labels,
        flags=label_tools.flags(labels, len(block)),
        slice_offset=pulse.slice_offset[excitation],
        slice_direction=pulse.slice_direction[excitation],
        excitation_time=np.concatenate((pulse.time, [np.nan]))[excitation],
        origin=before[block] - pulse.reference[last],
    )


def _rotate(seq: SeqFile, blocks: Array, vectors: Array) -> Array:
    """Apply the rotations of `blocks` ``[block]`` to `vectors` ``[block, ..., 3]``."""
    rotation = seq.rotation[blocks]
    turned = rotation != NONE
    if not np.any(turned):
        return vectors
    rotated = vectors.copy()
    rotated[turned] = np.einsum("bij,b...j->b...i", seq.extensions.rotations[rotation[turned]], vectors[turned])
    return rotated


def _block_moments(seq: SeqFile) -> Array:
    """Return the gradient integral of each block [1/m], float64 ``[block, 3]``."""
    area = np.append(seq.gradients.area, 0.0) if len(seq.gradients) else np.zeros(1)
    return _rotate(seq, np.arange(len(seq)), area[seq.events[:, GX : GZ + 1]])


def _moments_during_adc(seq: SeqFile, blocks: Array) -> Array:
    """Return the gradient integral from each block's start to each sample [1/m], float64 ``[block, sample, 3]``."""
    adc = seq.events[blocks, ADC]
    sample = np.arange(seq.adc.num_samples[adc[0]]) + 0.5
    time = seq.adc.delay[adc, None] + sample * seq.adc.dwell[adc, None]
    moments = np.stack([moment_at(seq.gradients, seq.events[blocks, axis], time) for axis in range(GX, GZ + 1)], -1)
    return _rotate(seq, blocks, moments)


class _Pulses:
    """Excitations and refocusings in order of play, and the k-space reference that each sets.

    k counts from a reference: ``k(t) = M(t) - D`` with the running gradient integral M. An excitation sets ``D = M``, a
    refocusing ``D = 2 M - D``. Entry 0 of `reference` and `excitation` is the state before the first pulse.
    """

    def __init__(self, seq: SeqFile, before: Array) -> None:
        use = np.append(seq.rf.use, "")[seq.events[:, RF]]
        block = np.nonzero(np.isin(use, ("e", "u", "r")))[0]
        excites = use[block] != "r"
        rf = seq.events[block, RF]
        center = seq.rf.delay[rf] + seq.rf.center[rf] if len(rf) else np.zeros(0)
        self.time = seq.block_start[block] + center
        moment = before[block] + _at_center(seq, block, center, moment_at)
        self.reference = np.concatenate((np.zeros((1, 3)), _references(moment, excites)))
        position = np.maximum.accumulate(np.where(excites, np.arange(len(block)), -1))
        self.excitation = np.concatenate(([-1], position)).astype(np.int64)
        gradient = _at_center(seq, block, center, amplitude_at)
        strength = np.linalg.norm(gradient, axis=1)
        freq = seq.rf.freq[rf] if len(rf) else np.zeros(0)
        offset = np.divide(freq, strength, out=np.zeros(len(block)), where=strength > 0)
        self.slice_offset = np.append(offset, 0.0)
        direction = np.divide(gradient, strength[:, None], out=np.zeros((len(block), 3)), where=strength[:, None] > 0)
        self.slice_direction = np.concatenate((direction, np.zeros((1, 3))))


def _at_center(seq: SeqFile, block: Array, center: Array, function: Callable[..., Array]) -> Array:
    """Evaluate `moment_at` or `amplitude_at` at the centres of the pulses, ``[pulse, 3]``; each distinct case once."""
    keys = np.column_stack((seq.events[block, RF : GZ + 1], seq.rotation[block]))
    first, index = distinct_rows(keys)
    time = center[first, None]
    axes = [function(seq.gradients, seq.events[block[first], axis], time)[:, 0] for axis in range(GX, GZ + 1)]
    return _rotate(seq, block[first], np.stack(axes, -1))[index]


def _references(moment: Array, excites: Array) -> Array:
    """Return D after each pulse [1/m], ``[pulse, 3]``, from the running integral `moment` at its centre."""
    count = len(moment)
    if not count:
        return np.zeros((0, 3))
    order = np.arange(count)
    start = np.maximum.accumulate(np.where(excites, order, -1))
    base = np.where((start >= 0)[:, None], moment[start], 0.0)
    sign = np.where((order - np.maximum(start, -1)) % 2 == 0, 1.0, -1.0)[:, None]
    swing = np.where(excites[:, None], 0.0, sign * (moment - base))
    total = np.concatenate((np.zeros((1, 3)), np.cumsum(swing, axis=0)))
    since = total[1:] - total[np.maximum(start, -1) + 1]
    return base + 2 * sign * since
