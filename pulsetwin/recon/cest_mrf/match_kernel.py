"""Inner products of voxels with tiles of a dictionary: the largest of each tile, and the best of those that count."""

from __future__ import annotations

import numba
import numpy as np

TILE = 128
"""Entries of a tile."""
TOGETHER = 4
"""Components that are added at a time, which the number of components is a multiple of."""


_FAST = {"nsz", "nnan", "contract", "reassoc"}


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def largest_in_tiles(
    data: np.ndarray, tiles: np.ndarray, centres: np.ndarray, radii: np.ndarray, most: np.ndarray, slack: np.ndarray,
    limits: np.ndarray, ends: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Write the largest inner product in each tile, in single precision.

    Vectors are about the mean of all entries: a product is at most `most` less half the square of the distance.

    Parameters
    ----------
    data
        float32 ``[voxel, component]``.
    tiles
        float32 ``[tile, component, TILE]``.
    centres, radii
        Of the tiles: float32 ``[component, tile]``, and the greatest distance from them, ``[tile]``.
    most
        float32 ``[voxel]``.
    slack
        How much less than the largest product a tile's may be that is looked at, float32 ``[voxel]``.
    limits
        What parameters may be in each voxel, float64 ``[parameter, voxel, 2]``.
    ends
        Least and greatest value of the parameters in each tile, float64 ``[2, parameter, tile]``.
    out
        float32 ``[voxel, tile]``; minus infinity where no entry of the tile is allowed or can be the best, and infinity
        where some may be.
    """
    apart = np.empty(tiles.shape[0], np.float32)
    products = np.empty(TILE, np.float32)
    for v in range(data.shape[0]):
        apart[:] = 0
        for k in range(centres.shape[0]):
            for t in range(tiles.shape[0]):
                apart[t] += (data[v, k] - centres[k, t]) ** 2
        first = np.argmin(apart)
        largest = np.float32(-np.inf)
        for n in range(-1, tiles.shape[0]):
            t = first if n < 0 else n
            beyond = max(np.sqrt(apart[t]) - radii[t], np.float32(0))
            outside, partial = _allowed(limits, ends, v, t)
            if outside or most[v] - beyond**2 / 2 < largest - slack[v]:
                out[v, t] = -np.inf
            elif partial:
                out[v, t] = np.inf
            else:
                out[v, t] = _largest(data[v], tiles[t], products)
                largest = max(largest, out[v, t])


@numba.njit(nogil=True, inline="always")
def _allowed(limits: np.ndarray, ends: np.ndarray, v: int, t: int) -> tuple[bool, bool]:
    """Return whether no entry of a tile is allowed in a voxel, and whether some may not be."""
    outside = partial = False
    for p in range(limits.shape[0]):
        low, high = limits[p, v]
        outside |= not (ends[1, p, t] >= low and ends[0, p, t] <= high)
        partial |= ends[0, p, t] < low or ends[1, p, t] > high
    return outside, partial


@numba.njit(nogil=True, fastmath=_FAST)
def _largest(data: np.ndarray, tile: np.ndarray, products: np.ndarray) -> np.float32:
    """Return the largest inner product in a tile."""
    products[:] = 0
    for k in range(0, data.shape[0], TOGETHER):
        a, b, c, d = data[k], data[k + 1], data[k + 2], data[k + 3]
        for w in range(TILE):
            products[w] += (a * tile[k, w] + b * tile[k + 1, w]) + (c * tile[k + 2, w] + d * tile[k + 3, w])
    largest = products[0]
    for w in range(TILE):
        largest = max(largest, products[w])
    return largest


@numba.njit(nogil=True, cache=True)
def best_in_tiles(
    data: np.ndarray, tiles: np.ndarray, row: np.ndarray, values: np.ndarray, limits: np.ndarray, screened: np.ndarray,
    floor: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return row and inner product of the best allowed entry of tiles whose `screened` value is at least `floor`.

    Sums run over the measurements in their order, in double precision. Of equal entries that of the least row is taken.

    Parameters
    ----------
    data
        float64 ``[voxel, measurement]``.
    tiles
        float64 ``[tile, measurement, TILE]``.
    row
        int64 ``[tile, TILE]``.
    values
        Constrained parameters, float64 ``[parameter, tile, TILE]``.
    limits, screened
        As of `largest_in_tiles`.
    floor
        float64 ``[voxel]``.
    """
    best = np.full(data.shape[0], -np.inf)
    found = np.full(data.shape[0], -1)
    products = np.empty(TILE)
    for v in range(data.shape[0]):
        for t in range(tiles.shape[0]):
            if screened[v, t] == -np.inf or screened[v, t] < floor[v]:
                continue
            products[:] = 0
            for k in range(data.shape[1]):
                for w in range(TILE):
                    products[w] += data[v, k] * tiles[t, k, w]
            for w in range(TILE):
                if products[w] > best[v] or (products[w] == best[v] and row[t, w] < found[v]):
                    allowed = True
                    for p in range(limits.shape[0]):
                        allowed &= limits[p, v, 0] <= values[p, t, w] <= limits[p, v, 1]
                    if allowed:
                        best[v], found[v] = products[w], row[t, w]
    return found, best
