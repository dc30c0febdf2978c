"""The radius of a particle, and what else is free, from its build-up curves: least squares from several starts.

Both curves are fitted as they were measured, by Gauss-Newton steps (`recon.levenberg`) in the logarithms of all
parameters with exact derivatives. Each curve counts by its noise, which is known or told by what the fit leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.levenberg import levenberg
from pulsetwin.recon.spin_diffusion.curves import Curves, check_rise
from pulsetwin.recon.spin_diffusion.identifiability import Precision, precision
from pulsetwin.recon.spin_diffusion.model import Model, model
from pulsetwin.recon.spin_diffusion.particle import Material, Particle
from pulsetwin.recon.spin_diffusion.stretched import fit_stretched

STARTS = 5
_WIDE = np.log(1e3)  # how far parameters other than the radius may be from what was given
_REACH = 1.5  # of a step in the logarithm of a parameter
_AT_END = 1e-4  # relative difference of a radius from an end of its range, that is taken for none
_SAME = 0.01  # relative difference of radii that are one result


@dataclass(frozen=True, slots=True)
class RadiusFit:
    """A particle that fits its curves.

    Parameters
    ----------
    particle
        With the fitted values.
    radius
        [m].
    values
        Name of each free parameter to its value, in SI units.
    precision
        How well each is known.
    predicted
        The curves of `particle`, ``[curve, time]``: solid and liquid, or the solid alone.
    measured
        What they were fitted to, likewise.
    noise
        Standard deviation of each curve, given or found, ``[curve]``.
    agreeing
        How many of `STARTS` starts led to this radius within 1 %.
    warnings
        What a user should know.
    """

    particle: Particle
    radius: float
    values: dict[str, float]
    precision: Precision
    predicted: np.ndarray
    measured: np.ndarray
    noise: np.ndarray
    agreeing: int
    warnings: tuple[str, ...]


def fit_radius(curves: Curves, particle: Particle) -> RadiusFit:
    """Fit the free parameters of a particle to its curves.

    Parameters
    ----------
    curves
        Of the solid and of the liquid.
    particle
        What is known, where to begin, and what is free.

    Raises
    ------
    ProtocolError
        If a curve never rises, or there are fewer times than the fit needs.
    """
    uniform = particle.boundary == "uniform"
    measured = np.stack([curves.solid] if uniform else [curves.solid, curves.liquid])
    if measured.size < len(particle.free) + 2:
        raise ProtocolError(f"{len(curves.times)} times for {len(particle.free)} unknowns: measure more")
    check_rise(curves, np.sign(particle.liquid.polarisation) or 1.0)
    surface = smooth_liquid(curves) if particle.prefit else curves
    centre, bounds, starts = _starts(particle)
    known = None if particle.noise is None else np.array(particle.noise[: len(measured)])
    noise = np.abs(measured).max(1) if known is None else known
    free = model(particle, centre, particle.free, curves.times, surface)
    fits = _least_squares(free, measured, noise, starts, bounds)
    best = int(np.argmin(fits[1]))
    agreeing = int((np.abs(fits[0][0] - fits[0][0, best]) < _SAME).sum())
    logs = fits[0][:, best : best + 1]
    if known is None:
        noise = _left(free(logs)[0].reshape(measured.shape), measured, len(particle.free))
        logs = _least_squares(free, measured, noise, logs, bounds)[0]
    predicted = free(logs)[0].reshape(measured.shape)
    found, radius = _moved(particle, centre, logs[:, 0])
    at_end = _end_of_range(particle, radius)
    bounds = bounds[0] - logs[:, 0], bounds[1] - logs[:, 0]
    told = precision(found, radius, measured, noise, curves.times, surface, bounds=bounds, estimated=known is None)
    warnings = [*at_end, *told.warnings, *_misfit(measured - predicted, noise, known is not None, len(logs))]
    if agreeing < 2:
        warnings.insert(0, "only one start led to this radius: narrow radius_range, or free fewer parameters")
    values = {name: value_of(found, radius, name) for name in particle.free}
    return RadiusFit(found, radius, values, told, predicted, measured, noise, agreeing, tuple(warnings))


def smooth_liquid(curves: Curves) -> Curves:
    """Return curves whose liquid is the stretched exponential that fits it best, at times that are dense enough."""
    shape = fit_stretched(curves.times, curves.liquid)
    dense = np.union1d(curves.times, np.geomspace(curves.times[0] / 100, curves.times[-1], 100))
    return Curves(dense, np.zeros_like(dense), shape(dense))


def value_of(particle: Particle, radius: float, name: str) -> float:
    """Return a parameter of a particle by its name; common ones are told by the solid's."""
    if name == "radius":
        return radius
    if name == "concentration_ratio":
        return particle.solid.concentration / particle.liquid.concentration
    if name == "outer_ratio":
        return float(particle.outer_ratio or 0)
    phase, one = name.split(".") if "." in name else ("solid", name)
    return float(getattr(getattr(particle, phase), one))


def _starts(particle: Particle) -> tuple[float, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the radius in the middle, and of logarithms from it bounds ``[parameter]`` and starts ``[.., start]``."""
    low, high = particle.searched
    centre, half = np.sqrt(low * high), 0.5 * np.log(high / low)
    wide = np.full(len(particle.free), _WIDE)
    radius = particle.free.index("radius")
    wide[radius] = half
    starts = np.zeros((len(particle.free), STARTS))
    starts[radius] = half * np.linspace(-0.8, 0.8, STARTS)
    lower = -wide
    if "outer_ratio" in particle.free:
        lower[particle.free.index("outer_ratio")] = -0.999 * np.log(float(particle.outer_ratio or 0))
    return float(centre), (lower, wide), starts


def _least_squares(
    free: Model, measured: np.ndarray, noise: np.ndarray, starts: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms ``[parameter, start]`` and sums of squares ``[start]``."""
    weights = np.repeat(1 / noise, measured.shape[1])

    def weighted(logs: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted, slopes = free(logs)
        return predicted * weights, slopes * weights

    data = np.tile(measured.ravel() * weights, (starts.shape[1], 1))
    found = levenberg(weighted, data, starts, *bounds, reach=np.full(len(starts), _REACH))
    return found.values, found.misfit


def _left(predicted: np.ndarray, measured: np.ndarray, unknowns: int) -> np.ndarray:
    """Return the standard deviation of each curve by what is left, not below rounding."""
    curves, times = measured.shape
    variance = np.square(measured - predicted).sum(1) / max(times - unknowns / curves, 1)
    return np.maximum(np.sqrt(variance), 1e-9 * np.abs(measured).max(1))


def _moved(particle: Particle, radius: float, logs: np.ndarray) -> tuple[Particle, float]:
    """Return a particle and its radius whose free parameters are changed by factors ``exp(logs)``."""
    total = sum(log * np.array(particle.move(name)) for name, log in zip(particle.free, logs, strict=True))
    factors = np.exp(np.array(total))
    phases = {}
    for column, phase in enumerate(("solid", "liquid")):
        was: Material = getattr(particle, phase)
        concentration, diffusion, t1, polarisation = factors[1:, column]
        phases[phase] = Material(
            was.diffusion * diffusion, was.t1 * t1, was.polarisation * polarisation, was.concentration * concentration
        )
    ratio = None if particle.outer_ratio is None else particle.outer_ratio * (factors[0, 1] / factors[0, 0])
    return replace(particle, **phases, outer_ratio=ratio), radius * factors[0, 0]


def _end_of_range(particle: Particle, radius: float) -> list[str]:
    """Return a warning where the radius is that at which the search ends."""
    for end, side in zip(particle.searched, ("smaller", "larger"), strict=True):
        if abs(np.log(radius / end)) < _AT_END:
            return [
                f"the radius is at the end of radius_range, {end:.4g} m: the curves suit a {side} one better or tell "
                "none; widen radius_range, or check what was taken as known"
            ]
    return []


def _misfit(left: np.ndarray, noise: np.ndarray, known: bool, unknowns: int) -> list[str]:
    """Return warnings where the model does not explain the curves."""
    warnings, scaled = [], left / noise[:, None]
    freedom = scaled.size - unknowns
    if known and chi2.sf(np.square(scaled).sum(), freedom) < 1e-4:
        warnings.append(
            f"chi^2 per degree of freedom is {np.square(scaled).sum() / freedom:.3g}: the model does not explain the "
            "curves to their noise; check what was taken as known"
        )
    for name, one in zip(("solid", "liquid"), scaled, strict=False):
        follow = float((one[1:] * one[:-1]).sum() / max(np.square(one).sum(), 1e-300))
        if follow > 3 / np.sqrt(len(one)):
            warnings.append(
                f"what is left of the curve of the {name} is no noise (correlation {follow:.2f} from time to time): "
                "the model does not fit it; intervals are too narrow"
            )
    return warnings
