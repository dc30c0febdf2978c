"""Small dense matrices of many entries at once: entry by entry in the lanes of vector registers.

A matrix of `m` rows and columns is a flat array ``[m * m * LANES]`` whose last index counts entries. All are affine
maps: the last row is 0 but for its last element. With its derivatives with respect to some parameters it is a dual
matrix ``[1 + derivative, m * m * LANES]``, of which the first is the value.
"""

from __future__ import annotations

import math
from typing import Any

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8
"""Entries that are computed together."""

JIT = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
INNER = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of functions that only compiled ones call: without a wrapper they compile in less time."""
_TERMS = np.array([1 / math.factorial(k) for k in range(17)])
_LARGEST = np.array([0.0, 0.0059, 0.037, 0.25, 0.7])
"""Norms up to which 4, 8, 12 and 16 terms of the exponential series have an error of 1e-17 of the norm."""


@intrinsic
def dot(
    typingctx: Any, out: Any, to: Any, left: Any, row: Any, right: Any, column: Any, count: Any, stride: Any, add: Any
) -> Any:
    """Set ``out[to + l] = sum_k left[row + k LANES + l] right[column + k stride + l]``, ``k < count``, for each lane.

    Where `add` is true the sum is added to what is there. It stays in registers, which loops of the same meaning do not
    achieve: the compiler cannot tell that the arrays do not overlap.
    """
    signature = types.void(out, to, left, row, right, column, count, stride, add)
    vector = ir.VectorType(ir.DoubleType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, to, left, row, right, column, count, stride, add = arguments
        kinds, zero = signature.args, ir.Constant(vector, [0.0] * LANES)

        def place(array: Any, kind: Any, index: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        def load(array: Any, kind: Any, start: Any, step: Any, k: Any) -> Any:
            return builder.load(place(array, kind, builder.add(start, builder.mul(k, step))), align=8)

        target = place(out, kinds[0], to)
        there = builder.select(builder.trunc(add, ir.IntType(1)), builder.load(target, align=8), zero)
        total = cgutils.alloca_once_value(builder, zero)
        builder.store(there, total)
        with cgutils.for_range(builder, count) as loop:
            a = load(left, kinds[2], row, ir.Constant(count.type, LANES), loop.index)
            b = load(right, kinds[4], column, stride, loop.index)
            term = builder.fmul(a, b, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
        builder.store(builder.load(total), target, align=8)
        return context.get_dummy_value()

    return signature, generate


@numba.njit(**JIT)
def multiply(out, left, right, m):
    """Set the dual matrix `out` to ``left @ right``."""
    width, last = m * LANES, (m - 1) * m * LANES
    for term in range(2 * len(out) - 1):  # one call of `dot` compiles in a fraction of the time of three
        p, add = (term + 1) // 2, term > 0 and term % 2 == 0
        a, b = (left[0], right[p]) if add else (left[p], right[0])
        if not add:
            out[p, last:] = 0.0
        for i in range(m):
            for j in range(0 if i < m - 1 else i, m):
                rows = m if j == m - 1 else m - 1
                dot(out[p], i * width + j * LANES, a, i * width, b, j * LANES, rows, width, add)


@numba.njit(**JIT)
def apply(out, left, vector, m):
    """Set the dual vector `out`, ``[1 + derivative, m * LANES]``, to ``left @ vector``."""
    for term in range(2 * len(out) - 1):
        p, add = (term + 1) // 2, term > 0 and term % 2 == 0
        a, b = (left[0], vector[p]) if add else (left[p], vector[0])
        for i in range(m):
            dot(out[p], i * LANES, a, i * m * LANES, b, 0, m, LANES, add)


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
    for block in range(blocks - 2, -1, -1):
        multiply(other, fourth, one, m)
        _polynomial(one, generator, square, cube, 4 * block, m)
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
