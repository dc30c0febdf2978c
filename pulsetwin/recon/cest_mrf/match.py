"""Which entry of a dictionary is most alike each voxel: the largest inner product of unit vectors, among all allowed.

Entries are compared in tiles of neighbours. First a few principal components in single precision tell the largest inner
product in each tile, up to an error that is bounded, and tiles too far from a voxel are left out; then only the tiles
that can hold the best entry are computed in double precision. The result is that of trying all entries in double
precision. Where maps of the voxels constrain parameters, entries are sorted by those, so that whole tiles are left out
or need no further test.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.dictionary import Dictionary
from pulsetwin.recon.cest_mrf.match_kernel import TILE, TOGETHER, best_in_tiles, largest_in_tiles

Windows = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Least and greatest value that each constrained parameter may have, ``[voxel]``."""
_VOXELS = 256  # of a piece of work
_AIM = 3e-5  # error that leaving out components may cause: more costs tiles that are computed again, less components
_ROUNDING = 2.0**-24
_SLACK = 1e-5  # of bounds of a tile's products, for their rounding
_CELLS = 64  # values of a parameter by which entries are sorted; of more, parts of its range


@dataclass(frozen=True, slots=True)
class Matched:
    """What was found.

    Parameters
    ----------
    entry
        Row of the dictionary, int64 ``[voxel]``; -1 where none is allowed, or the voxel has no direction.
    likeness
        Inner product of unit vectors, float64 ``[voxel]``.
    """

    entry: np.ndarray
    likeness: np.ndarray


def match(
    data: np.ndarray,
    dictionary: Dictionary,
    windows: Windows | None = None,
    *,
    loss: float = 0.0,
    threads: int = 1,
    memory: float = 2e9,
    progress: Progress = silent,
) -> Matched:
    """Return the entry of the largest inner product ``d . s / (|d| |s|)`` for each voxel; the first where several are.

    Parameters
    ----------
    data
        ``[voxel, measurement]``, of any scale.
    dictionary
        Entries, of any scale; those without signal are never the best.
    windows
        Ranges, ends included, in which parameters must lie.
    loss
        By how much the inner product of the entry that is returned may be less than the largest: 0 for the result of
        trying all in double precision; 1e-6, say, takes less time.
    threads
        Number of them.
    memory
        What the dictionary and its copies may take [bytes]; of a larger one, parts are compared in turn.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ShapeError
        If data and dictionary have different numbers of measurements.
    ProtocolError
        If a constrained parameter is not in the dictionary.
    """
    windows, names = windows or {}, dictionary.grid.names
    records = dictionary.signals.shape[1]
    if data.ndim != 2 or data.shape[1] != records:
        raise ShapeError(f"data are {data.shape}, the dictionary has {records} measurements: give [voxel, measurement]")
    for name in windows:
        if name not in names:
            raise ProtocolError(f"{name} is constrained but not in the dictionary, which varies {', '.join(names)}")
    limits = _limits(windows, len(data))
    unit = _unit(np.asarray(data, np.float64))
    found = Matched(np.full(len(data), -1), np.full(len(data), -np.inf))
    usable = np.isfinite(unit).all(1)
    rows = np.nonzero(usable)[0]
    size = max(TILE, int(memory / (6 * 8 * records)))
    total = len(dictionary.signals)
    columns = [names.index(name) for name in windows]
    for begin in range(0, total, size):
        units, row = _directed(dictionary.signals[begin : begin + size], begin)
        if not len(row):
            continue
        tiles = _tiles(units, dictionary.grid.rows(row)[:, columns], row, unit[rows], loss)

        def piece(first: int, tiles: _Tiles = tiles) -> None:
            here = rows[first : first + _VOXELS]
            entry, likeness = _compare(unit[here], tiles, limits[:, here], loss)
            better = likeness > found.likeness[here]
            found.entry[here[better]], found.likeness[here[better]] = entry[better], likeness[better]

        with ThreadPoolExecutor(threads) as pool:
            starts = range(0, len(rows), _VOXELS)
            for first, _ in zip(starts, pool.map(piece, starts), strict=True):
                done = begin / total * len(rows) + min(first + _VOXELS, len(rows)) * min(size, total - begin) / total
                progress(round(done), len(rows), "match")
    return found


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Entries in tiles; the last one is filled with its last entry.

    Parameters
    ----------
    units
        float64 ``[tile, measurement, TILE]``.
    parts
        Components about the mean, and what the mean adds, float32 ``[tile, component + 1, TILE]``.
    centres, radii
        Of the tiles in the space of the components: float32 ``[component, tile]``, and ``[tile]``.
    basis
        Components, float64 ``[measurement, component]``.
    mean
        Of the units, ``[measurement]``.
    rest
        Greatest length of what the components leave of an entry.
    largest
        Greatest length of components, and greatest of what the mean adds.
    row
        Of each entry in the dictionary, int64 ``[tile, TILE]``.
    values
        Of constrained parameters, float64 ``[parameter, tile, TILE]``.
    """

    units: np.ndarray
    parts: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    basis: np.ndarray
    mean: np.ndarray
    rest: float
    largest: tuple[float, float]
    row: np.ndarray
    values: np.ndarray


def _directed(signals: np.ndarray, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors of signals that have a direction, and their rows, counted from `begin` on."""
    units = _unit(np.asarray(signals, np.float64))
    row = np.nonzero(np.isfinite(units).all(1))[0]
    return units[row], begin + row


def _tiles(units: np.ndarray, table: np.ndarray, row: np.ndarray, data: np.ndarray, loss: float) -> _Tiles:
    """Return entries in tiles, sorted by the constrained parameters in `table`, ``[entry, parameter]``."""
    mean = units.mean(0)
    centred = units - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    count, rest = _components(centred @ axes, (data[:: max(1, len(data) // 1000)] - mean) @ axes, max(loss, _AIM))
    basis = axes[:, :count]
    rotated = centred @ basis
    order = _sorted(table) if table.shape[1] else _neighbours(rotated)
    order = np.concatenate((order, np.repeat(order[-1:], -len(order) % TILE)))
    rotated, added = rotated[order], (centred @ mean)[order]
    largest = float(np.linalg.norm(rotated, axis=1).max()), float(np.abs(added).max())
    parts = _in_tiles(_padded(np.concatenate((rotated, added[:, None]), 1)))
    centres = parts[:, :count].mean(2)
    radii = np.linalg.norm(parts[:, :count] - centres[..., None], axis=1).max(1)
    return _Tiles(
        _in_tiles(units[order]), parts, np.ascontiguousarray(centres.T), radii, basis, mean, rest, largest,
        row[order].reshape(-1, TILE), table.T[:, order].reshape(table.shape[1], len(order) // TILE, TILE),
    )  # fmt: skip


def _components(rotated: np.ndarray, data: np.ndarray, aim: float) -> tuple[int, float]:
    """Return how many components leave so little that it changes typical inner products by less than `aim`."""
    left, of_data = (np.cumsum(one[:, ::-1] ** 2, 1)[:, ::-1] for one in (rotated, data))
    rest = np.append(np.sqrt(left.max(0)), 0.0)
    typical = np.append(np.sqrt(np.median(of_data, 0)), 0.0) if len(data) else np.ones(len(rest))
    count = max(1, int(np.argmax(4 * rest * typical <= aim)))
    return count, float(rest[count])


def _compare(unit: np.ndarray, tiles: _Tiles, limits: np.ndarray, loss: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the best rows and likenesses of voxels, ``[voxel]``."""
    about = unit - tiles.mean
    parts = about @ tiles.basis
    length = np.linalg.norm(parts, axis=1)
    beyond = np.linalg.norm(about - parts @ tiles.basis.T, axis=1) if tiles.rest else 0.0
    rounding = (parts.shape[1] + 6) * _ROUNDING * (length * tiles.largest[0] + tiles.largest[1])
    doubt = 2 * (beyond * tiles.rest + rounding)
    ends = np.stack((tiles.values.min(2), tiles.values.max(2)))
    given = _padded(np.concatenate((parts, np.ones((len(parts), 1))), 1))
    screened = np.empty((len(unit), len(tiles.parts)), np.float32)
    most = (length**2 + 1 - tiles.mean @ tiles.mean) / 2
    less = np.maximum(doubt - loss, 0.0)
    largest_in_tiles(
        given, tiles.parts, tiles.centres, tiles.radii, most.astype(np.float32), (less + _SLACK).astype(np.float32),
        limits, ends, screened,
    )  # fmt: skip
    floor = np.where(np.isposinf(screened), -np.inf, screened).max(1) - less
    return best_in_tiles(unit, tiles.units, tiles.row, tiles.values, limits, screened, floor)


def _limits(windows: Windows, voxels: int) -> np.ndarray:
    """Return the windows as one array, ``[parameter, voxel, 2]``."""
    limits = np.zeros((len(windows), voxels, 2))
    for at, (name, ends) in enumerate(windows.items()):
        if any(np.shape(end) != (voxels,) for end in ends):
            raise ShapeError(f"window of {name} is {np.shape(ends[0])}: give both ends of {voxels} voxels")
        limits[at] = np.stack(ends, 1)
    return limits


def _sorted(table: np.ndarray) -> np.ndarray:
    """Return the order of entries by cells of the parameters, ``[entry]``."""
    cells = []
    for values in table.T:
        known, cell = np.unique(values, return_inverse=True)
        if len(known) > _CELLS:
            parts = max(2, round((len(values) / TILE) ** (1 / table.shape[1])))
            cell = np.argsort(np.argsort(values, kind="stable")) * parts // len(values)
        cells.append(cell)
    return np.lexsort(cells[::-1])


def _neighbours(points: np.ndarray) -> np.ndarray:
    """Return an order, ``[entry]``, in which tiles hold neighbours: halves along the longest axis, again and again."""
    order, parts = np.arange(len(points)), [(0, len(points))]
    while parts:
        begin, end = parts.pop()
        if end - begin > TILE:
            here = points[order[begin:end]]
            middle = TILE * -(-(end - begin) // (2 * TILE))
            halves = np.argpartition(here[:, np.ptp(here, axis=0).argmax()], middle - 1)
            order[begin:end] = order[begin:end][halves]
            parts += [(begin, begin + middle), (begin + middle, end)]
    return order


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of unit length; not finite where they have no direction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _padded(vectors: np.ndarray) -> np.ndarray:
    """Return vectors in single precision, with components of 0 up to a number that the kernel adds together."""
    return np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % TOGETHER))).astype(np.float32)


def _in_tiles(vectors: np.ndarray) -> np.ndarray:
    """Return ``[entry, component]`` as ``[tile, component, TILE]``."""
    return np.ascontiguousarray(vectors.reshape(-1, TILE, vectors.shape[1]).transpose(0, 2, 1))
