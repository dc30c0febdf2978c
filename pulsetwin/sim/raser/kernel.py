"""Play the modes of one projection, compiled: an integrating-factor Runge-Kutta method with error control.

Precession and relaxation are exact; only the coupling through the signal, ``S = sum of all modes``, is integrated, by
the classical method of fourth order in the frame in which the linear part is at rest. The slope after a step gives an
estimate of its error, of third order (Balac and Mahe, Comput. Phys. Commun. 184, 1211, 2013).

Steps last ``2^level`` times the dwell. Rates are 1 / T1, 1 / T2*, the coupling and the decay of the pump; constants are
rows of angular frequencies, sources and rates of the pump.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.raser.tiles import INNER, JIT, TILE, modes_in
from pulsetwin.sim.raser.waveform import COARSEST, FINEST, fill_samples, node_of

STATE, AFTER, TURNED, NOW, TOTAL = (row * TILE for row in range(0, 15, 3))
IM, N = TILE, 2 * TILE
ROWS, CONSTANTS, TURN = 15 * TILE, 3 * TILE, 2 * TILE
LEVELS = COARSEST - FINEST + 1
TICK = 2.0**FINEST
_LEAST = 1e-300  # rate, against a division by 0
_SMOOTH = 46080.0  # sixth derivative per error of a quintic in the middle of its two nodes
PACE = 0.055  # error allowed in the time of growth: found by experiment, from 3 to 83 times the threshold
EASY = 12.0  # times less error than allowed: a step twice as long errs less than is allowed, as it may


@numba.njit(**JIT)
def play_projection(w, modes, constants, rates, dwell, samples, tolerance, levels, signal):  # pragma: no cover
    """Fill `signal` and `levels`; return the number of steps, or 0 if the finest step errs too much.

    Parameters
    ----------
    w
        Tiles, float64 ``[tile * ROWS]``: the state at the first sample, and room; the state at the last when done.
    modes
        How many.
    constants
        Tiles of angular frequencies [rad/s], sources and rates of the pump [1/s], ``[tile * CONSTANTS]``.
    rates
        ``[4]`` [1/s], see above; the coupling has no unit.
    dwell
        From sample to sample [s].
    samples
        How many.
    tolerance
        Relative error of the signal, about; if 0, steps are as `levels` says.
    levels
        Of the steps, int8, long enough.
    signal
        Complex, ``[samples]``.
    """
    turns, ready = np.zeros((LEVELS, len(w) // ROWS * TURN)), np.zeros(LEVELS, np.bool_)
    node, then = np.empty(7), np.empty(7)
    node_of(node, w, ROWS, STATE, modes, constants, rates, 1.0)
    fastest = 0.0
    for m in range(modes):
        fastest = max(fastest, abs(constants[m // TILE * CONSTANTS + m % TILE]))
    tick, last, steps, level = 0, (samples - 1) << -FINEST, 0, COARSEST
    given, allowed = tolerance == 0.0, PACE * tolerance**0.75 * rates[1] * (1 + max(node[6], 0.0))
    smooth = smooth_ticks(dwell, tolerance)
    signal[0] = complex(node[0], node[1])
    while tick < last:
        if given:
            level = int(levels[steps])
        else:
            level = min(level, longest(tick, last, smooth / (fastest + max(node[6], 0.0) * rates[1] + _LEAST)))
        step, begin, turn = dwell * TICK * (1 << (level - FINEST)), dwell * TICK * tick, turns[level - FINEST]
        if not ready[level - FINEST]:
            fill_turn(turn, modes, constants, rates[1], step)
            ready[level - FINEST] = True
        error = advance(w, modes, constants, turn, rates, begin, step, node[0], node[1])
        if not given and not error <= allowed * step:
            if level == FINEST:
                return 0
            level -= 1
            continue
        node_of(then, w, ROWS, AFTER, modes, constants, rates, math.exp(-rates[3] * (begin + step)))
        fill_samples(signal, tick, level, step, node, then)
        node, then = then, node
        accept(w, modes)
        levels[steps] = level
        tick += 1 << (level - FINEST)
        steps += 1
        if not given and error * EASY < allowed * step:
            level += 1
    return steps


@numba.njit(**JIT)
def longest(tick, last, most):  # pragma: no cover
    """Return the level of the longest step from `tick` that ends on its own grid and lasts at most `most` ticks."""
    level, length = COARSEST, 1 << (COARSEST - FINEST)
    while level > FINEST and (tick & (length - 1) or tick + length > last or length > most):
        level -= 1
        length >>= 1
    return level


@numba.njit(**JIT)
def smooth_ticks(dwell, tolerance):  # pragma: no cover
    """Return how long a quintic may be, times the rate at which the signal changes, ``[tick / s]``."""
    return (_SMOOTH * tolerance) ** (1 / 6) / (dwell * TICK)


@numba.njit(**INNER)
def fill_turn(turn, modes, constants, rate, step):  # pragma: no cover
    """Fill real and imaginary part of what half a step makes of amplitudes by precession and relaxation."""
    shrink = math.exp(-0.5 * rate * step)
    for m in range(modes):
        tile, lane = m // TILE, m % TILE
        angle = 0.5 * step * constants[tile * CONSTANTS + lane]
        turn[tile * TURN + lane] = shrink * math.cos(angle)
        turn[tile * TURN + TILE + lane] = shrink * math.sin(angle)


@numba.njit(**INNER)
def accept(w, modes):  # pragma: no cover
    """Set the state to that after the step."""
    for tile in range(len(w) // ROWS):
        t = tile * ROWS
        for row in range(3):
            for m in range(modes_in(tile, modes)):
                w[t + STATE + row * TILE + m] = w[t + AFTER + row * TILE + m]


@numba.njit(**JIT)
def advance(w, modes, constants, turn, rates, begin, step, re, im):  # pragma: no cover
    """Fill the state after a step; return the relative error of the step, as estimated.

    `turn` is what half a step does, `re` and `im` are the signal. The rows between hold what the stages share.
    """
    keep, first = math.exp(-0.5 * rates[0] * step), math.exp(-rates[3] * begin)
    middle, end = math.exp(-rates[3] * (begin + 0.5 * step)), math.exp(-rates[3] * (begin + step))
    re, im = first_stage(w, modes, constants, rates, turn, keep, first, re, im, step)
    re, im = second_stage(w, modes, constants, rates, middle, re, im, step)
    re, im = third_stage(w, modes, constants, rates, turn, keep, middle, re, im, step)
    last_re, last_im = fourth_stage(w, modes, constants, rates, end, re, im, step)
    return 0.1 * step * _change(w, modes, constants, rates, end, re, im, last_re, last_im)


@numba.njit(**INNER)
def first_stage(w, modes, constants, rates, turn, keep, decay, s_re, s_im, step):  # pragma: no cover
    """Turn state and slope by half a step, and go half a step along the slope; return the signal there."""
    gain, loss, half, sixth, sum_re, sum_im = rates[1], rates[1] * rates[2], step / 2, step / 6, 0.0, 0.0
    for tile in range(len(w) // ROWS):
        t, b, a = tile * ROWS, tile * CONSTANTS, tile * TURN
        for m in range(modes_in(tile, modes)):
            x, y, n = w[t + STATE + m], w[t + STATE + IM + m], w[t + STATE + N + m]
            k_n = decay * (constants[b + IM + m] - constants[b + N + m] * n) - loss * (x * s_re + y * s_im)
            k_x, k_y, c, s = gain * n * s_re, gain * n * s_im, turn[a + m], turn[a + TILE + m]
            re, im, n = c * x - s * y, c * y + s * x, keep * n
            k_re, k_im, k_n = c * k_x - s * k_y, c * k_y + s * k_x, keep * k_n
            w[t + TURNED + m], w[t + TURNED + IM + m], w[t + TURNED + N + m] = re, im, n
            w[t + TOTAL + m], w[t + TOTAL + IM + m] = re + sixth * k_re, im + sixth * k_im
            w[t + TOTAL + N + m] = n + sixth * k_n
            re += half * k_re
            im += half * k_im
            w[t + NOW + m], w[t + NOW + IM + m], w[t + NOW + N + m] = re, im, n + half * k_n
            sum_re += re
            sum_im += im
    return sum_re, sum_im


@numba.njit(**INNER)
def second_stage(w, modes, constants, rates, decay, s_re, s_im, step):  # pragma: no cover
    """Go half a step from the turned state along the slope of the first stage; return the signal there."""
    gain, loss, half, third, sum_re, sum_im = rates[1], rates[1] * rates[2], step / 2, step / 3, 0.0, 0.0
    for tile in range(len(w) // ROWS):
        t, c = tile * ROWS, tile * CONSTANTS
        for m in range(modes_in(tile, modes)):
            re, im, n = w[t + NOW + m], w[t + NOW + IM + m], w[t + NOW + N + m]
            k_re, k_im = gain * n * s_re, gain * n * s_im
            k_n = decay * (constants[c + IM + m] - constants[c + N + m] * n) - loss * (re * s_re + im * s_im)
            w[t + TOTAL + m] += third * k_re
            w[t + TOTAL + IM + m] += third * k_im
            w[t + TOTAL + N + m] += third * k_n
            re, im = w[t + TURNED + m] + half * k_re, w[t + TURNED + IM + m] + half * k_im
            w[t + NOW + m], w[t + NOW + IM + m] = re, im
            w[t + NOW + N + m] = w[t + TURNED + N + m] + half * k_n
            sum_re += re
            sum_im += im
    return sum_re, sum_im


@numba.njit(**INNER)
def third_stage(w, modes, constants, rates, turn, keep, decay, s_re, s_im, step):  # pragma: no cover
    """Go a step along the slope of the second stage, and turn all by the second half; return the signal there."""
    gain, loss, third, sum_re, sum_im = rates[1], rates[1] * rates[2], step / 3, 0.0, 0.0
    for tile in range(len(w) // ROWS):
        t, b, a = tile * ROWS, tile * CONSTANTS, tile * TURN
        for m in range(modes_in(tile, modes)):
            x, y, n = w[t + NOW + m], w[t + NOW + IM + m], w[t + NOW + N + m]
            k_re, k_im = gain * n * s_re, gain * n * s_im
            k_n = decay * (constants[b + IM + m] - constants[b + N + m] * n) - loss * (x * s_re + y * s_im)
            c, s = turn[a + m], turn[a + TILE + m]
            x, y = w[t + TOTAL + m] + third * k_re, w[t + TOTAL + IM + m] + third * k_im
            w[t + TOTAL + m], w[t + TOTAL + IM + m] = c * x - s * y, c * y + s * x
            w[t + TOTAL + N + m] = keep * (w[t + TOTAL + N + m] + third * k_n)
            x, y = w[t + TURNED + m] + step * k_re, w[t + TURNED + IM + m] + step * k_im
            re, im = c * x - s * y, c * y + s * x
            w[t + NOW + m], w[t + NOW + IM + m] = re, im
            w[t + NOW + N + m] = keep * (w[t + TURNED + N + m] + step * k_n)
            sum_re += re
            sum_im += im
    return sum_re, sum_im


@numba.njit(**INNER)
def fourth_stage(w, modes, constants, rates, decay, s_re, s_im, step):  # pragma: no cover
    """Add the slope of the third stage, which gives the state after the step; return the signal there."""
    gain, loss, sixth, sum_re, sum_im = rates[1], rates[1] * rates[2], step / 6, 0.0, 0.0
    for tile in range(len(w) // ROWS):
        t, c = tile * ROWS, tile * CONSTANTS
        for m in range(modes_in(tile, modes)):
            x, y, n = w[t + NOW + m], w[t + NOW + IM + m], w[t + NOW + N + m]
            k_n = decay * (constants[c + IM + m] - constants[c + N + m] * n) - loss * (x * s_re + y * s_im)
            re = w[t + TOTAL + m] + sixth * gain * n * s_re
            im = w[t + TOTAL + IM + m] + sixth * gain * n * s_im
            w[t + AFTER + m], w[t + AFTER + IM + m] = re, im
            w[t + AFTER + N + m] = w[t + TOTAL + N + m] + sixth * k_n
            sum_re += re
            sum_im += im
    return sum_re, sum_im


@numba.njit(**INNER)
def _change(w, modes, constants, rates, decay, s_re, s_im, re, im):  # pragma: no cover
    """Return by how much the slope after the step, with the signal `re` and `im`, differs from the fourth stage's.

    Relative to the state after the step, of amplitudes or of inversions, whichever is more [1/s].
    """
    gain, loss, moved, turned, amplitude, inversion = rates[1], rates[1] * rates[2], 0.0, 0.0, 0.0, 0.0
    for tile in range(len(w) // ROWS):
        t, c = tile * ROWS, tile * CONSTANTS
        for m in range(modes_in(tile, modes)):
            x, y, n = w[t + AFTER + m], w[t + AFTER + IM + m], w[t + AFTER + N + m]
            was_x, was_y, was_n = w[t + NOW + m], w[t + NOW + IM + m], w[t + NOW + N + m]
            k_re, k_im = gain * (n * re - was_n * s_re), gain * (n * im - was_n * s_im)
            k_n = decay * constants[c + N + m] * (was_n - n) - loss * (x * re + y * im - was_x * s_re - was_y * s_im)
            moved += k_re * k_re + k_im * k_im
            turned += k_n * k_n
            amplitude += x * x + y * y
            inversion += n * n
    of_amplitude = math.sqrt(moved / amplitude) if amplitude > 0.0 else 0.0
    both = inversion + amplitude
    return max(of_amplitude, math.sqrt(turned / both) if both > 0.0 else 0.0)
