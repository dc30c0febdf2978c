"""Build-up of a solid in a liquid that is polarised alike everywhere: the assumption of the poster, and its bias.

The surface of the solid then has the measured mean polarisation z of the liquid. In truth the liquid beside the solid,
which gives to it, is polarised less. With the roots x of each shape and its modes f, which are 0 at the surface and add
up to 1 within, the polarisation is ``sum f(r) q(t)``, and its mean ``sum b q(t)``, of

    dq/dt = l (z - q) + (P0 - q) / T1,    l = D (x / R)^2,    sum b = 1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import j0, j1, jn_zeros

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.spin_diffusion.layers import SHAPES

_MODES = 200  # that are followed; the sum of the others is as polarised as the surface
_SMALL = 1e-4  # rate times interval below which integrals over it are summed as series


def uniform_liquid(
    shape: str,
    solid: dict[str, np.ndarray | float],
    surface: tuple[np.ndarray, np.ndarray],
    times: np.ndarray,
) -> np.ndarray:
    """Return the mean polarisation of the solid, ``[..., time]``.

    Parameters
    ----------
    shape
        As of `Layers`.
    solid
        ``radius`` [m], ``diffusion`` [m^2/s], ``t1`` [s] and ``polarisation`` P0, each ``[...]``. With complex steps
        (1e-30 i) they give exact derivatives.
    surface
        Times from 0 [s], increasing, and z there, linear between them, ``[knot]``.
    times
        [s], not negative, ``[time]``.
    """
    _, weights = _modes(shape)
    followed, z = _followed(shape, solid, surface, times)
    return np.stack([(q * weights).sum(-1) + (1 - weights.sum()) * now for q, now in zip(followed, z, strict=True)], -1)


def solid_profile(
    shape: str, solid: dict[str, float], surface: tuple[np.ndarray, np.ndarray], times: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Return the polarisation within the solid, ``[place, time]``.

    Parameters
    ----------
    shape, solid, surface, times
        As for `uniform_liquid`.
    places
        Distances from the centre, in radii, 0 to 1, ``[place]``.
    """
    modes = _shapes_of_modes(shape, places)
    followed, z = _followed(shape, solid, surface, times)
    return np.stack([now + modes @ (q - now) for q, now in zip(followed, z, strict=True)], -1)


def _followed(
    shape: str,
    solid: dict[str, np.ndarray | float],
    surface: tuple[np.ndarray, np.ndarray],
    times: np.ndarray,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return q of all modes ``[..., mode]`` at each time, and z then."""
    if surface[0][0] != 0 or (np.diff(surface[0]) <= 0).any() or times.max(initial=0) > surface[0][-1]:
        raise ProtocolError("the surface's polarisation must be known from 0 to the last time, at growing times")
    roots, _ = _modes(shape)
    radius, diffusion, t1, p0 = (
        np.asarray(solid[name])[..., None] for name in ("radius", "diffusion", "t1", "polarisation")
    )
    exchange = diffusion * (roots / radius) ** 2
    rate = exchange + 1 / t1
    knots, z = _with_times(*surface, times)
    state, states = np.zeros(np.broadcast_shapes(rate.shape, p0.shape), rate.dtype), []
    for number, width in enumerate(np.diff(knots, prepend=0)):
        start = z[max(number - 1, 0)]
        decay, one, ramp = _weights(rate * width)
        drive = exchange * start + p0 / t1
        state = decay * state + width * (one * drive + ramp * exchange * (z[number] - start))
        states.append(state)
    wanted = np.searchsorted(knots, times)
    return [states[number] for number in wanted], z[wanted]


def _shapes_of_modes(shape: str, places: np.ndarray) -> np.ndarray:
    """Return f at places, in radii, ``[place, mode]``."""
    roots, _ = _modes(shape)
    at = places[:, None] * roots
    turn = (-1.0) ** np.arange(len(roots))
    if shape == "sphere":
        return 2 * turn * np.sinc(at / np.pi)
    if shape == "cylinder":
        return 2 * j0(at) / (roots * j1(roots))
    return 2 * turn * np.cos(at) / roots


def _modes(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the roots x and their weights b."""
    roots = {
        "sphere": lambda: np.pi * np.arange(1, _MODES + 1),
        "cylinder": lambda: jn_zeros(0, _MODES),
        "slab": lambda: np.pi * (np.arange(_MODES) + 0.5),
    }[shape]()
    return roots, 2 * (SHAPES[shape] + 1) / roots**2


def _with_times(knots: np.ndarray, z: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots that `times` are among, and z there."""
    all_knots = np.union1d(knots, times)
    return all_knots, np.interp(all_knots, knots, z)


def _weights(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``exp(-x)``, and the mean of ``exp(-x u)`` over u from 0 to 1, weighted by 1 and by ``1 - u``."""
    small = np.abs(x) < _SMALL
    y = np.where(small, 1, x)
    one = np.where(small, 1 - x / 2 + x * x / 6, -np.expm1(-y) / y)
    ramp = np.where(small, 0.5 - x / 6 + x * x / 24, (1 + np.expm1(-y) / y) / y)
    return np.exp(-x), one, ramp
