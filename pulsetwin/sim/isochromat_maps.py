"""The maps of the pulses for a block of spins: exact for each spin, or from a few offsets of each voxel.

Spins of a voxel differ in a pulse only by their offset from the carrier where its gradient is constant, and the map is
a smooth function of that offset: a Chebyshev series of some tens of terms replaces hundreds of spins.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, LANES, fill_maps

PORTION = 128
"""Voxels that `pulse_series` takes at a time: enough to fill blocks of `LANES`, few enough to keep their series."""

_MOST_TERMS = 64
_TAIL = 1e-7  # largest last coefficient of a series that counts as converged
_ROOM = 2**23  # coefficients kept at a time: 64 MB


def steady_gradient(steps: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return ``[6]``: 1 if the gradient of a pulse's steps is constant else 0, it [Hz/m], duration [s], steps.

    `steps` are those of `pulse_steps.pulse_steps`, and `extent` is the largest distance of spins along each axis [m].
    """
    total = steps[:, 0].sum()
    gradient = steps[:, 1:4].sum(0) / total if total > 0 else np.zeros(3)
    wrong = np.abs(steps[:, 1:4] - gradient * steps[:, :1]).sum(0) + np.abs(steps[:, 4:7]).sum(0)
    return np.array([wrong @ extent < 1e-7, *gradient, total, len(steps)])


def pulse_series(
    places: np.ndarray, voxel: np.ndarray, field: np.ndarray, steps: np.ndarray, step_start: np.ndarray,
    plan: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return the series of each voxel's pulse maps where they cost less than the maps of all spins.

    Parameters
    ----------
    places
        Rows of x, y, z [m] and offset [Hz] of all spins, ``[voxel, 4, spin]``.
    voxel, field, steps, step_start
        As for `isochromat_kernel.run_voxels`.
    plan
        Of each played pulse as from `steady_gradient`.

    Returns
    -------
    tuple
        Coefficients ``[voxel, number]``; where those of each pulse begin ``[played + 1]``, 12 a term; and middle and
        half width of each voxel's offsets in each pulse [Hz] ``[voxel, played, 2]``, the width -1 without a series.
    """
    spins = places.shape[2]
    span = np.full((len(places), len(plan), 2), -1.0)
    terms = np.zeros(len(plan), np.int64)
    for p in np.nonzero((plan[:, 0] > 0) & (plan[:, 5] > 1))[0]:
        widest = _offset_spans(places, plan[p], span[:, p])
        count = _terms(widest * plan[p, 4] * math.pi)
        saved = plan[p, 5] * (1 - count / spins) - 0.25 * count
        if count <= _MOST_TERMS and saved >= 0 and PORTION * 12 * (terms.sum() + count) <= _ROOM:
            terms[p] = count
    start = np.concatenate((np.zeros(1, np.int64), np.cumsum(12 * terms)))
    coefficients = np.zeros((len(places), start[-1]))
    for p in np.nonzero(terms)[0]:
        own = steps[step_start[p] : step_start[p + 1]]
        _fill_series(coefficients[:, start[p] : start[p + 1]], own, voxel, field, span[:, p])
    return coefficients, start, span


def _terms(z: float) -> int:
    """Return how many terms a function of ``exp(i z x)``, x from -1 to 1, needs: a multiple of 8."""
    return 8 * math.ceil((z + 8 + 5 * z ** (1 / 3)) / 8)


@numba.njit(cache=True, nogil=True)
def _offset_spans(places, plan, span):
    """Write middle and half width of the offsets of each voxel's spins [Hz], and return twice the largest half."""
    widest = 0.0
    for v in range(len(places)):
        low, high = math.inf, -math.inf
        for i in range(places.shape[2]):
            f = places[v, 3, i] + plan[1] * places[v, 0, i] + plan[2] * places[v, 1, i] + plan[3] * places[v, 2, i]
            low, high = min(low, f), max(high, f)
        span[v, 0], span[v, 1] = (low + high) / 2, max((high - low) / 2, 1e-9)
        widest = max(widest, 2 * span[v, 1])
    return widest


@numba.njit(cache=True, nogil=True)
def _fill_series(series, steps, voxel, field, span):
    """Write the coefficients of each voxel, and -1 for the half width where the series has not converged."""
    voxels, terms, channels = len(series), series.shape[1] // 12, field.shape[1]
    lane, out = np.zeros((12 + 2 * channels) * LANES), np.zeros(12 * LANES)
    values = np.empty((voxels * terms, 12))
    for first in range(0, voxels * terms, LANES):
        width = min(LANES, voxels * terms - first)
        for i in range(width):
            v, node = (first + i) // terms, (first + i) % terms
            lane[3 * LANES + i] = span[v, 0] + span[v, 1] * math.cos(math.pi * (node + 0.5) / terms)
            lane[4 * LANES + i], lane[5 * LANES + i] = voxel[v, 4], voxel[v, 5]
            for c in range(channels):
                lane[(12 + 2 * c) * LANES + i] = field[v, c, 0]
                lane[(13 + 2 * c) * LANES + i] = field[v, c, 1]
        fill_maps(out, steps, lane)
        for i in range(width):
            for row in range(12):
                values[first + i, row] = out[row * LANES + i]
    cosine = np.empty((terms, terms))
    for k in range(terms):
        for node in range(terms):
            cosine[k, node] = (2 if k else 1) / terms * math.cos(math.pi * k * (node + 0.5) / terms)
    for v in range(voxels):
        for k in range(terms):
            for node in range(terms):
                for row in range(12):
                    series[v, 12 * k + row] += cosine[k, node] * values[v * terms + node, row]
        for k in range(12 * (terms - 2), 12 * terms):
            if abs(series[v, k]) > _TAIL:
                span[v, 1] = -1.0


@numba.njit(cache=True)
def block_maps(maps, lane, spins, steps, step_start, plan, series, first_voxel, end_voxel):
    """Write the map of each pulse for the spins of a block, `spins` of each of its voxels.

    `maps` is ``[played, 12 * LANES]``, `lane` the rows of `rotations.fill_maps`, `series` as from `pulse_series` for
    more voxels than those of the block.
    """
    coefficients, start, span = series[0][first_voxel:end_voxel], series[1], series[2][first_voxel:end_voxel]
    scratch = np.empty(3 * LANES)
    for p in range(len(maps)):
        ready = start[p + 1] > start[p]
        for v in range(len(span)):
            ready = ready and span[v, p, 1] > 0
        if not ready:
            fill_maps(maps[p], steps[step_start[p] : step_start[p + 1]], lane)
            continue
        for i in range(12 * LANES):
            maps[p, i] = 0.0
        for v in range(len(span)):
            first = v * spins
            for i in range(first, first + spins):
                f = lane[3 * LANES + i] + plan[p, 1] * lane[i] + plan[p, 2] * lane[LANES + i]
                scratch[i] = (f + plan[p, 3] * lane[2 * LANES + i] - span[v, p, 0]) / span[v, p, 1]
            _sum_series(maps[p], coefficients[v, start[p] : start[p + 1]], scratch, first, spins)


@numba.njit(cache=True, fastmath=FAST)
def _sum_series(out, series, scratch, first, spins):
    """Add a Chebyshev series at `spins` places of `scratch` from `first` on, whose other rows are overwritten."""
    count, at = np.uint64(spins), np.uint64(first)
    here, now, before = scratch[:LANES], scratch[LANES : 2 * LANES], scratch[2 * LANES :]
    for i in range(count):
        now[at + i], before[at + i] = 1.0, here[at + i]
    for k in range(len(series) // 12):
        for row in range(12):
            c, line = series[12 * k + row], out[row * LANES : (row + 1) * LANES]
            for i in range(count):
                line[at + i] += c * now[at + i]
        for i in range(count):
            following = 2 * here[at + i] * now[at + i] - before[at + i]
            before[at + i] = now[at + i]
            now[at + i] = following
