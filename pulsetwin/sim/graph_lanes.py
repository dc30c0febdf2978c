"""Arithmetic on the lanes of a block of voxels, in single precision, in loops that become vector instructions."""

from __future__ import annotations

import numba
import numpy as np

LANES = 128  # 64 would be unrolled rather than made into vector instructions
FAST = {"contract", "nsz"}  # no reassociation: it would undo the rounding of `rounded`
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
CYCLE = np.float32(2 * np.pi)
R1, R2, R2_PRIME, DIFFUSION, DENSITY = range(5)  # rows of `Blocks.tissue`
COS, TO_PLUS, SAME, FLIPPED, TO_Z = 0, 1, 3, 5, 7  # rows of the factors; all but COS are complex
FACTORS = 9
_ROUND32, _ROUND64 = np.float32(1.5 * 2**23), 1.5 * 2**52
_PER_LN2, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_LEAST = np.float32(-87)
_E2, _E3, _E4 = np.float32(0.49999991), np.float32(0.1666642), np.float32(0.04166836)
_E5, _E6, _BIAS = np.float32(0.00837485), np.float32(0.00138293), np.int32(127)
_S1, _S3, _S5 = np.float32(3.14159265), np.float32(-5.16771276), np.float32(2.55016332)
_S7, _S9 = np.float32(-0.5992522), np.float32(0.0820504)
_S11 = np.float32(-0.00702839)
_C2, _C4, _C6 = np.float32(-4.93480214), np.float32(4.05870916), np.float32(-1.335212)
_C8, _C10 = np.float32(0.23493731), np.float32(-0.02439632)
_SUM = {"contract", "nsz", "reassoc"}


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def exponential(x):  # pragma: no cover
    """Return exp(x) to a relative 2e-7, not less than exp(-87)."""
    x = max(x, _LEAST)
    n = (x * _PER_LN2 + _ROUND32) - _ROUND32
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ONE + r * (ONE + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6)))))
    return p * np.int32((np.int32(n) + _BIAS) << np.int32(23)).view(np.float32)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def rounded(turns):  # pragma: no cover
    """Return turns less whole turns, within -0.5 to 0.5."""
    return turns - ((turns + _ROUND32) - _ROUND32)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def half_turn(turns):  # pragma: no cover
    """Return sine and cosine of ``pi turns`` for turns within -0.5 to 0.5."""
    u = turns * turns
    sine = turns * (_S1 + u * (_S3 + u * (_S5 + u * (_S7 + u * (_S9 + u * _S11)))))
    return sine, ONE + u * (_C2 + u * (_C4 + u * (_C6 + u * (_C8 + u * _C10))))


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def turns_of(turn, place, k):  # pragma: no cover
    """Fill `turn` with ``k r + tau b0`` less whole turns."""
    for v in range(LANES):
        t = k[0] * place[0, v] + k[1] * place[1, v] + k[2] * place[2, v] + k[3] * place[3, v]
        turn[v] = np.float32(t - ((t + _ROUND64) - _ROUND64))


@numba.njit(cache=True)
def clear(rows, count):  # pragma: no cover
    """Set the first `count` rows to 0; as loops, which compile faster than slices."""
    for i in range(count):
        for v in range(rows.shape[1]):
            rows[i, v] = ZERO


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
