"""Sums over the lanes of a block, which gradients of what all voxels share are made of."""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_kernel import LANES, ZERO

_SUM = {"contract", "nsz", "reassoc"}


@numba.njit(cache=True, fastmath=_SUM, error_model="numpy")
def dot(a, b):  # pragma: no cover
    """Return the sum over lanes of ``a b``."""
    total = ZERO
    for v in range(LANES):
        total += a[v] * b[v]
    return np.float64(total)


@numba.njit(cache=True, fastmath=_SUM, error_model="numpy")
def total(a):  # pragma: no cover
    """Return the sum over lanes."""
    sum_of_lanes = ZERO
    for v in range(LANES):
        sum_of_lanes += a[v]
    return np.float64(sum_of_lanes)


@numba.njit(cache=True, fastmath=_SUM, error_model="numpy")
def add_scaled(row, scale, a):  # pragma: no cover
    """Add ``scale a`` to a row of lanes."""
    for v in range(LANES):
        row[v] += scale * a[v]


@numba.njit(cache=True, fastmath=_SUM, error_model="numpy")
def add_places(k_bar, u, place):  # pragma: no cover
    """Add the gradients of k and tau, ``[4]``, for turns ``k r + tau b0`` of cotangent `u`."""
    x, y, z, t = 0.0, 0.0, 0.0, 0.0
    for v in range(LANES):
        w = np.float64(u[v])
        x += w * place[0, v]
        y += w * place[1, v]
        z += w * place[2, v]
        t += w * place[3, v]
    k_bar[0] += x
    k_bar[1] += y
    k_bar[2] += z
    k_bar[3] += t


@numba.njit(cache=True, fastmath=_SUM, error_model="numpy")
def add_positions(place_bar, u, k):  # pragma: no cover
    """Add the gradients of place and b0, ``[4, LANES]``, for turns ``k r + tau b0`` of cotangent `u`."""
    for j in range(4):
        if k[j] != 0:
            add_scaled(place_bar[j], k[j], u)
