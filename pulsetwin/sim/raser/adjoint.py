"""Exact derivatives of a projection that was played, compiled: the adjoint of each step, from the last to the first.

States are kept at every n-th of n^2 steps and the others played again, so that memory grows with the root of the time.
The cotangent of a complex number is that of its real part plus i times that of its imaginary part. Rates are numbered
as by the kernel; `of_modes` holds cotangents of the state ``[:3]``, of angular frequencies, sources and rates.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.raser.kernel import CONSTANTS, IM, LEVELS, ROWS, STATE, TURN, accept, advance, fill_turn
from pulsetwin.sim.raser.tiles import INNER, JIT, TILE
from pulsetwin.sim.raser.waveform import FINEST, node_adjoint, spread_samples


@numba.njit(**JIT)
def differentiate_projection(
    w, modes, constants, rates, dwell, levels, signal_bar, of_modes, of_rates
):  # pragma: no cover
    """Add derivatives, given the cotangent of the signal.

    Parameters
    ----------
    w, modes, constants, rates, dwell, levels
        As of `kernel.play_projection`; there are as many levels as steps.
    signal_bar
        Complex ``[sample]``.
    of_modes
        Cotangents of the state at the first sample, angular frequencies, sources and rates of the pump, ``[6, mode]``.
    of_rates
        Cotangents of `rates`, ``[4]``.
    """
    steps, plain, turn = len(levels), np.empty((3, modes)), np.empty((2, modes))
    _untile(plain, constants, CONSTANTS)
    every = max(1, math.ceil(math.sqrt(steps)))
    turns, ready = np.zeros((LEVELS, len(w) // ROWS * TURN)), np.zeros(LEVELS, np.bool_)
    marks, states = np.empty((every + 1, len(w) // ROWS * CONSTANTS)), np.empty((every + 1, 3, modes))
    ticks = np.zeros(steps + 1, np.int64)
    for k in range(steps):
        if k % every == 0:
            _keep(marks[k // every], w)
        ticks[k + 1] = ticks[k] + (1 << (levels[k] - FINEST))
        _move(w, modes, constants, turns, ready, rates, dwell, ticks[k], levels[k])
    _untile(states[0], w, ROWS)
    node, then = np.zeros(3, np.complex128), np.zeros(3, np.complex128)
    for first in range((steps - 1) // every * every, -1, -every):
        count = min(every, steps - first)
        _put(w, marks[first // every])
        for k in range(count):
            _untile(states[k], w, ROWS)
            _move(w, modes, constants, turns, ready, rates, dwell, ticks[first + k], levels[first + k])
        _untile(states[count], w, ROWS)
        for k in range(first + count - 1, first - 1, -1):
            _untile(turn, turns[levels[k] - FINEST], TURN)
            step = dwell * 2.0 ** levels[k]
            begin = dwell * ticks[k] * 2.0**FINEST
            node[:] = 0.0
            spread_samples(signal_bar, ticks[k], levels[k], step, node, then)
            node_adjoint(then, states[k + 1 - first], plain, rates, begin + step, of_modes, of_rates)
            _step_adjoint(of_modes[:3], states[k - first], plain, turn, rates, begin, step, of_modes, of_rates)
            then[:] = node
    then[0] += signal_bar[0]
    node_adjoint(then, states[0], plain, rates, 0.0, of_modes, of_rates)


@numba.njit(**INNER)
def _untile(out, tiles, rows):  # pragma: no cover
    """Fill ``[row, mode]`` from the first rows of tiles of `rows`."""
    for row in range(len(out)):
        for m in range(out.shape[1]):
            out[row, m] = tiles[m // TILE * rows + row * TILE + m % TILE]


@numba.njit(**INNER)
def _keep(mark, w):  # pragma: no cover
    """Copy the state, and what is beside it in its tiles."""
    for tile in range(len(w) // ROWS):
        for i in range(CONSTANTS):
            mark[tile * CONSTANTS + i] = w[tile * ROWS + i]


@numba.njit(**INNER)
def _put(w, mark):  # pragma: no cover
    """Set the state to one that was kept."""
    for tile in range(len(w) // ROWS):
        for i in range(CONSTANTS):
            w[tile * ROWS + i] = mark[tile * CONSTANTS + i]


@numba.njit(**INNER)
def _move(w, modes, constants, turns, ready, rates, dwell, tick, level):  # pragma: no cover
    """Move the state by a step."""
    step, re, im = dwell * 2.0**level, 0.0, 0.0
    if not ready[level - FINEST]:
        fill_turn(turns[level - FINEST], modes, constants, rates[1], step)
        ready[level - FINEST] = True
    for m in range(modes):
        at = m // TILE * ROWS + STATE + m % TILE
        re += w[at]
        im += w[at + IM]
    advance(w, modes, constants, turns[level - FINEST], rates, dwell * tick * 2.0**FINEST, step, re, im)
    accept(w, modes)


@numba.njit(**INNER)
def _step_adjoint(bar, y, constants, turn, rates, begin, step, of_modes, of_rates):  # pragma: no cover
    """Replace the cotangent `bar` of the state after a step by that of `y` before it, and add those of parameters.

    With E half a step of the linear part and f the slope, the step is ``u = E y``, ``k1 = E f(y)``,
    ``y2 = u + h/2 k1``, ``k2 = f(y2)``, ``y3 = u + h/2 k2``, ``k3 = f(y3)``, ``y4 = E (u + h k3)`` and
    ``E (u + h/6 k1 + h/3 (k2 + k3)) + h/6 f(y4)``.
    """
    middle, end = begin + 0.5 * step, begin + step
    half, third, sixth, nothing = step / 2, step / 3, step / 6, np.zeros_like(y)
    u, k1 = _turned(y, turn, rates, step), _turned(_slope(y, constants, rates, begin), turn, rates, step)
    y2 = _plus(u, half, k1)
    k2 = _slope(y2, constants, rates, middle)
    y3 = _plus(u, half, k2)
    k3 = _slope(y3, constants, rates, middle)
    y4 = _turned(_plus(u, step, k3), turn, rates, step)
    after = _turned(_plus(_plus(_plus(u, sixth, k1), third, k2), third, k3), turn, rates, step)

    y4_bar = _slope_adjoint(_plus(nothing, sixth, bar), y4, constants, rates, end, of_modes, of_rates)
    both = _turn_adjoint(y4_bar, y4, turn, rates, step, of_modes, of_rates)
    total = _turn_adjoint(bar, after, turn, rates, step, of_modes, of_rates)
    y3_bar = _slope_adjoint(
        _plus(_plus(nothing, third, total), step, both), y3, constants, rates, middle, of_modes, of_rates
    )
    y2_bar = _slope_adjoint(
        _plus(_plus(nothing, third, total), half, y3_bar), y2, constants, rates, middle, of_modes, of_rates
    )
    k1_bar = _plus(_plus(nothing, sixth, total), half, y2_bar)
    first = _turn_adjoint(k1_bar, k1, turn, rates, step, of_modes, of_rates)
    u_bar = _plus(_plus(_plus(total, 1.0, both), 1.0, y3_bar), 1.0, y2_bar)
    before = _turn_adjoint(u_bar, u, turn, rates, step, of_modes, of_rates)
    bar[:] = _plus(before, 1.0, _slope_adjoint(first, y, constants, rates, begin, of_modes, of_rates))


@numba.njit(**INNER)
def _plus(one, factor, other):  # pragma: no cover
    """Return ``one + factor * other``; what array arithmetic would do takes minutes to compile."""
    out = np.empty_like(one)
    for row in range(3):
        for m in range(one.shape[1]):
            out[row, m] = one[row, m] + factor * other[row, m]
    return out


@numba.njit(**INNER)
def _sum(row):  # pragma: no cover
    total = 0.0
    for value in row:
        total += value
    return total


@numba.njit(**INNER)
def _turned(x, turn, rates, step):  # pragma: no cover
    """Return what half a step of precession and relaxation makes of ``[3, mode]``."""
    out, keep = np.empty_like(x), math.exp(-0.5 * rates[0] * step)
    for m in range(x.shape[1]):
        c, s = turn[0, m], turn[1, m]
        out[0, m], out[1, m], out[2, m] = c * x[0, m] - s * x[1, m], c * x[1, m] + s * x[0, m], keep * x[2, m]
    return out


@numba.njit(**INNER)
def _turn_adjoint(bar, out, turn, rates, step, of_modes, of_rates):  # pragma: no cover
    """Return the cotangent of what `_turned` made `out` of, whose cotangent is `bar`."""
    back, keep, shrunk, relaxed = np.empty_like(bar), math.exp(-0.5 * rates[0] * step), 0.0, 0.0
    for m in range(bar.shape[1]):
        c, s = turn[0, m], turn[1, m]
        re, im, n = bar[0, m], bar[1, m], bar[2, m]
        back[0, m], back[1, m], back[2, m] = c * re + s * im, c * im - s * re, keep * n
        of_modes[3, m] += 0.5 * step * (im * out[0, m] - re * out[1, m])
        shrunk += re * out[0, m] + im * out[1, m]
        relaxed += n * out[2, m]
    of_rates[0] -= 0.5 * step * relaxed
    of_rates[1] -= 0.5 * step * shrunk
    return back


@numba.njit(**INNER)
def _slope(y, constants, rates, time):  # pragma: no cover
    """Return what coupling and pump add to a state in a second."""
    out, gain, loss, decay = np.empty_like(y), rates[1], rates[1] * rates[2], math.exp(-rates[3] * time)
    s_re, s_im = _sum(y[0]), _sum(y[1])
    for m in range(y.shape[1]):
        out[0, m], out[1, m] = gain * y[2, m] * s_re, gain * y[2, m] * s_im
        out[2, m] = decay * (constants[1, m] - constants[2, m] * y[2, m]) - loss * (y[0, m] * s_re + y[1, m] * s_im)
    return out


@numba.njit(**INNER)
def _slope_adjoint(bar, y, constants, rates, time, of_modes, of_rates):  # pragma: no cover
    """Return the cotangent of the state whose slope has the cotangent `bar`."""
    back, gain, loss, decay = np.empty_like(y), rates[1], rates[1] * rates[2], math.exp(-rates[3] * time)
    s_re, s_im = _sum(y[0]), _sum(y[1])
    sum_re, sum_im, grown, lost, pumped = 0.0, 0.0, 0.0, 0.0, 0.0
    for m in range(y.shape[1]):
        re, im, n, (b_re, b_im, b_n) = y[0, m], y[1, m], y[2, m], (bar[0, m], bar[1, m], bar[2, m])
        along = b_re * s_re + b_im * s_im
        back[0, m], back[1, m] = -loss * b_n * s_re, -loss * b_n * s_im
        back[2, m] = gain * along - decay * constants[2, m] * b_n
        sum_re += gain * n * b_re - loss * b_n * re
        sum_im += gain * n * b_im - loss * b_n * im
        grown += n * along
        lost += b_n * (re * s_re + im * s_im)
        pumped += b_n * (constants[1, m] - constants[2, m] * n)
        of_modes[4, m] += decay * b_n
        of_modes[5, m] -= decay * n * b_n
    for m in range(y.shape[1]):
        back[0, m] += sum_re
        back[1, m] += sum_im
    of_rates[1] += grown - rates[2] * lost
    of_rates[2] -= rates[1] * lost
    of_rates[3] -= time * decay * pumped
    return back
