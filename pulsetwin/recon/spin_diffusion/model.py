"""What a particle's build-up curves are, and their exact derivatives by the logarithm of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.spin_diffusion.curves import Curves
from pulsetwin.recon.spin_diffusion.particle import Particle
from pulsetwin.sim.spin_diffusion.laplace import PROPERTIES, build_up_slopes
from pulsetwin.sim.spin_diffusion.layers import Layers
from pulsetwin.sim.spin_diffusion.uniform_liquid import uniform_liquid

Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From logarithms of factors ``[parameter, fit]`` to curves ``[fit, sample]`` and ``[parameter, fit, sample]``."""
_STEP = 1e-30


def model(
    particle: Particle, radius: float, names: Sequence[str], times: np.ndarray, surface: Curves | None = None
) -> Model:
    """Return the model of a particle in which `names` are changed by factors from what they are at a radius.

    Parameters
    ----------
    particle
        Whose curves are wanted: of solid and liquid one after the other; of the solid alone where its boundary is
        ``uniform``.
    radius
        [m].
    names
        Of `Particle.parameters` and `Particle.known`.
    times
        [s], ``[time]``.
    surface
        The liquid's curve, for ``uniform``.

    Raises
    ------
    ProtocolError
        If the boundary is ``uniform`` and there is no such curve.
    """
    if particle.boundary == "uniform":
        if surface is None:
            raise ProtocolError("boundary = 'uniform' needs the liquid's curve as measured: take 'diffusion' to plan")
        return _uniform(particle, radius, names, times, surface)
    base = particle.layers(radius)
    moves = np.array([particle.move(name) for name in names])
    used = [name for number, name in enumerate(PROPERTIES) if moves[:, number].any()]
    rows = [PROPERTIES.index(name) for name in used]

    def curves(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factors = np.exp(np.einsum("pnl,pf->nfl", moves, logs))
        values = {name: getattr(base, name) * factors[number] for number, name in enumerate(PROPERTIES)}
        means, slopes = build_up_slopes(Layers(base.shape, **values), times, used)
        own = np.stack([values[name] for name in used], 1)
        by_logs = np.einsum("pnl,fnl,fnlot->pfot", moves[:, rows], own, slopes)
        fits = logs.shape[1]
        return means.reshape(fits, -1), by_logs.reshape(len(names), fits, -1)

    return curves


def surface_polarisation(measured: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Return times from 0 [s] and the liquid's polarisation there, which a uniform liquid has at the surface."""
    knots, place = np.unique(np.append(0.0, measured.times), return_inverse=True)
    return knots, np.bincount(place, np.append(0.0, measured.liquid)) / np.bincount(place)


def _uniform(particle: Particle, radius: float, names: Sequence[str], times: np.ndarray, surface: Curves) -> Model:
    held = surface_polarisation(surface)
    solid = particle.solid
    base = {
        "radius": radius, "diffusion": solid.diffusion, "t1": solid.t1, "polarisation": solid.polarisation,
    }  # fmt: skip

    def curves(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = logs + 1j * _STEP * np.eye(len(names))[..., None]  # [step, parameter, fit]
        values = {name: np.full(steps[:, 0].shape, value, complex) for name, value in base.items()}
        for number, name in enumerate(names):
            values[name.removeprefix("solid.")] *= np.exp(steps[:, number])
        found = uniform_liquid(particle.shape, values, held, times)
        return found[0].real, found.imag / _STEP

    return curves
