"""The image, the parameters and the starts that explain all RASER projections of a scan: maximum a posteriori.

Unknown are an image that is not negative and has a small total variation, a scale of each projection, T1, T2* and the
gain, and the amplitudes that each mode of each projection starts with; if the sample is pumped as it is measured, also
where, how strongly, and how that decays. All of them are fitted together, by Newton's
method on the equations of motion (see `linearised`), first as if the data were much noisier than they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.raser.alone import alone
from pulsetwin.recon.raser.band import Band, in_band, unheard
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.fit import Fit, fit
from pulsetwin.recon.raser.guess import Guess, Scan
from pulsetwin.recon.raser.linearised import as_complex, as_rows
from pulsetwin.recon.raser.nodes import nodes, weights
from pulsetwin.recon.raser.pumping import WIDE, Pumping
from pulsetwin.recon.raser.total_variation import differences
from pulsetwin.sim.raser.projections import strip_frequencies

KNOWN = Parameters(0.2, 0.1, 0.3)
"""Relative standard deviations of what is known of the parameters beforehand, if no others are given."""
_KNOWN_DECAY = 0.3  # and of the decay of a pumping
_MODES = 1.25  # for each node at least: amplitudes of fewer modes would not be free at all nodes
_WIDEST = 0.3  # pixels, times T2*: from there on, points no longer stand for them, and images are wrong
_BECKER = Parameters(5.0, 0.7, 1.0)  # pyrazine at 1.5 T: doi:10.1126/sciadv.abp8483


@dataclass(frozen=True, slots=True)
class Inversion:
    """What the projections tell.

    Attributes
    ----------
    image, deviation
        Relative inversion and its standard deviation ``[y, x]``, 0 outside of the object's support; the largest is 1.
    sinogram
        Inversions at the first sample, in units of the threshold, ``[angle, mode]``.
    scales
        Of the projections: inversion of a pixel of 1, in units of the threshold, ``[angle]``.
    parameters, errors
        T1, T2* [s] and kappa, and their standard deviations.
    chi_squared
        Per sample; about 1 where the model explains the data.
    residual
        Of the data in standard deviations, complex ``[angle, time]``.
    settled
        Whether the fit stood still before its iterations were over.
    pump_decay, pumped
        If the sample is pumped: decay and its standard deviation [s], and what is pumped into the modes at first, in
        units of the threshold a second, ``[angle, mode]``.
    """

    image: np.ndarray
    deviation: np.ndarray
    sinogram: np.ndarray
    scales: np.ndarray
    parameters: Parameters
    errors: Parameters
    chi_squared: float
    residual: np.ndarray
    settled: bool
    pump_decay: tuple[float, float] | None = None
    pumped: np.ndarray | None = None


@alone()
def invert(
    signal: np.ndarray, dwell: float, angles: np.ndarray, *, matrix: tuple[int, int], pixel_bandwidth: float,
    over_threshold: float = 10.0, parameters: Parameters = _BECKER,
    known: tuple[float, float, float] = KNOWN, start: float = 1e-3, noise: float | None = None,
    width: float | None = None, per_pixel: int = 4, weight: float = 0.25, inside: np.ndarray | None = None,
    first: np.ndarray | None = None, pump_decay: float | None = None, progress: Progress = silent,
) -> Inversion:  # fmt: skip
    """Return the image and all else that explains RASER projections.

    Parameters
    ----------
    signal
        Samples ``[angle, sample]``, complex, mixed down to the middle of the image, in units of the threshold or of
        a gain that `parameters` tell.
    dwell
        From sample to sample [s].
    angles
        Of the gradient ``[angle]`` [rad], from x towards y; the frequency falls along it, as of all our signals.
    matrix
        Pixels along y and x.
    pixel_bandwidth
        Frequency from pixel to pixel along the gradient [Hz], at most 0.3 / T2*.
    over_threshold
        Inversion of all spins in units of the threshold, about.
    parameters, known
        T1, T2* [s] and kappa, about, and the relative standard deviations of what is known of them.
    start
        Amplitude that a mode starts with, relative to its inversion, root mean square.
    noise
        Standard deviation of real and imaginary part of a sample; told from what is outside of the band if None.
    width
        Highest frequency of the signal [Hz]; from `over_threshold` if None.
    per_pixel
        Modes in a pixel's width, at least: more if pixels are wide.
    weight
        Of the logarithm of the total variation, in units of chi squared / 2, for each pixel.
    inside
        Pixels that there may be something in, bool ``[y, x]``; all if None.
    first
        An image to begin with, such as that of networks, ``[y, x]``. If None it is flat, and the noise is first taken
        for much larger.
    pump_decay
        Decay of a pumping of few modes during the acquisition, about [s]; None if there is no such thing.
    progress
        Called with the iteration and how many there are at most.

    Raises
    ------
    ShapeError
        If shapes disagree.
    ProtocolError
        If a setting is out of range, a sample is not a number, a projection is empty, or the fit fails.

    References
    ----------
    Equations of motion: Lehmkuhl et al. 2022, doi:10.1126/sciadv.abp8483.
    """
    width = 25 + 1.5 * over_threshold if width is None else width
    _check_settings(
        known, dwell=dwell, over_threshold=over_threshold, T1=parameters[0], **{"T2*": parameters[1]},
        kappa=parameters[2], start=start, weight=weight, pixel_bandwidth=pixel_bandwidth, per_pixel=per_pixel,
        width=width, noise=1.0 if noise is None else noise, pump_decay=1.0 if pump_decay is None else pump_decay,
    )  # fmt: skip
    if pixel_bandwidth * parameters[1] > _WIDEST:
        widest = _WIDEST / parameters[1]
        raise ProtocolError(f"pixels are {pixel_bandwidth:.3g} Hz wide, more than {widest:.3g} Hz: measure finer ones")
    _check_data(signal, angles)
    inside = _pixels(matrix, inside)
    band = in_band(signal, dwell, width, noise)
    pumps = ([], []) if pump_decay is None else ([pump_decay], [_KNOWN_DECAY])
    scan = _scan(
        band, inside, angles, pixel_bandwidth, per_pixel, np.array([*parameters, *pumps[0]]),
        np.array([*known, *pumps[1]]), start, weight,
    )  # fmt: skip
    guess = _first_guess(scan, band, over_threshold, first, pumped=pump_decay is not None)
    ratio = float(np.abs(band.drive).max(1).mean()) / (band.noise * math.sqrt(band.step / dwell))
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what is no number is told below
            return _told(scan, fit(scan, guess, ratio, progress, rough=first is None), inside)
    except np.linalg.LinAlgError as error:
        raise ProtocolError(f"the fit failed ({error}): {_remedy(band)}") from error


def _remedy(band: Band) -> str:
    """Return what to do about a fit that failed."""
    noise_only = unheard(band)
    if noise_only.any() and not noise_only.all():
        return f"projection {int(noise_only.argmax())} is no more than noise: leave it and its angle out"
    return "check the gain and over_threshold, and that the scan is more than noise"


def _scan(
    band: Band, inside: np.ndarray, angles: np.ndarray, pixel_bandwidth: float, per_pixel: int, prior: np.ndarray,
    known: np.ndarray, start: float, weight: float,
) -> Scan:  # fmt: skip
    """Return what stays while the fit goes on; `prior` are the parameters as they are thought to be."""
    seconds = band.step * (band.data.shape[1] - 1)
    return Scan(
        data=[as_rows(one) for one in band.data],
        noise=band.noise,
        step=band.step,
        inside=inside,
        gradient=csr_array(differences(inside.shape)[:, inside.ravel()]),
        prior=np.log(prior),
        known=known,
        start=start,
        weight=weight,
        **_places(inside, angles, pixel_bandwidth, per_pixel, seconds, float(prior[1])),
    )


def _first_guess(scan: Scan, band: Band, over_threshold: float, first: np.ndarray | None, *, pumped: bool) -> Guess:
    """Return what the fit begins with: an image `first` or a flat one, and the measured signals, which drive."""
    count, modes = len(scan.data), scan.of_modes.shape[1]
    image = np.ones(int(scan.inside.sum())) if first is None else _cleaned(first, scan.inside)
    scale = np.full(count, over_threshold / image.sum())
    nothing = [np.zeros((2, len(scan.omega)))] * count
    anything = [Pumping(np.zeros(modes), np.full(modes, WIDE * over_threshold))] * count
    return Guess(image, scale, nothing, scan.prior, list(band.drive), anything if pumped else None)


def _check_settings(known: tuple[float, float, float], **settings: float) -> None:
    if len(known) != 3:
        raise ShapeError(f"known has {len(known)} numbers: give three, of T1, T2* and kappa")
    for name, value in [*settings.items(), *(("known", value) for value in known)]:
        if not 0 < value < math.inf:
            raise ProtocolError(f"{name} = {value:g}: give a number above 0")


def _check_data(signal: np.ndarray, angles: np.ndarray) -> None:
    if signal.ndim != 2 or angles.ndim != 1 or len(signal) != len(angles) or not len(angles):
        raise ShapeError(f"signals are {signal.shape}, angles {angles.shape}: give [angle, sample] and one angle each")
    if not np.abs(angles).max() <= 2 * math.pi + 1e-6:  # which a NaN is not, either
        raise ProtocolError(f"angles reach {np.abs(angles).max():g}: give them in rad, at most 2 pi")
    powers = (np.abs(signal) ** 2).sum(1)
    bad = ~(np.isfinite(powers) & (powers > 0))
    if bad.any():
        raise ProtocolError(f"projection {int(bad.argmax())} is empty or not a number: leave it and its angle out")


def _pixels(matrix: tuple[int, int], inside: np.ndarray | None) -> np.ndarray:
    """Return the pixels that there may be something in, bool ``[y, x]``."""
    if len(matrix) != 2 or not all(isinstance(count, int | np.integer) and count > 0 for count in matrix):
        raise ShapeError(f"matrix is {matrix}: give how many pixels along y and x, whole numbers above 0")
    if inside is None:
        return np.ones(matrix, bool)
    if inside.shape != tuple(matrix) or inside.dtype != bool or not inside.any():
        raise ShapeError(f"inside is {inside.dtype} {inside.shape}: give bool {tuple(matrix)}, true somewhere")
    return inside


def strips_over(inside: np.ndarray, per_pixel: int = 1) -> int:
    """Return how many strips, `per_pixel` in a pixel's width, cover all pixels of ``[y, x]`` at any angle."""
    y, x = (place - (count - 1) / 2 for place, count in zip(np.nonzero(inside), inside.shape, strict=True))
    return math.ceil(2 * per_pixel * (float(np.hypot(y, x).max()) + math.sqrt(0.5)))


def _places(
    inside: np.ndarray, angles: np.ndarray, pixel_bandwidth: float, per_pixel: int, seconds: float, t2: float
) -> dict[str, Any]:
    """Return the nodes and what pixels and modes are to them, by the names of `Scan`; pixels are taken as points.

    A point's phases are those of its pixel until the pixels come back into phase, which is longer than T2*.
    """
    modes = strips_over(inside, per_pixel)
    of_modes = 2 * math.pi * strip_frequencies(modes, pixel_bandwidth / per_pixel)
    omega = nodes(float(of_modes.max()) / (2 * math.pi), seconds, t2)
    if modes < _MODES * len(omega):
        return _places(inside, angles, pixel_bandwidth, per_pixel + 1, seconds, t2)
    strips = strip_areas(inside.shape, angles, modes, per_pixel=per_pixel, inside=inside)
    y, x = (place - (count - 1) / 2 for place, count in zip(np.nonzero(inside), inside.shape, strict=True))
    of_pixels = -2 * math.pi * pixel_bandwidth * (np.outer(np.cos(angles), x) + np.outer(np.sin(angles), y))
    return {
        "omega": omega, "places": [weights(omega, one, seconds, t2) for one in of_pixels],
        "strips": [strips[first : first + modes] for first in range(0, strips.shape[0], modes)],
        "of_modes": weights(omega, of_modes, seconds, t2),
    }  # fmt: skip


def _cleaned(first: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the pixels of an image to begin with, above 0, the largest 1."""
    if first.shape != inside.shape or not np.isfinite(first).all() or not first[inside].max() > 0:
        raise ShapeError(f"the image to begin with is {first.shape}: give numbers, some above 0, of {inside.shape}")
    return np.maximum(first[inside] / first[inside].max(), 1e-3)


def _told(scan: Scan, found: Fit, inside: np.ndarray) -> Inversion:
    """Return the fit with its errors, those of the quadratic about it."""
    guess, normal, x, step = found.guess, found.normal, found.minimum.image, found.step
    chi_squared = normal.constant + x @ normal.image @ x - 2 * normal.right @ x + step @ normal.shared @ step
    chi_squared += 2 * (x @ normal.mixed - normal.shared_right) @ step
    held, mixed = normal.shared + np.diag(scan.known**-2.0), normal.mixed[found.there]
    seen = np.linalg.solve(held, mixed.T)  # changes of the parameters with the image
    covariance = np.linalg.inv(found.minimum.curvature - mixed @ seen)
    logs = np.linalg.inv(held) + seen @ np.linalg.solve(found.freer, seen.T)
    errors = np.sqrt(np.diag(logs)) * np.exp(guess.logs)
    image, deviation = (np.zeros(inside.shape) for _ in range(2))
    image[inside] = guess.image
    deviation[tuple(one[found.there] for one in np.nonzero(inside))] = np.sqrt(np.diag(covariance)) / x.max()
    return Inversion(
        image, deviation, np.stack([s * (a @ guess.image) for s, a in zip(guess.scales, scan.strips, strict=True)]),
        guess.scales, guess.parameters, Parameters(*errors[:3]),
        float(chi_squared) / sum(map(len, scan.data)), np.stack([as_complex(one) for one in found.residuals]),
        found.settled, None if guess.decay is None else (guess.decay, float(errors[3])),
        None if guess.pumping is None else np.stack([one.sources for one in guess.pumping]),
    )  # fmt: skip
