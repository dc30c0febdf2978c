"""What networks see of RASER projections: spectra on the grid of the modes, and what the signal tells by itself.

A measured signal drives each mode, so that what the modes start with follows from linear least squares (see
`driven`), angle by angle. They are solved as if the data had several signal-to-noise ratios: with a low one the profile
is smooth, with a high one it is sharp, and wrong where the model is. Networks take from each what is good.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.raser.band import in_band
from pulsetwin.recon.raser.driven import Parameters, responses
from pulsetwin.recon.raser.linearised import as_rows
from pulsetwin.sim.raser.projections import strip_frequencies

RATIOS = (15.0, 60.0, 250.0)
"""Signal-to-noise ratios of the least squares: mean peak of the signals over the noise of a sample."""
CHANNELS = len(RATIOS) + 3
_START = 1e-3  # amplitude at the start, relative to the inversion
_WIDTH = 40.0  # highest frequency of the drive [Hz]
_EVERY = 2  # times of the band from one that is fitted to the next
_LARGEST = 20.0  # of a profile, in units of its mean: a fit that fails is of any size


def features(
    signal: np.ndarray, dwell: float, modes: int, bandwidth: float, parameters: Parameters, over_threshold: float
) -> np.ndarray:
    """Return profiles by least squares, then real part, imaginary part and size of the spectra: float32.

    Parameters
    ----------
    signal
        Samples ``[angle, sample]``, complex, mixed down to the middle of the image.
    dwell
        From sample to sample [s].
    modes
        Of a projection.
    bandwidth
        Of a mode [Hz].
    parameters
        T1, T2* [s] and kappa, about.
    over_threshold
        Inversion of all spins in units of the threshold, about.

    Returns
    -------
    numpy.ndarray
        ``[angle, channel, mode]``, each profile and the size of each spectrum with a mean of 1.

    Raises
    ------
    ShapeError
        If the signals are not a table of enough samples.
    ProtocolError
        If a sample is not a number, a projection is empty, the dwell is too long, or the modes run away.
    """
    peaks = _peaks(signal)
    band = in_band(signal, dwell, _WIDTH, noise=float(peaks.mean()) / RATIOS[-1])
    omega = 2 * math.pi * strip_frequencies(modes, bandwidth)
    noises = [RATIOS[-1] / ratio * band.noise for ratio in RATIOS]
    found = np.empty((len(signal), CHANNELS, modes), np.float32)
    for angle, (data, drive) in enumerate(zip(band.data, band.drive, strict=True)):
        flow = responses(drive, omega, parameters, band.step)[::_EVERY, :2]
        columns = flow.reshape(2 * len(flow), -1)
        found[angle, : len(RATIOS)] = _profiles(columns, as_rows(data[::_EVERY]), noises, over_threshold / modes)
    if not np.isfinite(found[:, : len(RATIOS)]).all():
        raise ProtocolError(f"driven with kappa {parameters.kappa:.3g} the modes run away: check the gain and T2*")
    found[:, len(RATIOS) :] = _spectra(band.data, band.step, omega)
    return found


def _peaks(signal: np.ndarray) -> np.ndarray:
    """Return the largest sample of each angle, or raise."""
    if signal.ndim != 2:
        raise ShapeError(f"signals are {signal.shape}: give [angle, sample]")
    peaks = np.abs(signal).max(1)
    bad = ~(np.isfinite(peaks) & (peaks > 0))
    if bad.any():
        raise ProtocolError(f"projection {int(bad.argmax())} is empty or not a number: leave it and its angle out")
    return peaks


def _profiles(columns: np.ndarray, data: np.ndarray, noises: list[float], usual: float) -> np.ndarray:
    """Return the inversions that suit the data if their noise is as given, ``[noise, mode]``; NaN if none do.

    Parameters
    ----------
    columns
        What starts make of the data, ``[2 time, 3 mode]``.
    data
        ``[2 time]``.
    noises
        Standard deviations.
    usual
        Inversion of a mode beforehand, and its standard deviation.
    """
    modes = columns.shape[1] // 3
    with np.errstate(over="ignore", invalid="ignore"):  # told by `features`
        gram, right = columns.T @ columns, columns.T @ data
    before = np.repeat([usual, 0.0], [modes, 2 * modes])
    precision = np.repeat([usual, _START * usual], [modes, 2 * modes]) ** -2.0
    found = np.empty((len(noises), modes))
    for number, noise in enumerate(noises):
        curvature = gram / noise**2
        curvature[np.diag_indices_from(curvature)] += precision
        try:
            factor = cho_factor(curvature, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            return np.full_like(found, np.nan)
        profile = cho_solve(factor, right / noise**2 + before * precision, check_finite=False)[:modes]
        found[number] = profile / max(float(profile.mean()), 0.1 * usual)
    return np.clip(found, -_LARGEST, _LARGEST)


def spectra(signal: np.ndarray, dwell: float, modes: int, bandwidth: float) -> np.ndarray:
    """Return sizes of spectra at the modes, with a mean of 1: ``[angle, mode]``; arguments as of `features`."""
    _peaks(signal)
    size = np.abs(_at_modes(signal, dwell, 2 * math.pi * strip_frequencies(modes, bandwidth)))
    return size / size.mean(1, keepdims=True)


def _at_modes(signal: np.ndarray, dwell: float, omega: np.ndarray) -> np.ndarray:
    return signal @ np.exp(-1j * dwell * np.outer(np.arange(signal.shape[1]), omega))


def _spectra(data: np.ndarray, step: float, omega: np.ndarray) -> np.ndarray:
    """Return real part, imaginary part and size of spectra at the modes, time and phase from the peak of each burst."""
    peak = np.abs(data).argmax(1)
    phase = np.angle(data[np.arange(len(data)), peak])
    turned = _at_modes(data, step, omega) * np.exp(1j * (step * np.outer(peak, omega) - phase[:, None]))
    size = np.abs(turned)
    return np.stack([turned.real, turned.imag, size], 1) / size.mean(1)[:, None, None]
