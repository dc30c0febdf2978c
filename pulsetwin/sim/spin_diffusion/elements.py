"""What flows into one layer whose surfaces are held at given values: exact, in Laplace's domain, with derivatives.

Within a layer the transform of P obeys ``div grad u = k^2 u`` but for a constant. With u given at its edges a < b, the
inward flows ``(-a^p u'(a), b^p u'(b))``, p the power with which surfaces grow, are ``M (u(a), u(b))``. M follows from
hyperbolic functions (slab, sphere) or modified Bessel functions (cylinder). Riccati's equation gives its derivatives
by both edges in terms of M itself, and its scaling the one by k.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ive, kve

Flows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""M as the flow in through the inner edge by its own value, through one by the value of the other, through the outer
edge by its own."""


def flows(power: int, k: np.ndarray, a: np.ndarray, b: np.ndarray) -> Flows:
    """Return M of layers from a to b, where a is 0 for all or for none.

    Parameters
    ----------
    power
        0 for slabs, 1 for cylinders, 2 for spheres.
    k
        [1/m], complex, its real part not negative.
    a, b
        Edges [m], of shapes that broadcast with `k`.
    """
    if not np.any(a):
        none = np.zeros_like(k)
        return none, none, _core(power, k, b)
    if power == 1:
        return _tube(k, a, b)
    length = b - a
    lost = np.expm1(-k * length)
    both = -lost * (2 + lost)
    coth, csch = k * (2 - both) / both, 2 * k * (1 + lost) / both
    if power == 0:
        return coth, -csch, coth
    return a * (a * coth + 1), -a * b * csch, b * (b * coth - 1)


def slopes_by_edges(power: int, k: np.ndarray, a: np.ndarray, b: np.ndarray, m: Flows) -> tuple[Flows, Flows]:
    """Return the derivatives of M, as `flows` returns it, by a and by b; the former is 0 where a is."""
    m11, m12, m22 = m
    surface_b = b**power
    by_b = (-(m12**2) / surface_b, -m12 * m22 / surface_b, k**2 * surface_b - m22**2 / surface_b)
    if not np.any(a):
        return (m12, m12, m12), by_b
    surface_a = a**power
    return (m11**2 / surface_a - k**2 * surface_a, m11 * m12 / surface_a, m12**2 / surface_a), by_b


def slopes_by_k(power: int, k: np.ndarray, a: np.ndarray, b: np.ndarray, m: Flows) -> Flows:
    """Return the derivative of M, as `flows` returns it, by k: from those by the edges, as M scales with both."""
    by_a, by_b = slopes_by_edges(power, k, a, b, m)
    m11, m12, m22 = (
        (a * one + b * other + (1 - power) * own) / k for one, other, own in zip(by_a, by_b, m, strict=True)
    )
    return m11, m12, m22


def _core(power: int, k: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the flow into a layer that reaches to the centre."""
    x = k * b
    if power == 1:
        return x * ive(1, x) / ive(0, x)
    if power == 0:
        return k * np.tanh(x)
    small = np.abs(x) < _SMALL
    x2 = np.where(small, x, 0) ** 2
    series = x2 / 3 * (1 - x2 / 15 * (1 - 2 * x2 / 21 * (1 - x2 / 10 * (1 - 10 * x2 / 99))))
    lost = np.expm1(-2 * np.where(small, 1, x))
    return b * np.where(small, series, -x * (2 + lost) / lost - 1)


def _tube(k: np.ndarray, a: np.ndarray, b: np.ndarray) -> Flows:
    """Return M of a cylindrical layer; Bessel functions are scaled, so that none overflows."""
    x, y = k * a, k * b
    ix0, ix1, iy0, iy1 = ive(0, x), ive(1, x), ive(0, y), ive(1, y)
    kx0, kx1, ky0, ky1 = kve(0, x), kve(1, x), kve(0, y), kve(1, y)
    # the products I(y) K(x) are left with a factor of exp(Re y - x), of which those of I(x) K(y) are this part
    part = np.exp(x + x.real - y - y.real)
    both = iy0 * kx0 - part * ix0 * ky0
    m11 = x * (part * ix1 * ky0 + kx1 * iy0) / both
    m22 = y * (iy1 * kx0 + part * ky1 * ix0) / both
    return m11, -np.exp(x - y.real) / both, m22


_SMALL = 0.1  # |k b| below which the flow into a core is summed as a series
