"""How well build-up curves tell each parameter: bounds by Cramer and Rao, profile likelihood, and what trades off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.levenberg import levenberg
from pulsetwin.recon.spin_diffusion.curves import Curves
from pulsetwin.recon.spin_diffusion.model import Model, model
from pulsetwin.recon.spin_diffusion.particle import Particle

_SIGMA = 0.8413447460685429  # of a normal distribution below one standard deviation
_PLACES = np.array([-6.0, -4, -3, -2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2, 3, 4, 6])  # of a profile, standard deviations
_FAR = np.log(10)  # how far from the best fit a profile looks; what is not told up to there is not told
_SINGULAR = 1e-14  # eigenvalue of the correlations of slopes that is rounding
_TRADE, _POOR = 0.95, 0.1  # correlation and relative deviation that are told


@dataclass(frozen=True, slots=True)
class Precision:
    """How well the free parameters are known.

    Parameters
    ----------
    bound
        Name to relative standard deviation, the least that the noise allows (Cramer and Rao).
    interval
        Name to the ends of the interval of one standard deviation by profile likelihood, as factors of the estimate;
        0 or infinite where the curves do not tell an end.
    correlation
        Of the free parameters' logarithms, ``[parameter, parameter]``.
    sensitivity
        Name of each fixed parameter to the relative change of the radius when that is 1 % larger, in per cent.
    alone
        Relative standard deviation of the radius were all else known.
    warnings
        What trades off, or is not told by the curves.
    """

    bound: dict[str, float]
    interval: dict[str, tuple[float, float]]
    correlation: np.ndarray
    sensitivity: dict[str, float]
    alone: float
    warnings: tuple[str, ...]


def precision(
    particle: Particle, radius: float, measured: np.ndarray, noise: np.ndarray, times: np.ndarray, surface: Curves,
    *, bounds: tuple[np.ndarray, np.ndarray], estimated: bool,
) -> Precision:  # fmt: skip
    """Return how well `measured` curves tell the free parameters of the particle that fits them.

    Parameters
    ----------
    particle, radius
        The best fit, its radius in m.
    measured
        ``[curve, time]``.
    noise
        Standard deviation of each curve, ``[curve]``.
    times
        [s].
    surface
        The liquid's curve, for the boundary ``uniform``.
    bounds
        Of the logarithms of the free parameters, relative to the best fit, ``[parameter]``.
    estimated
        Whether `noise` comes from the same curves, which widens intervals as Student's distribution says.
    """
    fixed = particle.known
    weights = np.repeat(1 / noise, measured.shape[1])
    everything = model(particle, radius, (*particle.free, *fixed), times, surface)
    slopes = everything(np.zeros((len(particle.free) + len(fixed), 1)))[1][:, 0] * weights
    own, others = slopes[: len(particle.free)], slopes[len(particle.free) :]
    covariance = _inverse(own @ own.T)
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    at = particle.free.index("radius")
    change = -(covariance @ own @ others.T)[at]
    freedom = measured.size - len(own)
    limit = float(student.ppf(_SIGMA, freedom)) if estimated else 1.0
    bound = dict(zip(particle.free, deviation.tolist(), strict=True))
    free = model(particle, radius, particle.free, times, surface)
    data = measured.ravel() * weights
    interval = {
        name: _profile(free, data, weights, number, covariance, limit, bounds) for number, name in enumerate(bound)
    }
    alone = float(1 / np.linalg.norm(own[at]))
    warnings = _warnings(particle.free, bound, interval, correlation, alone)
    sensitivity = dict(zip(fixed, change.tolist(), strict=True))
    return Precision(bound, interval, correlation, sensitivity, alone, tuple(warnings))


def least_deviation(particle: Particle, radius: float, times: np.ndarray, noise: Sequence[float]) -> dict[str, float]:
    """Return the relative standard deviations that noise allows (Cramer and Rao), to plan a measurement.

    Parameters
    ----------
    particle, radius
        What is expected, with the boundary ``diffusion``; the radius in m.
    times
        [s].
    noise
        Standard deviations of the curves of solid and liquid.

    Raises
    ------
    ShapeError
        If there is not one standard deviation for each of the two.
    ProtocolError
        If one is not above 0, or the boundary is ``uniform``.
    """
    if np.shape(noise) != (2,):
        raise ShapeError(f"noise = {noise}: give standard deviations of two curves, solid and liquid")
    if not all(0 < one < np.inf for one in noise):
        raise ProtocolError(f"noise = {tuple(map(float, noise))}: give standard deviations above 0")
    names = particle.free
    slopes = model(particle, radius, names, times)(np.zeros((len(names), 1)))[1][:, 0]
    slopes = slopes / np.repeat(noise, len(times))
    return dict(zip(names, np.sqrt(np.diag(_inverse(slopes @ slopes.T))).tolist(), strict=True))


def _inverse(information: np.ndarray) -> np.ndarray:
    """Return the inverse of Fisher's information; what the curves do not tell at all gets a huge variance."""
    scale = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    sizes, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    return (vectors / np.maximum(sizes, _SINGULAR)) @ vectors.T * np.outer(scale, scale)


def _profile(
    free: Model,
    data: np.ndarray,
    weights: np.ndarray,
    number: int,
    covariance: np.ndarray,
    limit: float,
    bounds: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """Return the factors of one parameter at which chi^2 is `limit`^2 above its least, all else fitted again."""
    deviation = np.sqrt(covariance[number, number])
    low, high = max(bounds[0][number], -_FAR), min(bounds[1][number], _FAR)
    places = np.unique(np.clip(np.append(_PLACES * min(deviation, _FAR / 2), 0.0), low, high))
    least, most = (np.delete(one, number) for one in bounds)
    others = np.delete(covariance[:, number], number)[:, None] / deviation**2 * places

    def held(logs: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted, slopes = free(np.insert(logs, number, places[rows], 0))
        return predicted * weights, np.delete(slopes, number, 0) * weights

    if len(others):
        found = levenberg(held, np.tile(data, (len(places), 1)), others, least, most)
        fitted = found.values.T
        misfit, stuck = found.misfit, ((fitted <= least) | (fitted >= most)).any(1)
    else:
        misfit, stuck = np.square(data - held(others, np.arange(len(places)))[0]).sum(1), np.zeros(len(places), bool)
    # where another parameter ends at its bound, it is that bound and not the curves that makes chi^2 rise
    rise = np.where(stuck, 0.0, np.sqrt(np.maximum(misfit - misfit[places == 0], 0)))
    upper, lower = places >= 0, places <= 0
    ends = []
    for side, sign in ((lower, -1), (upper, 1)):
        away, climbed = np.abs(places[side])[::sign], np.maximum.accumulate(rise[side][::sign])
        ends.append(np.exp(sign * np.interp(limit, climbed, away, right=np.inf)))
    return float(ends[0]), float(ends[1])


def _warnings(
    names: Sequence[str], bound: dict[str, float], interval: dict[str, tuple[float, float]], correlation: np.ndarray,
    alone: float,
) -> list[str]:  # fmt: skip
    """Say what trades off with the radius, and what the curves do not tell."""
    warnings, at = [], names.index("radius")
    for number, name in enumerate(names):
        if number != at and abs(correlation[at, number]) > _TRADE:
            warnings.append(
                f"radius and {name} trade off (correlation {correlation[at, number]:.4f}): the radius is known "
                f"{_told(bound['radius'])}, were all else known {_told(alone)}; measure {name} elsewhere"
            )
    for name, (low, high) in interval.items():
        ends = ["a lower"] * (low == 0) + ["an upper"] * (not np.isfinite(high))
        if ends:
            warnings.append(f"{name}: the curves do not tell {' nor '.join(ends)} end of its interval")
        elif bound[name] > _POOR:
            warnings.append(f"{name} is known {_told(bound[name])} only")
    return warnings


def _told(deviation: float) -> str:
    """Return a relative standard deviation in words."""
    if deviation < 1:
        return f"to {100 * deviation:.2g} %"
    return "to its order of magnitude" if deviation < 3 else "not at all"
