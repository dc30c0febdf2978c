"""Join the many short steps of a shaped pulse to fewer long ones of the same effect."""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.steps import Steps

_TOLERANCE = 1e-6
"""Error of a magnetisation of 1 that one pulse may add."""


def coarser(steps: Steps, model: PoolModel) -> Steps:
    """Return a pulse of as few steps as an accuracy of 1e-6 allows.

    A stretch of length h whose waveform w has the integral ``a = int w dt`` and the first moment
    ``b = int (t - t_mid) w dt / h`` becomes two steps of h / 2 with the integrals ``a / 2 - 2 b`` and ``a / 2 + 2 b``:
    the commutator-free Magnus expansion of fourth order (Blanes and Moan 2006, doi:10.1016/j.apnum.2005.11.004).
    """
    wave = steps.amplitude * np.exp(1j * steps.phase)
    ends = np.append(0.0, np.cumsum(steps.duration))
    edges = _edges(ends, _stretch(wave, steps.duration, model))
    owner = np.clip(np.searchsorted(edges, (ends[1:] + ends[:-1]) / 2) - 1, 0, len(edges) - 2)
    count, length = np.bincount(owner, minlength=len(edges) - 1), np.diff(edges)
    lever = (ends[1:] + ends[:-1]) / 2 - ((edges[1:] + edges[:-1]) / 2)[owner]
    area, moment = _sums(wave * steps.duration, owner), _sums(wave * steps.duration * lever, owner) / length
    halves = np.stack((area - 4 * moment, area + 4 * moment), 1) / length[:, None]
    few = count[owner] < 3
    place = np.concatenate((ends[:-1][few], (edges[:-1, None] + length[:, None] * [0, 0.5])[count >= 3].ravel()))
    order = np.argsort(place)
    values = np.concatenate((wave[few], halves[count >= 3].ravel()))[order]
    times = np.concatenate((steps.duration[few], np.repeat(0.5 * length[count >= 3], 2)))[order]
    return Steps(np.abs(values), np.angle(values), times, steps.length)


def _stretch(wave: np.ndarray, duration: np.ndarray, model: PoolModel) -> float:
    """Return the length over which steps may be joined [s].

    A pulse of ``angle = int |w| dt`` [rad] has an error near ``angle turning^4 h^4 / 720`` where the fastest of
    nutation, precession, relaxation and change of phase is `turning` [rad/s].
    """
    strong = np.abs(wave) > 1e-3 * np.abs(wave).max(initial=0)
    swept = np.abs(np.angle(wave[1:] * np.conj(wave[:-1]))) / np.minimum(duration[1:], duration[:-1])
    chirp = swept[strong[1:] & strong[:-1]].max(initial=0.0)
    nutation = 2 * math.pi * model.b1 * np.abs(wave)
    ppm = 1e-6 * model.gamma * model.b0
    precession = ppm * (1 + abs(model.b0_shift) + max((abs(pool.shift) for pool in model.free), default=0.0))
    relaxation = max(1 / pool.t2 for pool in (model, *model.free))
    turning = math.hypot(nutation.max(initial=0.0), precession, relaxation, chirp)
    return float((720 * _TOLERANCE / max(nutation @ duration * turning**4, 1e-300)) ** 0.25)


def _edges(ends: np.ndarray, stretch: float) -> np.ndarray:
    """Return every end of a step that is the last within a stretch."""
    edges = [0.0]
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if end - edges[-1] > stretch and start > edges[-1]:
            edges.append(start)
    return np.append(edges, ends[-1])


def _sums(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return sums of complex values by owner."""
    return np.bincount(owner, values.real) + 1j * np.bincount(owner, values.imag)
