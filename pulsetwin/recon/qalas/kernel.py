"""Least squares over the signals of QALAS, voxel by voxel: a search in T1 alone, all else follows.

For a known T1 the signals are linear in the proton density and in the magnetisation at the start of a train, since
recovery and trains are affine. So these two are projected out (variable projection), and what is left is a function of
T1 only: its best value on a grid is refined by steps of Gauss and Newton. With the inversion efficiency unknown, the
magnetisation after it is free and contrasts 2 to 5 tell T1; the first contrast, fitted exactly, then tells the
efficiency. The T2 preparation is never needed here: what it left is free, too.
"""

from __future__ import annotations

import math

import numba
import numpy as np

INNER = {"cache": True, "error_model": "numpy"}
_U, _V, _DU, _DV = range(4)
T1, PD, EFFICIENCY, BEFORE, PREPARED, MISFIT = range(6)
"""Columns of what `search` returns."""
_STEPS = 30  # of Gauss and Newton, at most
_CLOSE = 1e-8  # a step of ln T1 that ends the search


@numba.njit(nogil=True, **INNER)
def search(data, b1, inversion, free, times, flips, train_length, log_t1, table, b1_first, b1_step):
    """Return T1 [s], proton density, inversion efficiency, both sides of the T2 preparation, and the misfit.

    Parameters
    ----------
    data
        Signals with their signs, ``[voxel, 5]``.
    b1
        Relative transmit field, ``[voxel]``.
    inversion
        ``a`` and ``b`` of its map of longitudinal magnetisation, ``[voxel, 2]``; `a` is not used where it is free.
    free
        Whether the inversion efficiency is to be found.
    times
        Echo spacing, from the T2 preparation to the first train, from the end of train 1 to the inversion, from there
        to train 2, and from the end of each of the other trains to what follows [s], ``[8]``.
    flips
        Nominal flip angles [rad], ``[5]``.
    train_length
        Excitations of a train.
    log_t1
        Grid of ln T1, ascending, equally spaced, ``[grid]``.
    table
        Orthonormal vectors that span contrasts 2 to 5 at each B1 and T1, whatever the inversion did,
        ``[b1, grid, 2, 5]``: where the search begins.
    b1_first, b1_step
        First B1 of `table`, and the step to the next.

    Returns
    -------
    numpy.ndarray
        ``[voxel, 6]``: T1 [s], proton density, efficiency, magnetisation before and after the T2 preparation (relative
        to a proton density of 1), and the sum of squares of the residual.
    """
    out = np.empty((len(data), 6))
    angles, basis, trial = np.empty((3, 5)), np.empty((4, 5)), np.empty((4, 5))
    for voxel in range(len(data)):
        set_angles(angles, flips, b1[voxel], train_length)
        row = min(max(round((b1[voxel] - b1_first) / b1_step), 0), len(table) - 1)
        start = log_t1[best_start(data[voxel], table[row])]
        a, b = inversion[voxel]
        place, (pd, m, misfit) = refine(
            data[voxel], start, log_t1, free, angles, times, train_length, a, b, basis, trial
        )
        finish(out[voxel], data[voxel], place, pd, m, misfit, free, angles, times, train_length, a, b, basis)
    return out


@numba.njit(**INNER)
def spanning(log_t1, b1, times, flips, train_length):
    """Return `table` of `search` on grids of ln T1 and B1."""
    table = np.zeros((len(b1), len(log_t1), 2, 5))
    angles, basis = np.empty((3, 5)), np.empty((4, 5))
    for row in range(len(b1)):
        set_angles(angles, flips, b1[row], train_length)
        for column in range(len(log_t1)):
            _fill(basis, log_t1[column], True, angles, times, train_length, 0.0, 0.0)
            pair = table[row, column]
            pair[0] = basis[_V] / math.sqrt(_dot(basis[_V], basis[_V]))
            pair[1] = basis[_U] - _dot(basis[_U], pair[0]) * pair[0]
            pair[1] /= math.sqrt(_dot(pair[1], pair[1]))
    return table


@numba.njit(**INNER)
def _dot(x, y):
    total = 0.0
    for k in range(5):
        total += x[k] * y[k]
    return total


@numba.njit(**INNER)
def set_angles(angles, flips, b1, train_length):
    """Write sine, cosine, and the cosine's power of each train."""
    for k in range(5):
        if k and flips[k] == flips[k - 1]:
            angles[:, k] = angles[:, k - 1]
        else:
            cosine = math.cos(flips[k] * b1)
            angles[0, k], angles[1, k], angles[2, k] = math.sin(flips[k] * b1), cosine, cosine**train_length


@numba.njit(**INNER)
def best_start(x, pairs):
    """Return where on the grid of T1 most of the data is spanned."""
    best, place = -1.0, 0
    for i in range(len(pairs)):
        p = q = 0.0
        for k in range(5):
            p += pairs[i, 0, k] * x[k]
            q += pairs[i, 1, k] * x[k]
        if p * p + q * q > best:
            best, place = p * p + q * q, i
    return place


@numba.njit(**INNER)
def kept_of(time, rate):
    """Return what is kept of a difference from equilibrium, and its slope along ln T1."""
    kept = math.exp(-time * rate)
    return kept, kept * time * rate


@numba.njit(**INNER)
def train_map(k, echo, train, wait, angles):
    """Return ``a``, ``b`` of ``M -> a M + b`` by train k and a wait, and their slopes along ln T1.

    `echo`, `train` and `wait` are what is kept of a difference from equilibrium in that time, and the slope of that.
    """
    e1, de1 = echo
    kept, d_kept = wait
    left, d_left = train[0] * angles[2, k], train[1] * angles[2, k]
    below = 1 - e1 * angles[1, k]
    driven = (1 - e1) / below
    d_driven = de1 * (angles[1, k] - 1) / (below * below)
    gain, d_gain = kept * left, d_kept * left + kept * d_left
    drift = 1 - kept + kept * driven * (1 - left)
    d_drift = d_kept * (driven * (1 - left) - 1) + kept * (d_driven * (1 - left) - driven * d_left)
    return gain, drift, d_gain, d_drift


@numba.njit(**INNER)
def _fill(basis, place, free, angles, times, train_length, a, b):
    """Write ``u``, ``v`` and their slopes along ln T1 = `place`: signals are ``pd u + m v``, m where the fit starts."""
    rate = math.exp(-place)
    echo, train = kept_of(times[0], rate), kept_of(times[0] * train_length, rate)
    first = 1 if free else 0
    basis[:, first] = 0.0
    basis[_V, first] = 1.0
    if free:
        basis[:, 0] = 0.0
    else:
        gain, drift, d_gain, d_drift = train_map(0, echo, train, kept_of(times[2], rate), angles)
        kept, slope = kept_of(times[3], rate)
        u, v, du, dv = a * drift + b, a * gain, a * d_drift, a * d_gain
        basis[_U, 1], basis[_V, 1] = 1 - kept + kept * u, kept * v
        basis[_DU, 1], basis[_DV, 1] = slope * (u - 1) + kept * du, slope * v + kept * dv
    wait = kept_of(times[4], rate)
    for k in range(1, 4):
        if times[3 + k] != times[2 + k] and k > 1:
            wait = kept_of(times[3 + k], rate)
        gain, drift, d_gain, d_drift = train_map(k, echo, train, wait, angles)
        basis[_U, k + 1], basis[_V, k + 1] = drift + gain * basis[_U, k], gain * basis[_V, k]
        basis[_DU, k + 1] = d_drift + d_gain * basis[_U, k] + gain * basis[_DU, k]
        basis[_DV, k + 1] = d_gain * basis[_V, k] + gain * basis[_DV, k]
    for row in range(4):
        for k in range(first, 5):
            basis[row, k] *= angles[0, k]


@numba.njit(**INNER)
def _project(x, basis, first):
    """Return density, magnetisation, sum of squares and the step of ln T1 that would be best were all linear."""
    vv = uv = uu = xv = xu = 0.0
    for k in range(first, 5):
        u, v = basis[_U, k], basis[_V, k]
        vv += v * v
        uv += u * v
        uu += u * u
        xv += x[k] * v
        xu += x[k] * u
    square = uu - uv * uv / vv  # of what of u is orthogonal to v
    pd = (xu - xv * uv / vv) / square
    m = (xv - pd * uv) / vv
    misfit = along = slope = wv = wu = ww = 0.0
    for k in range(first, 5):
        left = x[k] - pd * basis[_U, k] - m * basis[_V, k]
        w = pd * basis[_DU, k] + m * basis[_DV, k]
        misfit += left * left
        along += left * w
        wv += w * basis[_V, k]
        wu += w * basis[_U, k]
        ww += w * w
    wu -= wv * uv / vv
    slope = ww - wv * wv / vv - wu * wu / square
    return pd, m, misfit, along / slope if slope > 0 else 0.0


@numba.njit(**INNER)
def refine(x, start, log_t1, free, angles, times, train_length, a, b, basis, trial):
    """Return ln T1 of the least sum of squares within the grid, from `start` on, with what belongs to it."""
    first, place, low, high = 1 if free else 0, start, log_t1[0], log_t1[-1]
    most = 2 * (log_t1[1] - log_t1[0])
    _fill(basis, place, free, angles, times, train_length, a, b)
    pd, m, misfit, step = _project(x, basis, first)
    for _ in range(_STEPS):
        target = min(max(place + min(max(step, -most), most), low), high)
        step = target - place
        if not abs(step) > _CLOSE:
            break
        _fill(trial, target, free, angles, times, train_length, a, b)
        new_pd, new_m, new_misfit, new_step = _project(x, trial, first)
        if new_misfit <= misfit or abs(step) < 1e-6:
            place, pd, m, misfit, step = target, new_pd, new_m, new_misfit, new_step
            basis[:] = trial
        else:
            step *= 0.5
    return place, (pd, m, misfit)


@numba.njit(**INNER)
def finish(out, x, place, pd, m, misfit, free, angles, times, train_length, a, b, basis):
    """Write a row of what `search` returns: follow the fitted magnetisation to both preparations."""
    rate = math.exp(-place)
    last = (pd * basis[_U, 4] + m * basis[_V, 4]) / angles[0, 4]
    first = x[0] / angles[0, 0] if free else m
    echo, train = kept_of(times[0], rate), kept_of(times[0] * train_length, rate)
    gain, drift, _, _ = train_map(0, echo, train, kept_of(times[2], rate), angles)
    inverted = drift + gain * first / pd
    gain, drift, _, _ = train_map(4, echo, train, kept_of(times[7], rate), angles)
    before = drift + gain * last / pd
    if free:
        kept = math.exp(-times[3] * rate)
        a = ((m / pd - (1 - kept)) / kept - b) / inverted
    kept = math.exp(-times[1] * rate)
    out[T1], out[PD], out[EFFICIENCY], out[BEFORE] = 1 / rate, pd, -a, before
    out[PREPARED], out[MISFIT] = (first / pd - (1 - kept)) / kept, misfit
