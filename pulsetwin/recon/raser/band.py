"""The band in which a RASER emits: low-pass filter, fewer samples, and the noise that lies outside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve, firwin

from pulsetwin.errors import ProtocolError, ShapeError

_TAPS, _BETA = 257, 8.0  # of the Kaiser window: ripples of 1e-4 would be seen at the signal-to-noise ratios of interest
_HEARD = 6.0  # standard deviations of the real part, which noise alone reaches once in 65 million samples
_STEP = 8e-3  # longest from sample to sample that the equations of motion are integrated with [s]


class Band(NamedTuple):
    """Signals in their band.

    Attributes
    ----------
    data
        Measured, ``[angle, time]``, its noise nearly white: the filter's edge takes some 3 % of its variance, and
        neighbours have a correlation of 0.03, so that chi squared per sample is 0.97 where all is right.
    drive
        Filtered more narrowly, at the times and in the middle between them: ``[angle, 2 time - 1]``.
    step
        From time to time [s].
    noise
        Standard deviation of real and imaginary part of the data.
    """

    data: np.ndarray
    drive: np.ndarray
    step: float
    noise: float


def in_band(signal: np.ndarray, dwell: float, width: float, noise: float | None = None) -> Band:
    """Return signals filtered to a band around 0 Hz, with as few samples as it needs.

    Parameters
    ----------
    signal
        ``[angle, sample]``, complex.
    dwell
        From sample to sample [s].
    width
        Highest frequency of the drive [Hz].
    noise
        Standard deviation of real and imaginary part of a sample; that outside of the band if None.

    Raises
    ------
    ShapeError
        If the signals are not a table of at least two filters' lengths.
    ProtocolError
        If a sample is not a number, the dwell is too long for the band, or nothing outside of it tells the noise.
    """
    if signal.ndim != 2 or signal.shape[1] < 2 * _TAPS:
        raise ShapeError(f"signals are {signal.shape}: give [angle, sample], at least {2 * _TAPS} samples of each")
    if not np.isfinite(signal).all():
        raise ProtocolError("some samples are not numbers: leave out the projections they are in")
    longest = min(_STEP, 0.4 / width)
    every = 2 * int(longest / dwell / 2 + 1e-9)
    if every < 2:
        raise ProtocolError(f"dwell = {1e3 * dwell:g} ms is too long for {width:g} Hz: at most {500 * longest:.3g} ms")
    drive, left = _lowpass(signal, dwell, width)
    if noise is None:
        outside = np.sqrt(np.mean(np.abs(signal - drive) ** 2) / 2)
        noise = float(outside / np.sqrt(left))
    data, _ = _lowpass(signal, dwell, 0.5 / (every * dwell))
    if not noise > 0:
        raise ProtocolError("there is no noise outside of the band: give its standard deviation")
    times = (signal.shape[1] - 1) // every + 1
    thinned = np.ascontiguousarray(drive[:, :: every // 2][:, : 2 * times - 1])
    return Band(np.ascontiguousarray(data[:, ::every]), thinned, every * dwell, noise / np.sqrt(every))


def unheard(band: Band) -> np.ndarray:
    """Return which projections are no more than noise, bool ``[angle]``."""
    return np.abs(band.data).max(1) < _HEARD * band.noise


def _lowpass(signal: np.ndarray, dwell: float, cutoff: float) -> tuple[np.ndarray, float]:
    """Return the filtered signals, ends continued as odd, and which share of white noise's power is taken away."""
    taps = firwin(_TAPS, cutoff, fs=1 / dwell, window=("kaiser", _BETA))
    half = _TAPS // 2
    first, last = (2 * signal[:, [end]] for end in (0, -1))
    longer = np.concatenate([first - signal[:, half:0:-1], signal, last - signal[:, -2 : -half - 2 : -1]], axis=1)
    taken = -taps
    taken[half] += 1
    return fftconvolve(longer, taps[None], mode="valid", axes=1), float((taken**2).sum())
