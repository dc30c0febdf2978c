"""Spins of all voxels through a whole sequence, a block of spins at a time that stays in the fast cache."""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.isochromat_maps import block_maps
from pulsetwin.sim.isochromat_readout import advance, phase_factors, record, sample_run
from pulsetwin.sim.isochromat_walk import new_walk, turn_displaced, walk_on
from pulsetwin.sim.rotations import FAST, INNER, LANES


@numba.njit(cache=True, nogil=True)
def place_spins(cloud, shift, voxel, size):
    """Return x, y, z [m] and offset [Hz] of all spins, ``[voxel, 4, spin]``.

    Parameters
    ----------
    cloud
        Points in the unit cube ``[spin, 4]``: place in the voxel, and quantile of the T2' line.
    shift
        Random shift of the points of each voxel, ``[voxel, 4]``, modulo 1.
    voxel
        As for `run_voxels`.
    size
        Edges of the voxels, 0 for points [m], ``[3]``.
    """
    places = np.empty((len(voxel), 4, len(cloud)))
    for v in range(len(voxel)):
        for i in range(len(cloud)):
            for axis in range(3):
                u = cloud[i, axis] + shift[v, axis]
                places[v, axis, i] = voxel[v, axis] + size[axis] * (u - math.floor(u) - 0.5)
            u = cloud[i, 3] + shift[v, 3]
            spread = voxel[v, 6] * math.tan(math.pi * (u - math.floor(u) - 0.5)) if voxel[v, 6] > 0 else 0.0
            places[v, 3, i] = voxel[v, 3] + spread
    return places


@numba.njit(cache=True, nogil=True)
def run_voxels(
    places, voxel, field, steps, step_start, plan, series, program, interval, start, recorded, walk_seed, number
):
    """Return the mean transverse magnetisation of each voxel at each recorded interval end.

    Parameters
    ----------
    places
        As from `place_spins`.
    voxel
        Rows ``[voxel, 8]``: centre x, y, z [m]; offset [Hz]; R1, R2 [1/s]; half width of the T2' line [Hz];
        diffusion coefficient [m^2/s].
    field
        Relative transmit field ``[voxel, channel, 2]``.
    steps, step_start
        Steps of each played pulse as from `pulse_steps.pulse_steps`, and where those of each begin ``[played + 1]``.
    plan
        Of each played pulse as from `isochromat_maps.steady_gradient`, ``[played, 6]``.
    series
        As from `isochromat_maps.pulse_series`.
    program
        Of each pulse ``[pulse, 15]``: which it plays, phase before and after its map [rad], time until the next
        pulse [s], gradient moment before and after its centre [1/m], then as from `isochromat_walk.walk_moments`.
    interval
        Runs of equal intervals ``[run, 8]``: duration [s] and moment [1/m] of each interval, extra phase [cycles],
        slot of the factors or -1, column of the result for the first interval's end or -1, number of intervals.
    start
        First run of each repetition and the total, ``[pulse + 1]``.
    recorded
        Columns of the result.
    walk_seed
        Seed of random walks, 0 for none.
    number
        Of the first voxel among all, so that spins walk alike in whatever portions voxels come.

    Returns
    -------
    numpy.ndarray
        complex128 ``[voxel, column]``.
    """
    spins, voxels = places.shape[2], len(voxel)
    together = max(1, LANES // spins)
    result = np.zeros((voxels, recorded), np.complex128)
    maps = np.empty((len(plan), 12 * LANES))
    for first in range(0, voxels, together):
        last = min(first + together, voxels)
        for chunk in range(0, spins, LANES):
            width = min(LANES, spins - chunk)
            lane = _lanes(places[first:last, :, chunk : chunk + width], voxel[first:last], field[first:last])
            block_maps(maps, lane, width, steps, step_start, plan, series, first, last, chunk)
            _run_block(
                maps, lane, voxel[first:last], width, program, interval, start, result[first:last], walk_seed,
                (number + first) * spins + chunk, 1.0 / spins,
            )  # fmt: skip
    return result


@numba.njit(**INNER)
def _lanes(places, voxel, field):
    """Return the rows of `rotations.fill_maps`; those of missing spins repeat the first."""
    channels, spins = field.shape[1], places.shape[2]
    lane = np.zeros((12 + 2 * channels) * LANES)
    for i in range(LANES):
        v, n = (i // spins, i % spins) if i < spins * len(voxel) else (0, 0)
        for row in range(4):
            lane[row * LANES + i] = places[v, row, n]
        lane[4 * LANES + i], lane[5 * LANES + i] = voxel[v, 4], voxel[v, 5]
        for c in range(channels):
            lane[(12 + 2 * c) * LANES + i] = field[v, c, 0]
            lane[(13 + 2 * c) * LANES + i] = field[v, c, 1]
    return lane


@numba.njit(inline="always", **INNER)
def _run_block(maps, lane, voxel, spins, program, interval, start, result, walk_seed, number, weight):
    """Add the signal of a block of spins, `spins` of each of `voxel`, to `result`."""
    factors = _slot_factors(interval, lane)
    m = np.zeros(3 * LANES)
    m[2 * LANES :] = 1.0
    walk, random = new_walk(voxel, spins, walk_seed, number)
    walks = False
    for v in range(len(voxel)):
        walks = walks or voxel[v, 7] > 0
    moved = lane[: 4 * LANES].copy()
    scratch, powers = np.empty(5 * LANES), np.empty((9, 2 * LANES))
    longest = 1
    for i in range(len(interval)):
        longest = max(longest, int(interval[i, 7]))
    sums = np.zeros((len(voxel), longest), np.complex128)
    kept, amount = np.empty(len(voxel)), np.empty(len(voxel))
    for r in range(len(program)):
        pulse = program[r]
        if walks:
            turn_displaced(m, walk, pulse[4], pulse[5], pulse[6])
        _apply_map(m, maps[int(pulse[0])], pulse[1], pulse[2])
        if walks:
            turn_displaced(m, walk, pulse[7], pulse[8], pulse[9])
        for v in range(len(voxel)):
            amount[v] = 1.0
        for i in range(start[r], start[r + 1]):
            slot, count = int(interval[i, 5]), int(interval[i, 7])
            if slot < 0 or walks:
                slot = len(factors) - 1
                phase_factors(factors[slot], interval[i], moved)
            for v in range(len(voxel)):
                kept[v] = math.exp(-voxel[v, 5] * interval[i, 0])
            if interval[i, 6] < 0:
                for _ in range(count):
                    advance(m, factors[slot])
                    for v in range(len(voxel)):
                        amount[v] *= kept[v]
            else:
                sample_run(m, factors[slot], sums, count, spins, powers)
                record(sums, result, int(interval[i, 6]), count, amount, kept, weight)
        for v in range(len(voxel)):
            kept[v] = math.exp(-voxel[v, 4] * pulse[3])
        _relax(m, amount, kept, spins)
        if walks:
            walk_on(m, moved, walk, random, scratch, pulse[10:])


@numba.njit(**INNER)
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
            phase_factors(factors[slot], interval[i], lane)
            filled[slot] = True
    return factors


@numba.njit(fastmath=FAST, **INNER)
def _relax(m, kept2, kept1, spins):
    """Let the spins of each voxel relax."""
    count, first, row = np.uint64(spins), np.uint64(0), np.uint64(LANES)
    for v in range(len(kept2)):
        e2, e1 = kept2[v], kept1[v]
        for i in range(count):
            m[first + i] *= e2
            m[row + first + i] *= e2
            m[row + row + first + i] = 1.0 + (m[row + row + first + i] - 1.0) * e1
        first += count


@numba.njit(fastmath=FAST, **INNER)
def _apply_map(m, a, before, after):
    """Turn by `before`, apply the map, turn by `after`."""
    cb, sb, ca, sa = math.cos(before), math.sin(before), math.cos(after), math.sin(after)
    for i in range(LANES):
        x, y, z = cb * m[i] - sb * m[LANES + i], sb * m[i] + cb * m[LANES + i], m[2 * LANES + i]
        u = a[i] * x + a[3 * LANES + i] * y + a[6 * LANES + i] * z + a[9 * LANES + i]
        v = a[LANES + i] * x + a[4 * LANES + i] * y + a[7 * LANES + i] * z + a[10 * LANES + i]
        w = a[2 * LANES + i] * x + a[5 * LANES + i] * y + a[8 * LANES + i] * z + a[11 * LANES + i]
        m[i], m[LANES + i], m[2 * LANES + i] = ca * u - sa * v, sa * u + ca * v, w
