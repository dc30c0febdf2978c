"""CEST-MRF voxel by voxel: nonlinear least squares through the exact model, begun at the best places of a coarse grid.

The squares of the normalised residual often have several minima in fraction and exchange rate, which trade for one
another. A coarse grid tells where they lie; each voxel descends from the deepest few.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans, vq
from scipy.ndimage import minimum_filter

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.problem import Bounds, Estimate, Known, Problem, check_sought, predicted, slopes
from pulsetwin.recon.cest_mrf.uncertainty import deviations
from pulsetwin.recon.levenberg import Model, levenberg

_GRID, _FEWEST = 600, 3  # places of the coarse grid, and at least along each parameter
_TYPICAL = 16  # sets of given values for which the grid is computed
_BLOCK = 512  # voxels whose misfits are compared with the grid at a time


def voxelwise(
    data: np.ndarray,
    problem: Problem,
    free: Bounds,
    given: Known,
    *,
    given_deviation: Known | None = None,
    starts: int = 3,
    threads: int = 1,
    progress: Progress = silent,
) -> Estimate:
    """Return the parameters that minimise ``|data - model|^2`` in each voxel, with standard deviations.

    Parameters
    ----------
    data
        Normalised as `problem` says, real ``[voxel, measurement]``, finite.
    problem
        What was measured.
    free
        Bounds of the parameters that are sought, by the names of the engine.
    given
        Parameters known in each voxel, ``[voxel]``; all others are those of the model.
    given_deviation
        Standard deviations of some of them, ``[voxel]``, which go into those of the estimates.
    starts
        Minima of the coarse grid to descend from, at most.
    threads
        Of the simulation.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If nothing is free, bounds are not in order, a parameter is free and given, or unknown.
    ShapeError
        If there are not as many given values as voxels, or too few measurements.
    """
    check_sought(data, free, given)
    low, high = (np.array(ends) for ends in zip(*free.values(), strict=True))
    model = _model(problem, tuple(free), given, threads)
    places = _starts(data, problem, free, given, starts, threads)
    best = levenberg(model, data, places[0], low, high, progress=progress, what="fit")
    for number, start in enumerate(places[1:], 2):
        rows = np.nonzero(np.isfinite(start).all(0))[0]
        what = f"fit from minimum {number}"
        other = levenberg(_of(model, rows), data[rows], start[:, rows], low, high, progress=progress, what=what)
        better = other.misfit < best.misfit[rows]
        best.values[:, rows[better]] = other.values[:, better]
        best.misfit[rows[better]] = other.misfit[better]
    values = dict(zip(free, best.values, strict=True))
    spread = deviations(problem, values, given, data=data, given_deviation=given_deviation, threads=threads)
    return Estimate(values, spread, best.misfit)


def _model(problem: Problem, names: tuple[str, ...], given: Known, threads: int) -> Model:
    known = np.stack(list(given.values())) if given else None

    def model(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = values if known is None else np.concatenate((values, known[:, rows]))
        signals, derivatives = slopes(problem, (*names, *given), table.T, names, threads)
        return signals, np.moveaxis(derivatives, -1, 0)

    return model


def _of(model: Model, rows: np.ndarray) -> Model:
    """Return the model of some rows of the data."""
    return lambda values, some: model(values, rows[some])


def _starts(data: np.ndarray, problem: Problem, free: Bounds, given: Known, starts: int, threads: int) -> np.ndarray:
    """Return the deepest minima of the grid for each voxel, ``[start, parameter, voxel]``; NaN where there are fewer.

    The grid is computed for a few typical sets of given values.
    """
    axis = max(_FEWEST, round(_GRID ** (1 / len(free))))
    axes = [low + (high - low) * (np.arange(axis) + 0.5) / axis for low, high in free.values()]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(free))
    typical, nearest = _typical(np.array(list(given.values()), np.float64).reshape(len(given), len(data)).T)
    result = np.full((starts, len(free), len(data)), np.nan)
    for number, values in enumerate(typical):
        table = np.hstack((grid, np.tile(values, (len(grid), 1))))
        curves = predicted(problem, (*free, *given), table, threads)
        members = np.nonzero(nearest == number)[0]
        for rows in np.array_split(members, -(-len(members) // _BLOCK)):
            chosen, depth = _minima(data[rows], curves, (axis,) * len(free), starts)
            result[:, :, rows] = np.where(np.isfinite(depth)[..., None], grid[chosen], np.nan).transpose(1, 2, 0)
    return result[: max(1, int(np.isfinite(result).all(1).any(1).sum()))]


def _typical(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return typical sets of the given values ``[voxel, name]``, ``[set, name]``, and the nearest of each voxel."""
    if not given.shape[1]:
        return np.zeros((1, 0)), np.zeros(len(given), np.int64)
    scale = given.std(0)
    scaled = given / np.where(scale > 0, scale, 1.0)
    centres = np.unique(scaled, axis=0)
    if len(centres) > _TYPICAL:
        centres, _ = kmeans(scaled, _TYPICAL, iter=1, seed=0)
    used, nearest = np.unique(vq(scaled, centres)[0], return_inverse=True)
    return np.stack([given[nearest == number].mean(0) for number in range(len(used))]), nearest


def _minima(
    data: np.ndarray, curves: np.ndarray, shape: tuple[int, ...], count: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the places on the grid of the deepest local minima and their misfits, inf where there are no more.

    Both are ``[voxel, count]``.
    """
    misfit = (curves**2).sum(1) - 2 * data @ curves.T
    whole = misfit.reshape(-1, *shape)
    lowest = minimum_filter(whole, size=(1, *(3 for _ in shape)), mode="nearest")
    misfit = np.where((whole == lowest).reshape(misfit.shape), misfit, np.inf)
    order = np.argsort(misfit, 1)[:, :count]
    return order, np.take_along_axis(misfit, order, 1)
