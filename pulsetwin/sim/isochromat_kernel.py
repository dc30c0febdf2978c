"""Spins of all voxels through a whole sequence, a block of spins at a time that stays in the fast cache."""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, LANES, fill_maps, turn

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
def run_voxels(
    cloud, shift, voxel, field, size, steps, step_start, program, interval, start, recorded, walk_seed, number
):
    """Return the mean transverse magnetisation of each voxel at each recorded interval end.

    Parameters
    ----------
    cloud
        Points in the unit cube ``[spin, 4]``: place in the voxel, and quantile of the T2' line.
    shift
        Random shift of the points of each voxel, ``[voxel, 4]``, modulo 1.
    voxel
        Rows ``[voxel, 8]``: centre x, y, z [m]; offset [Hz]; R1, R2 [1/s]; half width of the T2' line [Hz];
        diffusion coefficient [m^2/s].
    field
        Relative transmit field ``[voxel, channel, 2]``.
    size
        Edges of the voxels, 0 for points [m], ``[3]``.
    steps, step_start
        Steps of each played pulse as from `pulse_steps.pulse_steps`, and where those of each begin ``[played + 1]``.
    program
        Of each pulse ``[pulse, 11]``: which it plays, phase before and after its map [rad], time until the next
        pulse [s], gradient moment before and after its centre [1/m], duration [s].
    interval
        Runs of equal intervals ``[run, 8]``: duration [s] and moment [1/m] of each interval, extra phase [cycles],
        slot of the factors or -1, column of the result for the first interval's end or -1, number of intervals.
    start
        First run of each repetition and the total, ``[pulse + 1]``.
    recorded
        Number of columns of the result.
    walk_seed
        Seed of random walks, 0 for none.
    number
        Of the first voxel among all, so that spins walk alike in whatever portions voxels come.

    Returns
    -------
    numpy.ndarray
        complex128 ``[voxel, recorded]``.
    """
    spins, voxels = len(cloud), len(voxel)
    together = max(1, LANES // spins)
    result = np.zeros((voxels, recorded), np.complex128)
    for group in range((voxels + together - 1) // together):
        first = group * together
        count = min(together, voxels - first)
        for chunk in range(0, spins, LANES):
            width = min(LANES, spins - chunk)
            _run_block(
                cloud[chunk : chunk + width], shift[first : first + count], voxel[first : first + count],
                field[first : first + count], size, steps, step_start, program, interval, start,
                result[first : first + count], walk_seed, (number + first) * spins + chunk, 1.0 / spins,
            )  # fmt: skip
    return result


@numba.njit(cache=True)
def _run_block(
    cloud, shift, voxel, field, size, steps, step_start, program, interval, start, result, walk_seed, number, weight
):
    """Add the signal of the spins of `cloud` in each of `voxel` to `result`."""
    lane = _place_spins(cloud, shift, voxel, field, size)
    maps = np.empty((len(step_start) - 1, 12 * LANES))
    for k in range(len(maps)):
        fill_maps(maps[k], steps[step_start[k] : step_start[k + 1]], lane)
    factors = _slot_factors(interval, lane)
    magnetisation = np.zeros(3 * LANES)
    magnetisation[2 * LANES :] = 1.0
    walk, random = _new_walk(voxel, len(cloud), walk_seed, number)
    regrown = np.zeros(LANES)
    waited = -1.0
    for r in range(len(program)):
        pulse = program[r]
        if walk_seed:
            _walk_phase(magnetisation, walk, pulse[4], pulse[5], pulse[6])
        _apply_map(magnetisation, maps[int(pulse[0])], pulse[1], pulse[2])
        if walk_seed:
            _walk_phase(magnetisation, walk, pulse[7], pulse[8], pulse[9])
            _diffuse(walk, random, pulse[10])
        for i in range(start[r], start[r + 1]):
            slot = int(interval[i, 5])
            if slot < 0:
                _factors(factors[-1], interval[i], lane)
            for k in range(int(interval[i, 7])):
                _advance(magnetisation, factors[slot])
                if walk_seed:
                    _walk_interval(magnetisation, walk, random, interval[i])
                if interval[i, 6] >= 0:
                    _record(magnetisation, result, int(interval[i, 6]) + k, len(cloud), weight)
        if pulse[3] != waited:
            for i in range(LANES):
                regrown[i] = math.exp(-lane[4 * LANES + i] * pulse[3])
            waited = pulse[3]
        for i in range(LANES):
            magnetisation[2 * LANES + i] = 1.0 + (magnetisation[2 * LANES + i] - 1.0) * regrown[i]


@numba.njit(cache=True)
def _place_spins(cloud, shift, voxel, field, size):
    """Return the rows of `rotations.fill_maps`; those of missing spins repeat the first."""
    channels = field.shape[1]
    lane = np.zeros((12 + 2 * channels) * LANES)
    spins = len(cloud)
    for i in range(LANES):
        v, n = (i // spins, i % spins) if i < spins * len(voxel) else (0, 0)
        for axis in range(3):
            u = cloud[n, axis] + shift[v, axis]
            lane[axis * LANES + i] = voxel[v, axis] + size[axis] * (u - math.floor(u) - 0.5)
        u = cloud[n, 3] + shift[v, 3]
        spread = voxel[v, 6] * math.tan(math.pi * (u - math.floor(u) - 0.5)) if voxel[v, 6] > 0 else 0.0
        lane[3 * LANES + i] = voxel[v, 3] + spread
        lane[4 * LANES + i], lane[5 * LANES + i] = voxel[v, 4], voxel[v, 5]
        for c in range(channels):
            lane[(12 + 2 * c) * LANES + i] = field[v, c, 0]
            lane[(13 + 2 * c) * LANES + i] = field[v, c, 1]
    return lane


@numba.njit(cache=True)
def _slot_factors(interval, lane):
    """Return the factors of each slot and room for those of one more interval."""
    slots = -1
    for i in range(len(interval)):
        slots = max(slots, int(interval[i, 5]))
    factors = np.empty((slots + 2, 2 * LANES))
    filled = np.zeros(slots + 1, np.bool_)
    for i in range(len(interval)):
        slot = int(interval[i, 5])
        if slot >= 0 and not filled[slot]:
            _factors(factors[slot], interval[i], lane)
            filled[slot] = True
    return factors


@numba.njit(cache=True, fastmath=FAST)
def _factors(out, interval, lane):
    """Write what an interval multiplies transverse magnetisation with."""
    duration, x, y, z, extra = interval[0], interval[1], interval[2], interval[3], interval[4]
    rate, kept = -1.0, 0.0
    for i in range(LANES):
        # Spins of a voxel share T2 and lie side by side.
        if lane[5 * LANES + i] != rate:
            rate = lane[5 * LANES + i]
            kept = math.exp(-rate * duration)
        out[i] = kept
    for i in range(LANES):
        moved = x * lane[i] + y * lane[LANES + i] + z * lane[2 * LANES + i]
        c, s = turn(moved + lane[3 * LANES + i] * duration + extra)
        kept = out[i]
        out[i] = kept * c
        out[LANES + i] = -kept * s


@numba.njit(cache=True, fastmath=FAST)
def _advance(m, factor):
    for i in range(LANES):
        x, y, c, s = m[i], m[LANES + i], factor[i], factor[LANES + i]
        m[i] = x * c - y * s
        m[LANES + i] = x * s + y * c


@numba.njit(cache=True, fastmath=FAST)
def _record(m, result, column, spins, weight):
    # Unsigned indices cannot count from the end, which would keep the sum from vectorising.
    count, first, half = np.uint64(spins), np.uint64(0), np.uint64(LANES)
    for v in range(len(result)):
        x, y = 0.0, 0.0
        for i in range(count):
            x += m[first + i]
            y += m[half + first + i]
        result[v, column] += complex(x * weight, y * weight)
        first += count


@numba.njit(cache=True, fastmath=FAST)
def _apply_map(m, a, before, after):
    """Turn by `before`, apply the map, turn by `after`."""
    cb, sb, ca, sa = math.cos(before), math.sin(before), math.cos(after), math.sin(after)
    for i in range(LANES):
        x, y, z = cb * m[i] - sb * m[LANES + i], sb * m[i] + cb * m[LANES + i], m[2 * LANES + i]
        u = a[i] * x + a[3 * LANES + i] * y + a[6 * LANES + i] * z + a[9 * LANES + i]
        v = a[LANES + i] * x + a[4 * LANES + i] * y + a[7 * LANES + i] * z + a[10 * LANES + i]
        w = a[2 * LANES + i] * x + a[5 * LANES + i] * y + a[8 * LANES + i] * z + a[11 * LANES + i]
        m[i], m[LANES + i], m[2 * LANES + i] = ca * u - sa * v, sa * u + ca * v, w


@numba.njit(cache=True)
def _new_walk(voxel, spins, seed, number):
    """Return displacements and sqrt(2 D) ``[4 * LANES]``, and the state of each spin's random numbers."""
    walk = np.zeros(4 * LANES)
    random = np.zeros(LANES, np.uint64)
    for i in range(LANES):
        v = i // spins if i < spins * len(voxel) else 0
        walk[3 * LANES + i] = math.sqrt(2 * voxel[v, 7])
        # Scrambled twice, so that neighbouring spins do not walk through the same numbers one step apart.
        random[i] = _scrambled(_scrambled(np.uint64(seed)) + np.uint64(number + i) * _GOLDEN)
    return walk, random


@numba.njit(cache=True)
def _scrambled(z):
    """Mix the bits of a number (splitmix64)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True)
def _two_normals(random, i):
    """Return two normal numbers of spin i by Box and Muller's method."""
    random[i] += _GOLDEN
    u = (float(_scrambled(random[i]) >> np.uint64(11)) + 0.5) * 2.0**-53
    random[i] += _GOLDEN
    v = float(_scrambled(random[i]) >> np.uint64(11)) * 2.0**-53
    radius = math.sqrt(-2 * math.log(u))
    return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)


@numba.njit(cache=True)
def _walk_phase(m, walk, x, y, z):
    """Turn each spin as a gradient moment does for its displacement."""
    if x == 0 and y == 0 and z == 0:
        return
    for i in range(LANES):
        _turn_back(m, i, x * walk[i] + y * walk[LANES + i] + z * walk[2 * LANES + i])


@numba.njit(cache=True)
def _turn_back(m, i, cycles):
    c, s = turn(cycles)
    x, y = m[i], m[LANES + i]
    m[i], m[LANES + i] = x * c + y * s, y * c - x * s


@numba.njit(cache=True)
def _diffuse(walk, random, duration):
    for i in range(LANES):
        step = walk[3 * LANES + i] * math.sqrt(duration)
        if step > 0:
            a, b = _two_normals(random, i)
            c, _ = _two_normals(random, i)
            walk[i] += step * a
            walk[LANES + i] += step * b
            walk[2 * LANES + i] += step * c


@numba.njit(cache=True)
def _walk_interval(m, walk, random, interval):
    """Let spins walk through an interval and turn by ``G . int dr dt``, whose law given both ends is known."""
    x, y, z = interval[1], interval[2], interval[3]
    steepness = math.sqrt((x * x + y * y + z * z) / 12)
    root = math.sqrt(interval[0])
    for i in range(LANES):
        step = walk[3 * LANES + i] * root
        if walk[3 * LANES + i] > 0:
            a, b = _two_normals(random, i)
            c, d = _two_normals(random, i)
            mean_x, mean_y, mean_z = (
                walk[i] + step * a / 2,
                walk[LANES + i] + step * b / 2,
                walk[2 * LANES + i] + step * c / 2,
            )
            walk[i] += step * a
            walk[LANES + i] += step * b
            walk[2 * LANES + i] += step * c
            _turn_back(m, i, x * mean_x + y * mean_y + z * mean_z + steepness * step * d)
