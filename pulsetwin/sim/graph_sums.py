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
def weigh_place(k_bar, place_bar, u, place, k):  # pragma: no cover
    """Add the gradients of k and tau, ``[4]``, and of place and b0, ``[4, LANES]``, for turns of cotangent `u`."""
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
    for j in range(4):
        for v in range(LANES):
            place_bar[j, v] += np.float64(u[v]) * k[j]
