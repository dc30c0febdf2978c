"""Centre, length, flip angle and use of RF pulses, computed on the corners of their shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.sequences.shapes import Shape

GAMMA = 42.576e6
_PEAK = 0.99999
_LONGEST_RUN = 4096
_FIELDS = (0.55, 1.5, 2.89, 2.8936, 3.0, 4.7, 5.0, 7.0, 9.4, 10.5, 11.7)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A complex pulse envelope as weighted samples, and where its centre and end lie.

    Parameters
    ----------
    index
        Sample numbers, float64 ``[part]``; a part stands for a run of equal samples, at the run's middle.
    signal
        Envelope at the parts, relative to the pulse's amplitude, complex128 ``[part]``.
    weight
        Time for which each part plays [s], float64 ``[part]``.
    center, duration
        Effective centre (peak) and length from the first raster interval on [s].
    """

    index: np.ndarray
    signal: np.ndarray
    weight: np.ndarray
    center: float
    duration: float


def envelope(magnitude: Shape, phase: Shape | None, time: Shape | None, raster: float) -> Envelope:
    """Return the envelope of a pulse without expanding constant runs.

    Runs that are straight but not constant are taken in at most 4096 parts, each by its middle.

    Parameters
    ----------
    magnitude
        Relative magnitude.
    phase
        Phase in turns, or None.
    time
        Times of the samples in units of `raster`, or None for samples in the middle of raster intervals.
    raster
        RF raster time [s].
    """
    corners = [shape.index for shape in (magnitude, phase, time) if shape is not None]
    index, part = _parts(np.unique(np.concatenate(corners)), magnitude, phase)
    turns = 0.0 if phase is None else phase.at(index)
    signal = magnitude.at(index) * np.exp(2j * np.pi * turns)
    first, last = _peak(magnitude)
    if time is None:
        duration, center = magnitude.num_samples * raster, 0.5 * (first + last + 1) * raster
        return Envelope(index, signal, part * raster, center, duration)
    played = time.at(index) * raster
    weight = np.diff(played, append=played[-1:])
    duration = float(np.ceil(played[-1] / raster - 1e-6) * raster)
    center = float(time.at(np.array([first, last])).mean() * raster)
    return Envelope(index, signal, weight, center, duration)


def _parts(corners: np.ndarray, magnitude: Shape, phase: Shape | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the number of samples of each part: every corner, and the runs between them."""
    inner = np.diff(corners) - 1
    constant = np.diff(magnitude.at(corners)) == 0
    if phase is not None:
        constant &= np.diff(phase.at(corners)) == 0
    pieces = np.where(constant, np.minimum(inner, 1), np.minimum(inner, _LONGEST_RUN))
    owner = np.repeat(np.arange(len(inner)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    size = inner[owner] / pieces[owner]
    middle = corners[owner] + 0.5 + (number + 0.5) * size
    index = np.concatenate((corners, middle))
    order = np.argsort(index, kind="stable")
    return index[order], np.concatenate((np.ones(len(corners)), size))[order]


def _peak(magnitude: Shape) -> tuple[float, float]:
    """Return the first and last sample numbers at the peak (0.99999 of the largest magnitude, as pypulseq)."""
    value = np.abs(magnitude.value)
    threshold = value.max() * _PEAK
    above = np.nonzero(value >= threshold)[0]
    first, last = int(above[0]), int(above[-1])
    start, end = float(magnitude.index[first]), float(magnitude.index[last])
    if first > 0:
        start = np.ceil(_crossing(magnitude.index[first - 1 : first + 1], value[first - 1 : first + 1], threshold))
    if last < len(value) - 1:
        end = np.floor(_crossing(magnitude.index[last : last + 2], value[last : last + 2], threshold))
    return float(start), float(end)


def _crossing(index: np.ndarray, value: np.ndarray, threshold: float) -> float:
    return float(index[0] + (threshold - value[0]) / (value[1] - value[0]) * (index[1] - index[0]))


def flip_angle(pulse: Envelope, amplitude: float) -> float:
    """Return the flip angle on resonance [rad], ``2 pi |integral of gamma B1 dt|``, of a pulse of `amplitude` [Hz]."""
    return float(2 * np.pi * abs(amplitude) * abs(np.sum(pulse.signal * pulse.weight)))


def guess_use(flip: float, duration: float, freq: float, field_strength: float | None) -> str:
    """Return the use of a pulse in a file older than 1.5, which does not state it: ``e``, ``s`` or ``r``.

    Up to 90 degrees is an excitation; more, longer than 6 ms and at the fat frequency a saturation; else a refocusing
    (the rule of pypulseq's `Sequence.read`, for any usual field strength where the file names none).
    """
    if np.rad2deg(flip) < 90.01:
        return "e"
    fields = (field_strength,) if field_strength else _FIELDS
    if duration > 6e-3 and any(-3.5 <= 1e6 * freq / (GAMMA * field) <= -3.4 for field in fields):
        return "s"
    return "r"
