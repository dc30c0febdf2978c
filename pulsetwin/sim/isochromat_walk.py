"""Random walks of diffusing spins: one exact draw of displacement and phase for each repetition.

The displacement of a Brownian motion and its integral against a gradient are normal together, with a covariance known
for any waveform. Samples within a repetition are attenuated by their expectation over the walks since its pulse.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, INNER, LANES, turn

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def walk_moments(
    duration: np.ndarray, moment: np.ndarray, start: np.ndarray, lead: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what walks through each repetition need, and the attenuation at the end of each interval.

    With ``c(t)`` the moment since the pulse, ``K(t) = c(T) - c(t)`` and a walk W of unit variance a second and axis,
    the phase is ``int K dW``: its mean given the displacement ``dW`` is ``mean(K) dW``, its variance
    ``int K^2 dt - T mean(K)^2``.

    Parameters
    ----------
    duration
        Of the intervals of constant gradient [s], ``[interval]``.
    moment
        [1/m], ``[interval, 3]``.
    start
        First interval of each repetition and the total.
    lead
        Time before the first interval that each repetition spends in its pulse [s].

    Returns
    -------
    tuple of numpy.ndarray
        ``[repetition, 5]``: duration [s], mean K along x, y, z [1/m], deviation of the phase given the displacement
        [cycles/m]; and ``(2 pi)^2 int K^2 dt`` from the pulse to the end of each interval [s/m^2], ``[interval]``.
    """
    owner = np.repeat(np.arange(len(lead)), np.diff(start))

    def since_pulse(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.concatenate((np.zeros((1, *steps.shape[1:])), np.cumsum(steps, 0)))
        return total[1:] - total[start[owner]], total[start[1:]] - total[start[:-1]]

    c, whole = since_pulse(moment)
    earlier = c - moment
    time, length = since_pulse(duration)
    first, first_whole = since_pulse(duration[:, None] * (c + earlier) / 2)
    squares = ((c * c) + (c * earlier) + (earlier * earlier)).sum(1)
    second, second_whole = since_pulse(duration * squares / 3)

    def spread(c: np.ndarray, time: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.maximum((c * c).sum(1) * time - 2 * (c * first).sum(1) + second, 0.0)

    total = length + lead
    mean = whole - first_whole / np.where(total > 0, total, 1.0)[:, None]
    left = spread(whole, total, first_whole, second_whole) - total * (mean * mean).sum(1)
    rows = np.concatenate((total[:, None], mean, np.sqrt(np.maximum(left, 0.0))[:, None]), 1)
    return rows, (2 * math.pi) ** 2 * spread(c, time + lead[owner], first, second)


@numba.njit(**INNER)
def new_walk(voxel, spins, seed, number):
    """Return displacements and sqrt(2 D) ``[4 * LANES]``, and the state of each spin's random numbers."""
    walk = np.zeros(4 * LANES)
    random = np.zeros(LANES, np.uint64)
    for i in range(LANES):
        v = i // spins if i < spins * len(voxel) else 0
        walk[3 * LANES + i] = math.sqrt(2 * voxel[v, 7])
        # Scrambled twice, so that neighbouring spins do not walk through the same numbers one step apart.
        random[i] = _scrambled(_scrambled(np.uint64(seed)) + np.uint64(number + i) * _GOLDEN)
    return walk, random


@numba.njit(**INNER)
def _scrambled(z):
    """Mix the bits of a number (splitmix64)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(**INNER)
def _normals(random, out, scratch):
    """Write two rows of normal numbers by Box and Muller's method."""
    for i in range(LANES):
        random[i] += _GOLDEN
        u = (float(_scrambled(random[i]) >> np.uint64(11)) + 0.5) * 2.0**-53
        random[i] += _GOLDEN
        scratch[i] = float(_scrambled(random[i]) >> np.uint64(11)) * 2.0**-53
        out[i] = math.sqrt(-2 * math.log(u))
    _polar(out, scratch)


@numba.njit(fastmath=FAST, **INNER)
def _polar(out, cycles):
    for i in range(LANES):
        c, s = turn(cycles[i])
        radius = out[i]
        out[i] = radius * c
        out[LANES + i] = radius * s


@numba.njit(fastmath=FAST, **INNER)
def turn_displaced(m, walk, x, y, z):
    """Turn each spin as a gradient moment does for its displacement."""
    if x == 0 and y == 0 and z == 0:
        return
    for i in range(LANES):
        c, s = turn(x * walk[i] + y * walk[LANES + i] + z * walk[2 * LANES + i])
        a, b = m[i], m[LANES + i]
        m[i] = a * c + b * s
        m[LANES + i] = b * c - a * s


@numba.njit(inline="always", **INNER)
def walk_on(m, moved, walk, random, scratch, row):
    """Let spins walk through a repetition, `row` of `walk_moments`, and turn by the phase that it brings.

    `moved` are rows of x, y, z that walk too, `scratch` is ``[5 * LANES]``.
    """
    if row[0] <= 0:
        return
    _normals(random, scratch[: 2 * LANES], scratch[4 * LANES :])
    _normals(random, scratch[2 * LANES : 4 * LANES], scratch[4 * LANES :])
    _move(m, moved, walk, scratch, row)


@numba.njit(fastmath=FAST, **INNER)
def _move(m, moved, walk, normal, row):
    root, x, y, z, steepness = math.sqrt(row[0]), row[1], row[2], row[3], row[4]
    for i in range(LANES):
        speed = walk[3 * LANES + i]
        step = speed * root
        a, b, c = step * normal[i], step * normal[LANES + i], step * normal[2 * LANES + i]
        walk[i] += a
        walk[LANES + i] += b
        walk[2 * LANES + i] += c
        moved[i] += a
        moved[LANES + i] += b
        moved[2 * LANES + i] += c
        cosine, sine = turn(x * a + y * b + z * c + steepness * speed * normal[3 * LANES + i])
        p, q = m[i], m[LANES + i]
        m[i] = p * cosine + q * sine
        m[LANES + i] = q * cosine - p * sine
