"""Small dense matrices of many entries at once: entry by entry in the lanes of vector registers.

A matrix of `m` rows and columns is a flat array ``[m * m * LANES]`` whose last index counts entries. All are affine
maps: the last row is 0 but for its last element. With its derivatives with respect to some parameters it is a dual
matrix ``[1 + derivative, m * m * LANES]``, of which the first is the value.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.bloch_mcconnell.blocks import LANES, block

JIT = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
INNER = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of functions that only compiled ones call: without a wrapper they compile in less time."""
_TERMS = np.array([1 / math.factorial(k) for k in range(17)])
_LARGEST = np.array([0.0, 0.0059, 0.037, 0.25, 0.7])
"""Norms up to which 4, 8, 12 and 16 terms of the exponential series have an error of 1e-17 of the norm."""
_one, _two, _row_pair, _four = block(1, 1), block(1, 2), block(2, 1), block(2, 2)


@numba.njit(**JIT)
def multiply(out, left, right, m):
    """Set the dual matrix `out` to ``left @ right``."""
    last = (m - 1) * m * LANES
    for term in range(2 * len(out) - 1):  # in a loop, so that the product is compiled once
        p, add = (term + 1) // 2, term > 0 and term % 2 == 0
        a, b = (left[0], right[p]) if add else (left[p], right[0])
        _multiply(out[p], a, b, m, add)
    out[:, last:] = 0.0
    out[0, -LANES:] = left[0, -LANES:] * right[0, -LANES:]


@numba.njit(**INNER)
def _multiply(out, left, right, m, add):
    """Set all rows of `out` but the last to those of ``left @ right``, or add these."""
    w = m * LANES
    for i in range(0, m - 1, 2):
        for j in range(0, m, 2):
            to, row, column = i * w + j * LANES, i * w, j * LANES
            if i < m - 2 and j < m - 1:
                _four(out, to, w, left, row, w, right, column, w, m, add)
            elif i < m - 2:
                _row_pair(out, to, w, left, row, w, right, column, w, m, add)
            elif j < m - 1:
                _two(out, to, w, left, row, w, right, column, w, m, add)
            else:
                _one(out, to, w, left, row, w, right, column, w, m, add)


@numba.njit(**JIT)
def apply(out, left, vector, m):
    """Set the dual vector `out`, ``[1 + derivative, m * LANES]``, to ``left @ vector``."""
    w = m * LANES
    for term in range(2 * len(out) - 1):
        p, add = (term + 1) // 2, term > 0 and term % 2 == 0
        a, b = (left[0], vector[p]) if add else (left[p], vector[0])
        for i in range(0, m, 2):
            if i < m - 1:
                _row_pair(out[p], i * LANES, LANES, a, i * w, w, b, 0, LANES, m, add)
            else:
                _one(out[p], i * LANES, LANES, a, i * w, w, b, 0, LANES, m, add)


@numba.njit(**INNER)
def turn(state, angle, pools, columns):
    """Turn x and y of all pools by ``exp(i angle)``, in place, in a dual map of `m` columns or a dual vector of 1."""
    c, s, width = math.cos(angle), math.sin(angle), pools * columns * LANES
    for p in range(len(state)):
        for at in range(width):
            x, y = state[p, at], state[p, width + at]
            state[p, at], state[p, width + at] = c * x - s * y, s * x + c * y


@numba.njit(**JIT)
def exponential(out, generator, time, work, m):
    """Set `out` to ``exp(time generator)``: Taylor series, scaled and squared as much as the largest lane needs.

    Parameters
    ----------
    out, generator
        Dual matrices; `generator` is overwritten.
    time
        [s].
    work
        Scratch, ``[5, 1 + derivative, m * m * LANES]``.
    """
    blocks, squarings = _order(time * _norm(generator[0], m))
    generator *= time * 0.5**squarings
    square, cube, fourth, one, other = work[0], work[1], work[2], work[3], work[4]
    multiply(square, generator, generator, m)
    multiply(cube, square, generator, m)
    multiply(fourth, square, square, m)
    first = 4 * (blocks - 1)
    _polynomial(one, generator, square, cube, first, m)
    _add_multiple(one, _TERMS[first + 4], fourth)
    for number in range(blocks - 2, -1, -1):
        multiply(other, fourth, one, m)
        _polynomial(one, generator, square, cube, 4 * number, m)
        _add_multiple(one, 1.0, other)
    for _ in range(squarings):
        multiply(other, one, one, m)
        one, other = other, one
    out[:] = one


@numba.njit(**INNER)
def _add_multiple(out, factor, matrix):
    for p in range(len(out)):
        for at in range(out.shape[1]):
            out[p, at] += factor * matrix[p, at]


@numba.njit(**INNER)
def _polynomial(out, power, square, cube, first, m):
    """Set `out` to four terms of the series from ``first`` on."""
    c0, c1, c2, c3 = _TERMS[first], _TERMS[first + 1], _TERMS[first + 2], _TERMS[first + 3]
    for p in range(len(out)):
        for at in range(out.shape[1]):
            out[p, at] = c1 * power[p, at] + c2 * square[p, at] + c3 * cube[p, at]
    for i in range(m):
        at = i * (m + 1) * LANES
        out[0, at : at + LANES] += c0


@numba.njit(**INNER)
def _norm(matrix, m):
    """Return the largest sum of magnitudes of a row, of all lanes."""
    largest = 0.0
    sums = np.empty(LANES)
    for i in range(m):
        sums[:] = 0.0
        for at in range(i * m * LANES, (i + 1) * m * LANES, LANES):
            for lane in range(LANES):
                sums[lane] += abs(matrix[at + lane])
        largest = max(largest, sums.max())
    return largest


@numba.njit(**INNER)
def _order(norm):
    """Return the blocks of four terms and the squarings that cost the fewest products."""
    blocks, squarings = 0, 1 << 20
    for count in range(1, len(_LARGEST)):
        needed = max(0, math.ceil(math.log2(norm / _LARGEST[count]))) if norm > 0 else 0
        if count + needed < blocks + squarings:
            blocks, squarings = count, needed
    return blocks, squarings
