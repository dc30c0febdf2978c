"""The least standard deviation that an unbiased estimate from QALAS data can have (Cramer and Rao)."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from pulsetwin.recon.qalas.fit import plan
from pulsetwin.recon.qalas.kernel import INNER, kept_of, set_angles, train_map
from pulsetwin.sim.signal_models.qalas import ideal_t2prep
from pulsetwin.sim.signal_models.qalas_pulses import QalasPulses
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

_GAIN, _DRIFT, _GAIN_T1, _DRIFT_T1, _GAIN_T2, _DRIFT_T2, _GAIN_IE = range(7)
_STEPS = 9  # maps of a repetition: T2 preparation, wait, train, inversion, wait, four trains
_MEASURED = (1, 4, 5, 6, 7)  # after which of them a contrast is measured


def least_deviations(
    timing: QalasTiming,
    tissue: np.ndarray,
    b1: np.ndarray,
    noise: np.ndarray | float,
    *,
    ie_known: bool = False,
    offset: np.ndarray | float = 0.0,
    pulses: QalasPulses | None = None,
) -> np.ndarray:
    """Return the standard deviations of T1, T2 [s], PD and inversion efficiency, ``[4, voxel]``.

    ``sigma sqrt(diag((J^T J)^-1))`` with the exact Jacobian J of the signals, of white noise in five real signals;
    infinite where the signals do not tell the values apart.

    Parameters
    ----------
    timing
        Times of a repetition.
    tissue
        T1, T2, PD and inversion efficiency at which the bound is taken, ``[4, voxel]``; with `pulses` the last is not
        used.
    b1
        Relative transmit field, ``[voxel]``.
    noise
        Standard deviation of each signal, in units of PD, ``[voxel]`` or one value.
    ie_known
        Whether the efficiency is known rather than estimated; its deviation is then 0.
    offset
        Off-resonance [Hz], ``[voxel]`` or one value.
    pulses
        What the real preparations do, which makes the efficiency known.
    """
    tissue, b1 = np.ascontiguousarray(tissue, np.float64), np.ascontiguousarray(b1, np.float64)
    unknown = 3 if ie_known or pulses is not None else 4
    maps = _preparations(timing, tissue, b1, np.broadcast_to(offset, b1.shape), pulses)
    times, flips = plan(timing, timing if pulses is None else pulses)
    relative = _relative(tissue, b1, maps, times, flips, timing.train_length, unknown)
    return relative * noise


def _preparations(
    timing: QalasTiming, tissue: np.ndarray, b1: np.ndarray, offset: np.ndarray, pulses: QalasPulses | None
) -> np.ndarray:
    """Return ``a``, ``b`` of T2 preparation and inversion, and the slopes along ln T1 and ln T2, ``[voxel, 4, 3]``."""
    logs = [torch.from_numpy(value).log().requires_grad_() for value in np.maximum(tissue[:2], 1e-6)]
    t1, t2 = (value.exp() for value in logs)
    field = torch.from_numpy(b1)
    if pulses is None:
        inversion = torch.from_numpy(-tissue[3]), torch.zeros_like(field)
        parts = (*ideal_t2prep(timing, t1, t2, field), *inversion)
    else:
        t2prep, inversion = pulses.both(t1, t2, field, torch.from_numpy(np.array(offset)))
        parts = (*t2prep, *inversion)
    return np.stack([np.stack(_with_slopes(part, logs), -1) for part in parts], 1)


def _with_slopes(value: Tensor, logs: list[Tensor]) -> list[np.ndarray]:
    if not value.requires_grad:
        return [value.numpy(), np.zeros(len(value)), np.zeros(len(value))]
    slopes = torch.autograd.grad(value.sum(), logs, retain_graph=True)
    return [value.detach().numpy(), *(slope.numpy() for slope in slopes)]


@numba.njit(nogil=True, **INNER)
def _relative(tissue, b1, maps, times, flips, train_length, unknown):
    """Return the deviations for noise of 1, ``[4, voxel]``."""
    result = np.zeros((4, len(b1)))
    angles, steps, jacobian = np.empty((3, 5)), np.empty((_STEPS, 7)), np.empty((4, 5))
    for voxel in range(len(b1)):
        t1, t2, pd, _ = tissue[:, voxel]
        if not (t1 > 0 and t2 > 0 and abs(pd) > 0):
            result[:unknown, voxel] = np.inf
            continue
        set_angles(angles, flips, b1[voxel], train_length)
        _fill_steps(steps, 1 / t1, maps[voxel], angles, times, train_length)
        _fill_jacobian(jacobian, steps, angles, pd)
        for k in range(unknown):
            size = (t1, t2, pd, 1.0)[k]
            result[k, voxel] = abs(size) / max(_apart(jacobian, k, unknown), 1e-300)
    return result


@numba.njit(**INNER)
def _fill_steps(steps, rate, maps, angles, times, train_length):
    """Write the map of each step of a repetition, ``M -> gain M + drift``, and its slopes."""
    steps[:] = 0.0
    for row, first in ((0, 0), (3, 2)):
        for column in range(3):
            steps[row, 2 * column], steps[row, 2 * column + 1] = maps[first, column], maps[first + 1, column]
    steps[3, _GAIN_IE] = -1.0
    for row, time in ((1, times[1]), (4, times[3])):
        kept, slope = kept_of(time, rate)
        steps[row, _GAIN], steps[row, _DRIFT], steps[row, _GAIN_T1], steps[row, _DRIFT_T1] = (
            kept,
            1 - kept,
            slope,
            -slope,
        )
    echo, train = kept_of(times[0], rate), kept_of(times[0] * train_length, rate)
    for k in range(5):
        wait = kept_of(times[2] if k == 0 else times[3 + k], rate)
        row = 2 if k == 0 else 4 + k
        steps[row, _GAIN], steps[row, _DRIFT], steps[row, _GAIN_T1], steps[row, _DRIFT_T1] = train_map(
            k, echo, train, wait, angles
        )


@numba.njit(**INNER)
def _fill_jacobian(jacobian, steps, angles, pd):
    """Write the slopes of the signals along ln T1, ln T2, ln PD and the efficiency, ``[4, 5]``.

    Along with the magnetisation of the steady state goes what each value changes of it within a repetition; what that
    changes of where the repetition begins follows, since it ends there as well.
    """
    gain, drift = 1.0, 0.0
    for row in range(_STEPS):
        gain, drift = gain * steps[row, _GAIN], drift * steps[row, _GAIN] + steps[row, _DRIFT]
    m, h, t1, t2, ie = drift / (1 - gain), 1.0, 0.0, 0.0, 0.0
    begun = np.empty(5)
    k = 0
    for row in range(_STEPS):
        step = steps[row]
        t1 = step[_GAIN] * t1 + step[_GAIN_T1] * m + step[_DRIFT_T1]
        t2 = step[_GAIN] * t2 + step[_GAIN_T2] * m + step[_DRIFT_T2]
        ie = step[_GAIN] * ie + step[_GAIN_IE] * m
        h, m = step[_GAIN] * h, step[_GAIN] * m + step[_DRIFT]
        if k < 5 and row == _MEASURED[k]:
            jacobian[0, k], jacobian[1, k], jacobian[2, k], jacobian[3, k], begun[k] = t1, t2, m, ie, h
            k += 1
    for k in range(5):
        onward = begun[k] / (1 - gain)
        jacobian[0, k] += onward * t1
        jacobian[1, k] += onward * t2
        jacobian[3, k] += onward * ie
        jacobian[:, k] *= pd * angles[0, k]


@numba.njit(**INNER)
def _apart(jacobian, which, unknown):
    """Return the length of what one row has orthogonal to the others: the bound is its inverse."""
    rows = np.empty((4, 5))
    size = 0.0
    for turn in range(unknown):
        row = rows[turn]
        row[:] = jacobian[(which + 1 + turn) % unknown]
        for j in range(turn):
            along = 0.0
            for k in range(5):
                along += row[k] * rows[j, k]
            for k in range(5):
                row[k] -= along * rows[j, k]
        size = 0.0
        for k in range(5):
            size += row[k] * row[k]
        size = math.sqrt(size)
        if turn < unknown - 1:
            row /= max(size, 1e-300)
    return size
