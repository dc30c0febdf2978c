"""The signal between steps, compiled: a quintic through the signal and its first two derivatives at either end.

A node holds the signal, its first and its second derivative, real and imaginary part in turn, and the sum of
inversions. Steps last ``2^level`` times the dwell, and times are counted in ticks of ``2^FINEST``.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.raser.tiles import INNER, TILE, modes_in

FINEST, COARSEST = -12, 4


def _of_near_node(x: np.ndarray) -> np.ndarray:
    """Return the weights of a node's value and derivatives at `x` steps from it, ``[3, place]``."""
    far = (1 - x) ** 3
    return np.stack([far * (1 + 3 * x + 6 * x**2), far * (x + 3 * x**2), far * x**2 / 2])


_PLACES = np.arange(1 << COARSEST) / (1 << COARSEST)
WEIGHTS = np.concatenate(
    [_of_near_node(_PLACES), _of_near_node(1 - _PLACES) * [[1.0], [-1.0], [1.0]]]
).T.copy()  # [place in the longest step, value and derivatives of the first node and of the last]


@numba.njit(**INNER)
def node_of(node, w, rows, of, modes, constants, rates, decay):  # pragma: no cover
    """Fill `node` from the state at `of` in tiles of `rows`; `decay` is what is left of the pump."""
    re, im, first_re, first_im, second_re, second_im = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    n, turning, pumped = 0.0, 0.0, 0.0
    for tile in range(len(w) // rows):
        t, c = tile * rows, 3 * TILE * tile
        for m in range(modes_in(tile, modes)):
            f, x, y, z = constants[c + m], w[t + of + m], w[t + of + TILE + m], w[t + of + 2 * TILE + m]
            re += x
            im += y
            first_re += f * x
            first_im += f * y
            second_re += f * f * x
            second_im += f * f * y
            n += z
            turning += f * z
            pumped += constants[c + TILE + m] - constants[c + 2 * TILE + m] * z
    signal, r = complex(re, im), rates[1]
    first, second = 1j * complex(first_re, first_im), -complex(second_re, second_im)
    slope = first - r * signal + r * n * signal
    n_slope = decay * pumped - rates[0] * n - r * rates[2] * (re * re + im * im)
    curve = second - 2 * r * first + r * r * signal + r * signal * complex(-r * n, turning)
    curve += r * (n_slope * signal + n * slope)
    node[0], node[1], node[2], node[3], node[4], node[5] = re, im, slope.real, slope.imag, curve.real, curve.imag
    node[6] = n


@numba.njit(**INNER)
def fill_samples(signal, tick, level, step, node, then):  # pragma: no cover
    """Fill the samples after `tick`, up to the end of a step of `step` seconds between two nodes."""
    one = 1 << -FINEST
    if level <= 0:
        end = tick + (1 << (level - FINEST))
        if end % one == 0:
            signal[end // one] = complex(then[0], then[1])
        return
    first, stride = tick // one, 1 << (COARSEST - level)
    for i in range(1, 1 << level):
        weights, re, im, scale = WEIGHTS[i * stride], 0.0, 0.0, 1.0
        for order in range(3):
            re += scale * (weights[order] * node[2 * order] + weights[3 + order] * then[2 * order])
            im += scale * (weights[order] * node[2 * order + 1] + weights[3 + order] * then[2 * order + 1])
            scale *= step
        signal[first + i] = complex(re, im)
    signal[first + (1 << level)] = complex(then[0], then[1])


@numba.njit(**INNER)
def spread_samples(signal_bar, tick, level, step, node_bar, then_bar):  # pragma: no cover
    """Add to the cotangents of two nodes, complex ``[3]``, those of the samples that `fill_samples` made of them."""
    one = 1 << -FINEST
    if level <= 0:
        end = tick + (1 << (level - FINEST))
        if end % one == 0:
            then_bar[0] += signal_bar[end // one]
        return
    first, stride = tick // one, 1 << (COARSEST - level)
    for i in range(1, 1 << level):
        weights, scale = WEIGHTS[i * stride], 1.0
        for order in range(3):
            node_bar[order] += scale * weights[order] * signal_bar[first + i]
            then_bar[order] += scale * weights[3 + order] * signal_bar[first + i]
            scale *= step
    then_bar[0] += signal_bar[first + (1 << level)]


@numba.njit(**INNER)
def node_adjoint(bar, state, constants, rates, time, of_modes, of_rates):  # pragma: no cover
    """Add to `of_modes` and `of_rates`, see `adjoint`, what the cotangent of a node, complex ``[3]``, makes of them.

    `state` and `constants` are rows of modes, not tiles; the node is at a time [s].
    """
    f, n, r = constants[0], state[2], rates[1]
    signal, once, total, turning, pumped = 0j, 0j, 0.0, 0.0, 0.0
    for m in range(len(n)):
        a = complex(state[0, m], state[1, m])
        signal += a
        once += f[m] * a
        total += n[m]
        turning += f[m] * n[m]
        pumped += constants[1, m] - constants[2, m] * n[m]
    decay, power = math.exp(-rates[3] * time), abs(signal) ** 2
    slope = 1j * once - r * signal + r * total * signal
    total_slope = decay * pumped - rates[0] * total - r * rates[2] * power
    b1, b2 = bar[1] + r * total * bar[2], bar[2]
    grow = _dot(b2, r * signal)
    signal_bar = bar[0] + (r * total - r) * b1 + r * (r * (1 - total) - 1j * turning + total_slope) * b2
    signal_bar -= 2 * r * rates[2] * grow * signal
    once_bar, twice_bar, turning_bar = -1j * b1 + 2j * r * b2, -b2, _dot(b2, 1j * r * signal)
    total_bar = _dot(b1, r * signal) + _dot(b2, r * slope - r * r * signal) - rates[0] * grow
    of_rates[0] -= total * grow
    by_gain = -2j * once + (2 * r + 1j * turning - 2 * r * total + total_slope) * signal + total * slope
    of_rates[1] += _dot(b1, (total - 1) * signal) + _dot(b2, by_gain) - rates[2] * power * grow
    of_rates[2] -= r * power * grow
    of_rates[3] -= time * decay * pumped * grow
    for m in range(len(n)):
        a = complex(state[0, m], state[1, m])
        a_bar = signal_bar + f[m] * once_bar + f[m] * f[m] * twice_bar
        of_modes[0, m] += a_bar.real
        of_modes[1, m] += a_bar.imag
        of_modes[2, m] += total_bar + f[m] * turning_bar - decay * constants[2, m] * grow
        of_modes[3, m] += _dot(once_bar, a) + 2 * f[m] * _dot(twice_bar, a) + n[m] * turning_bar
        of_modes[4, m] += decay * grow
        of_modes[5, m] -= decay * n[m] * grow


@numba.njit(**INNER)
def _dot(bar, value):  # pragma: no cover
    """Return what a cotangent makes of a small change."""
    return bar.real * value.real + bar.imag * value.imag
