"""What an RF pulse of a `.seq` plays, as steps of constant field: on its raster, or as Pulseq-CEST samples it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.pulse_waves import segments

_MICROSECOND = 1e-6
_SILENT = 1e-12


@dataclass(frozen=True, slots=True)
class Steps:
    """A pulse from its first sample to its last that is not 0.

    Parameters
    ----------
    amplitude
        Nutation frequency [Hz], float64 ``[step]``.
    phase
        [rad], float64 ``[step]``, without that of the pulse.
    duration
        [s], float64 ``[step]``.
    length
        From the first sample to the last that is not 0 [s]; more than the sum of `duration` where samples are dropped.
    """

    amplitude: Array
    phase: Array
    duration: Array
    length: float


def exact_steps(seq: SeqFile, row: int) -> Steps:
    """Return the steps of an RF event: each run of equal samples is one."""
    edges, values = _held(seq, row) or segments(seq, row)
    values = seq.rf.amplitude[row] * np.conj(values)
    return _joined(np.abs(values), np.angle(values), np.diff(edges))


def sampled_steps(seq: SeqFile, row: int, most: int) -> Steps:
    """Return the steps of an RF event as Pulseq-CEST plays it.

    A pulse with more than `most` runs of equal samples is thinned out on its raster of 1 us: of each stretch of
    ``ceil(samples / most)`` the first sample is held, and a stretch that is not full is dropped. Sample phases count
    backwards.
    """
    exact = exact_steps(seq, row)
    backwards = Steps(exact.amplitude, -exact.phase, exact.duration, exact.length)
    if len(exact.duration) <= most:
        return backwards
    count = round(exact.length / _MICROSECOND)
    stretch = -(-count // most)
    at = np.arange(count // stretch) * stretch
    ends = np.round(np.cumsum(exact.duration) / _MICROSECOND)
    kept = np.searchsorted(ends, at, side="right")
    steps = _joined(backwards.amplitude[kept], backwards.phase[kept], np.full(len(at), stretch * _MICROSECOND))
    return Steps(steps.amplitude, steps.phase, steps.duration, exact.length)


def _held(seq: SeqFile, row: int) -> tuple[Array, Array] | None:
    """Return edges and conjugated values of a pulse whose times are the middles of equal dwells, which hold a value."""
    time, magnitude = seq.rf.time_shape[row], seq.shapes[seq.rf.magnitude[row]]
    if time == NONE:
        return None
    at = seq.shapes[time].samples() * seq.rasters["RadiofrequencyRasterTime"]
    dwell = 2 * at[0]
    if len(at) < 2 or not np.allclose(at, (np.arange(len(at)) + 0.5) * dwell, rtol=0, atol=1e-3 * dwell):
        return None
    turns = 0.0
    if seq.rf.phase_shape[row] != NONE:
        turns = seq.shapes[seq.rf.phase_shape[row]].samples()
    return np.arange(len(at) + 1) * dwell, magnitude.samples() * np.exp(-2j * math.pi * turns)


def _joined(amplitude: Array, phase: Array, duration: Array) -> Steps:
    """Return steps without silence at the end, and equal neighbours as one."""
    silent = amplitude <= _SILENT * amplitude.max(initial=0)
    amplitude, phase = np.where(silent, 0.0, amplitude), np.where(silent, 0.0, phase)
    last = int(np.nonzero(~silent)[0].max(initial=-1)) + 1
    amplitude, phase, duration = amplitude[:last], phase[:last], duration[:last]
    if not last:
        return Steps(amplitude, phase, duration, 0.0)
    begins = np.append(True, (np.diff(amplitude) != 0) | (np.diff(phase) != 0))
    first = np.nonzero(begins)[0]
    joined = np.add.reduceat(duration, first)
    return Steps(amplitude[first], phase[first], joined, float(joined.sum()))
