"""Play a program for many entries on the CPU: compiled, eight entries at a time in vector registers."""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.bloch_mcconnell.lanes import INNER, JIT, LANES, apply, exponential, multiply, turn

CHAIN, PRODUCT, CRUSHER, APPLY, CRUSH, RECORD, RESET = range(7)
WATER_VALUES, POOL_VALUES = 4, 5
_SCRATCH = 7


@numba.njit(**JIT)
def play_lanes(code, turns, steps, chain, slots, pools, semisolid, ppm, scale, values, absorbed, out):
    """Play instructions for groups of entries.

    Parameters
    ----------
    code, turns
        Instructions, int64 ``[instruction, 4]``, and the turn before each [rad], float64 ``[instruction]``; see
        `instructions.schedule`.
    steps
        Frequency [Hz], amplitude [Hz], duration [s], turn before [rad] and number of the frequency of each step,
        float64 ``[step, 5]``.
    chain
        First step of each chain, int64 ``[chain + 1]``.
    slots
        Number of maps that are held at a time.
    pools, semisolid
        Number of pools with transverse magnetisation, water among them, and of those without.
    ppm
        One ppm of the field [rad/s], times -1 if a positive shift of the field lowers frequencies.
    scale
        Initial magnetisation relative to equilibrium.
    values
        Parameters as `PoolModel.parameters` names them, float64 ``[group, parameter, LANES]``.
    absorbed
        Lineshape [s] of each semisolid at each frequency, float64 ``[group, semisolid, frequency, LANES]``.
    out
        x, y, z of water at each record, float64 ``[group, record, 3, LANES]``.
    """
    m = 3 * pools + semisolid + 1
    maps, work = np.zeros((slots, m * m * LANES)), np.zeros((_SCRATCH, m * m * LANES))
    tissue, now, then = np.zeros(m * m * LANES), np.zeros(m * LANES), np.zeros(m * LANES)
    for group in range(len(values)):
        here, rates = values[group], absorbed[group]
        _fill_tissue(tissue, here, pools, semisolid, m)
        _begin(now, here, pools, scale, m)
        for number in range(len(code)):
            operation, slot, first, second = code[number]
            if operation == CHAIN:
                _play_chain(
                    maps[slot], steps[chain[first] : chain[first + 1]], tissue, here, rates, ppm, pools, work, m
                )
            elif operation == PRODUCT:
                work[0][:] = maps[first]
                turn(work[0], turns[number], pools, m)
                multiply(maps[slot], maps[second], work[0], m)
            elif operation == CRUSHER:
                _crusher(maps[slot], pools, m)
            elif operation == APPLY:
                turn(now, turns[number], pools, 1)
                apply(then, maps[slot], now, m)
                now, then = then, now
            elif operation == CRUSH:
                now[: 2 * pools * LANES] = 0.0
            elif operation == RECORD:
                for axis in range(3):
                    at = axis * pools * LANES
                    out[group, slot, axis] = now[at : at + LANES]
            else:
                _begin(now, here, pools, scale, m)


@numba.njit(**INNER)
def _play_chain(out, steps, tissue, values, absorbed, ppm, pools, work, m):
    """Set `out` to the product of the exponentials of `steps`."""
    size = m * m * LANES
    for number in range(len(steps)):
        _fill_generator(work[5], steps[number], tissue, values, absorbed, ppm, pools, m)
        if number == 0:
            exponential(out, work[5], steps[number, 2], work[:5], m)
            continue
        exponential(work[6], work[5], steps[number, 2], work[:5], m)
        turn(out, steps[number, 3], pools, m)
        multiply(work[0], work[6], out, m)
        out[:size] = work[0]


@numba.njit(**INNER)
def _fill_tissue(out, values, pools, semisolid, m):
    """Set `out` to relaxation and exchange."""
    out[:] = 0.0
    for lane in range(LANES):
        r1, r2 = 1 / values[0, lane], 1 / values[1, lane]
        _add(out, 2 * pools, 2 * pools, m, lane, -r1)
        _add(out, 2 * pools, m - 1, m, lane, r1)
        _add(out, 0, 0, m, lane, -r2)
        _add(out, pools, pools, m, lane, -r2)
        for number in range(pools - 1 + semisolid):
            at = WATER_VALUES + POOL_VALUES * number
            fraction, back = values[at, lane], values[at + 1, lane]
            r1, r2, z = 1 / values[at + 3, lane], 1 / values[at + 4, lane], 2 * pools + 1 + number
            _add(out, z, z, m, lane, -r1)
            _add(out, z, m - 1, m, lane, r1 * fraction)
            _exchange(out, 2 * pools, z, m, lane, fraction, back)
            if number < pools - 1:
                for axis in range(2):
                    at = axis * pools + 1 + number
                    _add(out, at, at, m, lane, -r2)
                    _exchange(out, axis * pools, at, m, lane, fraction, back)


@numba.njit(**INNER)
def _exchange(out, water, pool, m, lane, fraction, back):
    _add(out, water, pool, m, lane, back)
    _add(out, pool, pool, m, lane, -back)
    _add(out, pool, water, m, lane, fraction * back)
    _add(out, water, water, m, lane, -fraction * back)


@numba.njit(**INNER)
def _add(out, row, column, m, lane, value):
    out[(row * m + column) * LANES + lane] += value


@numba.njit(**INNER)
def _fill_generator(out, step, tissue, values, absorbed, ppm, pools, m):
    """Set `out` to the generator of a step."""
    out[:] = tissue
    frequency, kind = 2 * math.pi * step[0], int(step[4])
    for lane in range(LANES):
        nutation = 2 * math.pi * step[1] * values[3, lane]
        away = frequency - ppm * values[2, lane]
        for i in range(pools):
            shift = values[WATER_VALUES + POOL_VALUES * (i - 1) + 2, lane] if i else 0.0
            detuning = away - abs(ppm) * shift
            _add(out, i, pools + i, m, lane, detuning)
            _add(out, pools + i, i, m, lane, -detuning)
            _add(out, pools + i, 2 * pools + i, m, lane, nutation)
            _add(out, 2 * pools + i, pools + i, m, lane, -nutation)
        for j in range(len(absorbed)):
            at = 3 * pools + j
            _add(out, at, at, m, lane, -(nutation**2) * absorbed[j, kind, lane])


@numba.njit(**INNER)
def _begin(now, values, pools, scale, m):
    """Set the magnetisation to the initial one."""
    now[:] = 0.0
    for lane in range(LANES):
        now[2 * pools * LANES + lane] = scale
        for z in range(2 * pools + 1, m - 1):
            now[z * LANES + lane] = scale * values[WATER_VALUES + POOL_VALUES * (z - 2 * pools - 1), lane]
        now[(m - 1) * LANES + lane] = 1.0


@numba.njit(**INNER)
def _crusher(out, pools, m):
    """Set `out` to the map that takes away transverse magnetisation."""
    out[:] = 0.0
    for i in range(2 * pools, m):
        out[(i * m + i) * LANES : (i * m + i + 1) * LANES] = 1.0
