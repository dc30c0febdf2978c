"""Play a program for many entries on the CPU: compiled, eight entries at a time in vector registers.

Derivatives with respect to parameters are carried along. What relaxation and exchange make of the parameters is
differentiated by a step into the complex plane, which is exact: ``f'(x) = Im f(x + i h) / h`` for an h as small as one
likes.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.bloch_mcconnell.blocks import LANES
from pulsetwin.sim.bloch_mcconnell.lanes import INNER, JIT, apply, exponential, multiply, turn

CHAIN, PRODUCT, CRUSHER, APPLY, CRUSH, DEPHASE, RECORD, RESET = range(8)
WATER_VALUES, POOL_VALUES = 4, 5
_SCRATCH = 7
_STEP = 1e-30


@numba.njit(**JIT)
def play_lanes(
    code, turns, steps, chain, dephasing, slots, pools, semisolid, ppm, scale, values, absorbed, wanted, shares, out
):
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
    dephasing
        Turns of isochromats [rad], float64 ``[kind, isochromat]``.
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
        Lineshape [s] of each semisolid at each frequency, its derivatives with respect to the detuning [rad/s] and to
        T2 [s], float64 ``[group, semisolid, frequency, 3, LANES]``.
    wanted
        Numbers of the parameters to differentiate with respect to, int64 ``[derivative]``.
    shares
        Of the initial magnetisation, with which it begins anew after each record, float64 ``[group, record, LANES]``.
    out
        x, y, z of water at each record and their derivatives, float64 ``[group, record, 3, 1 + derivative, LANES]``.
    """
    m, parts = 3 * pools + semisolid + 1, 1 + len(wanted)
    maps, work = np.zeros((slots, parts, m * m * LANES)), np.zeros((_SCRATCH, parts, m * m * LANES))
    tissue, initial = np.zeros((parts, m * m * LANES)), np.zeros((parts, m * LANES))
    count = dephasing.shape[1]
    now, then = np.zeros((count, parts, m * LANES)), np.zeros((count, parts, m * LANES))
    for group in range(len(values)):
        here, rates = values[group], absorbed[group]
        _fill_tissue(tissue, initial, here, wanted, pools, scale, m)
        now[:] = initial
        for number in range(len(code)):
            operation, slot, first, second = code[number]
            if operation == CHAIN:
                _play_chain(
                    maps[slot], steps[chain[first] : chain[first + 1]], tissue, here, rates, wanted, ppm, pools, work, m
                )
            elif operation == PRODUCT:
                work[0][:] = maps[first]
                turn(work[0], turns[number], pools, m)
                multiply(maps[slot], maps[second], work[0], m)
            elif operation == CRUSHER:
                _crusher(maps[slot], pools, m)
            elif operation == APPLY:
                for i in range(count):
                    turn(now[i], turns[number], pools, 1)
                    apply(then[i], maps[slot], now[i], m)
                now, then = then, now
            elif operation == CRUSH:
                now[:, :, : 2 * pools * LANES] = 0.0
            elif operation == DEPHASE:
                for i in range(count):
                    turn(now[i], dephasing[slot, i], pools, 1)
            elif operation == RECORD:
                _record(out[group, slot], now, pools)
            else:
                _begin_anew(now, initial, shares[group, slot])


@numba.njit(**INNER)
def _begin_anew(now, initial, share):
    """Set the magnetisation of all isochromats to a share of the initial one; its last component is always 1."""
    now[:] = initial
    for at in range(0, now.shape[2] - LANES, LANES):
        now[:, :, at : at + LANES] *= share


@numba.njit(**INNER)
def _record(out, now, pools):
    """Set `out` to x, y, z of water, the mean over isochromats."""
    for axis in range(3):
        at = axis * pools * LANES
        for p in range(out.shape[1]):
            for lane in range(LANES):
                total = 0.0
                for i in range(len(now)):
                    total += now[i, p, at + lane]
                out[axis, p, lane] = total / len(now)


@numba.njit(**INNER)
def _play_chain(out, steps, tissue, values, absorbed, wanted, ppm, pools, work, m):
    """Set `out` to the product of the exponentials of `steps`."""
    for number in range(len(steps)):
        _fill_generator(work[5], steps[number], tissue, values, absorbed, wanted, ppm, pools, m)
        if number == 0:
            exponential(out, work[5], steps[number, 2], work[:5], m)
            continue
        exponential(work[6], work[5], steps[number, 2], work[:5], m)
        turn(out, steps[number, 3], pools, m)
        multiply(work[0], work[6], out, m)
        out[:] = work[0]


@numba.njit(**INNER)
def _fill_tissue(tissue, initial, values, wanted, pools, scale, m):
    """Set `tissue` to relaxation and exchange, `initial` to the magnetisation at the start, and their derivatives."""
    matrix, vector = np.zeros(m * m * LANES, np.complex128), np.zeros(m * LANES, np.complex128)
    beside = values + 0j
    for p in range(len(tissue)):
        if p > 0:
            beside[wanted[p - 1]] += 1j * _STEP
        _relax_and_exchange(matrix, beside, pools, m)
        _begin(vector, beside, pools, scale, m)
        if p == 0:
            tissue[p], initial[p] = matrix.real, vector.real
        else:
            tissue[p], initial[p] = matrix.imag / _STEP, vector.imag / _STEP
            beside[wanted[p - 1]] = values[wanted[p - 1]]


@numba.njit(**INNER)
def _relax_and_exchange(out, values, pools, m):
    out[:] = 0.0
    for lane in range(LANES):
        r1, r2 = 1 / values[0, lane], 1 / values[1, lane]
        _add(out, 2 * pools, 2 * pools, m, lane, -r1)
        _add(out, 2 * pools, m - 1, m, lane, r1)
        _add(out, 0, 0, m, lane, -r2)
        _add(out, pools, pools, m, lane, -r2)
        for number in range(m - 2 - 2 * pools):
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
def _begin(now, values, pools, scale, m):
    now[:] = 0.0
    for lane in range(LANES):
        now[2 * pools * LANES + lane] = scale
        for z in range(2 * pools + 1, m - 1):
            now[z * LANES + lane] = scale * values[WATER_VALUES + POOL_VALUES * (z - 2 * pools - 1), lane]
        now[(m - 1) * LANES + lane] = 1.0


@numba.njit(**INNER)
def _fill_generator(out, step, tissue, values, absorbed, wanted, ppm, pools, m):
    """Set `out` to the generator of a step and its derivatives."""
    out[:] = tissue
    for lane in range(LANES):
        nutation = 2 * math.pi * step[1] * values[3, lane]
        away = 2 * math.pi * step[0] - ppm * values[2, lane]
        for i in range(pools):
            shift = values[WATER_VALUES + POOL_VALUES * (i - 1) + 2, lane] if i else 0.0
            _rotate(out[0], i, pools, m, lane, away - abs(ppm) * shift, nutation)
        for j in range(len(absorbed)):
            _add(out[0], 3 * pools + j, 3 * pools + j, m, lane, -(nutation**2) * absorbed[j, int(step[4]), 0, lane])
        for p in range(1, len(out)):
            _differentiate(out[p], step, wanted[p - 1], nutation, absorbed, ppm, pools, m, lane)


@numba.njit(**INNER)
def _differentiate(out, step, parameter, nutation, absorbed, ppm, pools, m, lane):
    """Add the derivative of precession, nutation and absorption with respect to a parameter."""
    pool, kind = (parameter - WATER_VALUES) // POOL_VALUES + 1, (parameter - WATER_VALUES) % POOL_VALUES
    for i in range(pools):
        if parameter == 2 or (pool == i and i > 0 and kind == 2):
            _rotate(out, i, pools, m, lane, -ppm if parameter == 2 else -abs(ppm), 0.0)
        elif parameter == 3:
            _rotate(out, i, pools, m, lane, 0.0, 2 * math.pi * step[1])
    for j in range(len(absorbed)):
        here = absorbed[j, int(step[4])]
        value, by_detuning, by_t2, slope = here[0, lane], here[1, lane], here[2, lane], 0.0
        if parameter == 2:
            slope = -ppm * by_detuning * nutation**2
        elif parameter == 3:
            slope = 2 * nutation * 2 * math.pi * step[1] * value
        elif pool == pools + j and kind == 2:
            slope = -abs(ppm) * by_detuning * nutation**2
        elif pool == pools + j and kind == 4:
            slope = by_t2 * nutation**2
        _add(out, 3 * pools + j, 3 * pools + j, m, lane, -slope)


@numba.njit(**INNER)
def _rotate(out, i, pools, m, lane, detuning, nutation):
    """Add precession of a pool and nutation about x."""
    _add(out, i, pools + i, m, lane, detuning)
    _add(out, pools + i, i, m, lane, -detuning)
    _add(out, pools + i, 2 * pools + i, m, lane, nutation)
    _add(out, 2 * pools + i, pools + i, m, lane, -nutation)


@numba.njit(**INNER)
def _crusher(out, pools, m):
    """Set `out` to the map that takes away transverse magnetisation."""
    out[:] = 0.0
    for i in range(2 * pools, m):
        out[0, (i * m + i) * LANES : (i * m + i + 1) * LANES] = 1.0
