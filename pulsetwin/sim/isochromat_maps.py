"""The maps of the pulses for a block of spins: exact for each spin, or from a few offsets of each voxel.

Spins of a voxel differ in a pulse only by their offset from the carrier where its gradient is constant, and the map is
a smooth function of that offset: a Chebyshev series of some tens of terms replaces hundreds of spins.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, INNER, LANES, fill_maps

PORTION = 128
"""Voxels that `pulse_series` takes at a time: enough to fill blocks of `LANES`, few enough to keep their series."""

_CORE = 20.0  # half widths of the T2' line that series cover: all but 3 % of the spins
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
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
        Coefficients ``[voxel, number]``; where those of each pulse begin ``[played + 1]``, 12 a term; middle and half
        width of each voxel's offsets in each pulse [Hz] ``[voxel, played, 2]``, the width -1 without a series; the
        spins left out of the series, in the far tails of the T2' line, and where those of each voxel begin; and their
        maps ``[left out, number]``, 12 numbers from a twelfth of each ``pulse * 12`` on.
    """
    spins = places.shape[2]
    far = np.abs(places[:, 3] - voxel[:, 3:4]) > _CORE * voxel[:, 6:7] + 1e-9
    owner, spin = (np.ascontiguousarray(index) for index in np.nonzero(far))
    span = np.full((len(places), len(plan), 2), -1.0)
    parts: list[np.ndarray] = []
    terms, maps = np.zeros(len(plan), np.int64), np.zeros((len(spin), len(plan) * 12))
    for p in np.nonzero((plan[:, 0] > 0) & (plan[:, 5] > 1))[0]:
        offset = places[:, 3] + np.einsum("a,vas->vs", plan[p, 1:4], places[:, :3])
        low, high = (pick(np.where(far, fill, offset), 1) for pick, fill in ((np.min, np.inf), (np.max, -np.inf)))
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
        count = _terms(2 * float(half.max()) * plan[p, 4] * math.pi)
        share = count / spins + len(spin) / far.size
        if plan[p, 5] * (1 - share) < 0.25 * count or PORTION * 12 * (terms.sum() + count) > _ROOM:
            continue
        node = np.cos(math.pi * (np.arange(count) + 0.5) / count)
        asked = np.concatenate(((middle[:, None] + half[:, None] * node).ravel(), offset[owner, spin]))
        whose = np.concatenate((np.repeat(np.arange(len(places)), count), owner))
        values = _maps_at(asked, whose, voxel, field, steps[step_start[p] : step_start[p + 1]])
        series = _cosines(count) @ values[: len(places) * count].reshape(-1, count, 12)
        good = np.abs(series[:, -2:]).max((1, 2)) < _TAIL
        span[:, p] = np.stack((middle, np.where(good, half, -1.0)), 1)
        terms[p], maps[:, 12 * p : 12 * p + 12] = count, values[len(places) * count :]
        parts.append(series.reshape(len(places), -1))
    coefficients = np.ascontiguousarray(np.concatenate([np.zeros((len(places), 0)), *parts], 1))
    start = np.concatenate((np.zeros(1, np.int64), np.cumsum(12 * terms)))
    return coefficients, start, span, spin, np.searchsorted(owner, np.arange(len(places) + 1)), maps


def _terms(z: float) -> int:
    """Return how many terms a function of ``exp(i z x)``, x from -1 to 1, needs: a multiple of 8."""
    return 8 * math.ceil((z + 8 + 5 * z ** (1 / 3)) / 8)


def _cosines(count: int) -> np.ndarray:
    """Return the matrix from values at the nodes to the coefficients of a Chebyshev series."""
    k = np.arange(count)[:, None]
    return np.where(k, 2.0, 1.0) / count * np.cos(math.pi * k * (np.arange(count) + 0.5) / count)


@numba.njit(cache=True, nogil=True)
def _maps_at(offset, owner, voxel, field, steps):
    """Return the maps of spins at offsets from the carrier [Hz] that `owner` says the voxel of, ``[spin, 12]``."""
    channels = field.shape[1]
    lane, out = np.zeros((12 + 2 * channels) * LANES), np.zeros(12 * LANES)
    values = np.empty((len(offset), 12))
    for first in range(0, len(offset), LANES):
        width = min(LANES, len(offset) - first)
        for i in range(width):
            v = owner[first + i]
            lane[3 * LANES + i] = offset[first + i]
            lane[4 * LANES + i], lane[5 * LANES + i] = voxel[v, 4], voxel[v, 5]
            for c in range(channels):
                lane[(12 + 2 * c) * LANES + i] = field[v, c, 0]
                lane[(13 + 2 * c) * LANES + i] = field[v, c, 1]
        fill_maps(out, steps, lane)
        for i in range(width):
            for row in range(12):
                values[first + i, row] = out[row * LANES + i]
    return values


@numba.njit(inline="always", **INNER)
def block_maps(maps, lane, spins, steps, step_start, plan, series, first_voxel, end_voxel, first_spin):
    """Write the map of each pulse for the spins of a block, `spins` of each of its voxels from `first_spin` on.

    `maps` is ``[played, 12 * LANES]``, `lane` the rows of `rotations.fill_maps`, `series` as from `pulse_series` for
    more voxels than those of the block.
    """
    coefficients, start, span, far, far_start, far_maps = series
    scratch = np.empty(3 * LANES)
    for p in range(len(maps)):
        ready = start[p + 1] > start[p]
        for v in range(first_voxel, end_voxel):
            ready = ready and span[v, p, 1] > 0
        if not ready:
            fill_maps(maps[p], steps[step_start[p] : step_start[p + 1]], lane)
            continue
        for i in range(12 * LANES):
            maps[p, i] = 0.0
        for v in range(first_voxel, end_voxel):
            first = (v - first_voxel) * spins
            for i in range(first, first + spins):
                f = lane[3 * LANES + i] + plan[p, 1] * lane[i] + plan[p, 2] * lane[LANES + i]
                x = (f + plan[p, 3] * lane[2 * LANES + i] - span[v, p, 0]) / span[v, p, 1]
                scratch[i] = min(max(x, -1.0), 1.0)
            _sum_series(maps[p], coefficients[v, start[p] : start[p + 1]], scratch, first, spins)
            for e in range(far_start[v], far_start[v + 1]):
                i = far[e] - first_spin
                if 0 <= i < spins:
                    for row in range(12):
                        maps[p, row * LANES + first + i] = far_maps[e, 12 * p + row]


@numba.njit(fastmath=FAST, **INNER)
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
