"""Sums over the spins of a block, one by one or for many equally spaced samples at a time.

A readout of constant gradient samples ``sum m w^q``. Around a middle sample, ``m w^j`` and ``m conj(w)^j`` share their
four products, so that two samples cost one complex product and only every (2 j + 1)th sample advances the spins.
Relaxation, which spins of a voxel share, is left to the sums.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, INNER, LANES, turn

_MOST_PAIRS = 8


@numba.njit(fastmath=FAST, **INNER)
def phase_factors(out, interval, lane):
    """Write cosine and minus sine of the phase that each spin gains in an interval."""
    duration, x, y, z, extra = interval[0], interval[1], interval[2], interval[3], interval[4]
    for i in range(LANES):
        moved = x * lane[i] + y * lane[LANES + i] + z * lane[2 * LANES + i]
        c, s = turn(moved + lane[3 * LANES + i] * duration + extra)
        out[i] = c
        out[LANES + i] = -s


@numba.njit(fastmath=FAST, **INNER)
def advance(m, factor):
    """Multiply transverse magnetisation by unit factors."""
    for i in range(LANES):
        x, y, c, s = m[i], m[LANES + i], factor[i], factor[LANES + i]
        m[i] = x * c - y * s
        m[LANES + i] = x * s + y * c


@numba.njit(inline="always", **INNER)
def sample_run(m, factor, sums, count, spins, scratch):
    """Advance `count` times and write the sum over each voxel's spins after each.

    Parameters
    ----------
    m
        Magnetisation ``[3 * LANES]``.
    factor
        Of one interval, ``[2 * LANES]``.
    sums
        complex128 ``[voxel, >= count]``.
    spins
        Spins of each voxel.
    scratch
        ``[9, 2 * LANES]``.
    """
    pairs = _best_pairs(count)
    width = 2 * pairs + 1
    blocks = count // width if pairs else 0
    if blocks:
        stride = scratch[_MOST_PAIRS]
        _powers(factor, scratch, pairs)
        _product(scratch[pairs - 1], scratch[pairs - 1], stride)
        advance(stride, factor)
        advance(m, scratch[pairs - 1])
        advance(m, factor)
        for b in range(blocks):
            if b:
                advance(m, stride)
            middle = b * width + pairs
            _sum(m, sums, middle, spins)
            for j in range(0, pairs, 2):
                _sum_pairs(m, scratch[j], scratch[j + 1], sums, middle, j + 1, spins)
        advance(m, scratch[pairs - 1])
    for q in range(blocks * width, count):
        advance(m, factor)
        _sum(m, sums, q, spins)


@numba.njit(**INNER)
def _best_pairs(count):
    """Return the even number of pairs around a middle sample that takes least operations for `count` samples."""
    best, least = 0, 10 * count
    for pairs in range(2, _MOST_PAIRS + 1, 2):
        width = 2 * pairs + 1
        blocks = count // width
        cost = 6 * (pairs + 4) + blocks * (6 + 4 * pairs) + 10 * (count - blocks * width)
        if blocks and cost < least:
            best, least = pairs, cost
    return best


@numba.njit(inline="always", **INNER)
def _powers(factor, scratch, pairs):
    for i in range(2 * LANES):
        scratch[0, i] = factor[i]
    for j in range(1, pairs):
        _product(scratch[j - 1], factor, scratch[j])


@numba.njit(fastmath=FAST, **INNER)
def _product(a, b, out):
    for i in range(LANES):
        out[i] = a[i] * b[i] - a[LANES + i] * b[LANES + i]
        out[LANES + i] = a[i] * b[LANES + i] + a[LANES + i] * b[i]


@numba.njit(fastmath=FAST, **INNER)
def _sum(m, sums, column, spins):
    # Unsigned indices cannot count from the end, which would keep the sum from vectorising.
    count, first, half = np.uint64(spins), np.uint64(0), np.uint64(LANES)
    for v in range(len(sums)):
        x, y = 0.0, 0.0
        for i in range(count):
            x += m[first + i]
            y += m[half + first + i]
        sums[v, column] = complex(x, y)
        first += count


@numba.njit(fastmath=FAST, **INNER)
def _sum_pairs(m, one, two, sums, middle, j, spins):
    """Write the sums `j` and ``j + 1`` samples before and after the middle, to which `one` and `two` lead."""
    count, first, half = np.uint64(spins), np.uint64(0), np.uint64(LANES)
    for v in range(len(sums)):
        a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(count):
            x, y = m[first + i], m[half + first + i]
            p, q, r, s = one[first + i], one[half + first + i], two[first + i], two[half + first + i]
            a += x * p
            b += y * q
            c += x * q
            d += y * p
            e += x * r
            f += y * s
            g += x * s
            h += y * r
        sums[v, middle + j], sums[v, middle - j] = complex(a - b, c + d), complex(a + b, d - c)
        sums[v, middle + j + 1], sums[v, middle - j - 1] = complex(e - f, g + h), complex(e + f, h - g)
        first += count


@numba.njit(**INNER)
def record(sums, result, column, count, amount, kept, weight):
    """Add sums to the result, each faded by one factor `kept` more than the last; `amount` is what remains."""
    for v in range(len(sums)):
        faded = amount[v]
        for q in range(count):
            faded *= kept[v]
            result[v, column + q] += faded * weight * sums[v, q]
        amount[v] = faded
