"""Nonlinear least squares of many voxels at once: Levenberg-Marquardt within bounds, with standard deviations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.progress import Progress, silent

Model = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From parameters ``[parameter, voxel]`` and the voxels' rows ``[voxel]`` to what they predict ``[voxel, sample]`` and
its derivatives ``[parameter, voxel, sample]``."""

_BLOCK = 2048  # voxels at a time, whose derivatives then stay in the processor's cache
_STEPS = 60
_DAMPING, _MOST_DAMPING = 1e-3, 1e12
_SETTLED = 1e-9  # decrease of the sum of squares, relative to itself, below which it is no longer worth a step
_EXACT = 1e-24  # sum of squares, relative to that of the data, that is rounding


@dataclass(frozen=True, slots=True)
class Fitted:
    """Estimates of each voxel.

    Parameters
    ----------
    values
        Parameters, ``[parameter, voxel]``.
    deviation
        Their standard deviations, for noise as large as what the fit leaves: the root of the diagonal of
        ``(J^T J)^-1 misfit / (samples - parameters)``, ``[parameter, voxel]``. Not finite where there are as many
        parameters as samples; 0 where a parameter changes nothing.
    misfit
        Sum of squares of what the fit leaves, ``[voxel]``.
    """

    values: np.ndarray
    deviation: np.ndarray
    misfit: np.ndarray

    def scaled(self, parameters: np.ndarray, data: np.ndarray) -> Fitted:
        """Return them in other units: factors of the parameters ``[parameter, voxel]`` and of the data ``[voxel]``."""
        return Fitted(self.values * parameters, self.deviation * parameters, self.misfit * data**2)

    def improved(self, other: Fitted, rows: np.ndarray | slice = slice(None)) -> Fitted:
        """Return a copy with the estimates of `other`, which are of the voxels `rows`, where their misfit is less."""
        better = other.misfit < self.misfit[rows]
        chosen = {}
        for name in ("values", "deviation", "misfit"):
            mine, theirs = getattr(self, name).copy(), getattr(other, name)
            mine[..., rows] = np.where(better, theirs, mine[..., rows])
            chosen[name] = mine
        return Fitted(**chosen)


def levenberg(
    model: Model,
    data: np.ndarray,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    reach: np.ndarray | None = None,
    progress: Progress = silent,
    what: str = "fitting",
) -> Fitted:
    """Return the parameters between `low` and `high` that minimise ``|data - model|^2``, voxel by voxel.

    Steps are those of Marquardt 1963 (doi:10.1137/0111030), damped by the diagonal of ``J^T J`` and cut at the bounds;
    a parameter at a bound rests there as long as the gradient leads out.

    Parameters
    ----------
    model
        What parameters predict, and its derivatives.
    data
        Real ``[voxel, sample]``; not changed.
    start
        ``[parameter, voxel]``.
    low, high
        Bounds, ``[parameter]``.
    reach
        By how much a step may change each parameter, ``[parameter]``: where a model oscillates or saturates, a longer
        one leads astray. None for no limit.
    progress
        Called with voxels done, their number and `what`.

    Raises
    ------
    ShapeError
        If the shapes do not agree, or there are fewer samples than parameters.
    """
    parameters, voxels = start.shape
    if data.ndim != 2 or len(data) != voxels or len(low) != parameters or len(high) != parameters:
        raise ShapeError(f"data {data.shape}, start {start.shape}: give [voxel, sample] and [parameter, voxel]")
    if data.shape[1] < parameters:
        raise ShapeError(f"{data.shape[1]} images for {parameters} unknowns: give at least as many images")
    reach = np.full(parameters, np.inf) if reach is None else reach
    values, deviation, misfit = np.empty(start.shape), np.empty(start.shape), np.empty(voxels)
    for first in range(0, voxels, _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, voxels))
        some = _block(
            model, np.asarray(data[rows], np.float64), start[:, rows], (low[:, None], high[:, None]), reach, rows
        )
        values[:, rows], deviation[:, rows], misfit[rows] = some
        progress(int(rows[-1]) + 1, voxels, what)
    return Fitted(values, deviation, misfit)


def _block(
    model: Model, data: np.ndarray, start: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], reach: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return values, deviations and misfits of the voxels `rows`."""
    values = np.clip(start, *bounds)
    curve, pull, misfit = _normal(model, values, data, rows)
    damping, exact = np.full(len(rows), _DAMPING), _EXACT * np.einsum("vs,vs->v", data, data)
    active = np.nonzero(misfit > exact)[0]
    for _ in range(_STEPS):
        if not len(active):
            break
        here = values[:, active]
        step, gain = _step(curve[active], pull[active], damping[active], here, bounds)
        trial = np.clip(here + step / np.maximum(np.abs(step / reach[:, None]).max(0), 1), *bounds)
        new_curve, new_pull, new_misfit = _normal(model, trial, data[active], rows[active])
        better = new_misfit <= misfit[active]
        kept = active[better]
        settled = (gain <= _SETTLED * misfit[active]) | (new_misfit <= exact[active])
        values[:, kept], misfit[kept] = trial[:, better], new_misfit[better]
        curve[kept], pull[kept] = new_curve[better], new_pull[better]
        damping[active] *= np.where(better, 0.1, 10.0)
        active = active[~(settled & better) & (damping[active] < _MOST_DAMPING)]
    spare = data.shape[1] - len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(misfit > 0, misfit / spare, 0.0) if spare else np.full(len(rows), np.inf)
        return values, np.sqrt(_unit_variance(curve).T * variance), misfit


def _normal(
    model: Model, values: np.ndarray, data: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``J^T J`` ``[voxel, parameter, parameter]``, ``J^T r`` ``[voxel, parameter]``, ``r^T r`` ``[voxel]``."""
    predicted, slopes = model(values, rows)
    left, count = data - predicted, len(values)
    curve, pull = np.empty((len(data), count, count)), np.empty((len(data), count))
    for one in range(count):
        np.einsum("vs,vs->v", slopes[one], left, out=pull[:, one])
        for other in range(one + 1):
            curve[:, one, other] = curve[:, other, one] = np.einsum("vs,vs->v", slopes[one], slopes[other])
    return curve, pull, np.einsum("vs,vs->v", left, left)


def _step(
    curve: np.ndarray, pull: np.ndarray, damping: np.ndarray, values: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped step ``[parameter, voxel]`` and what it would gain without bounds beyond, ``[voxel]``."""
    resting = (((values <= bounds[0]) & (pull.T < 0)) | ((values >= bounds[1]) & (pull.T > 0))).T
    size = np.einsum("vpp->vp", curve)
    resting |= size <= 0
    moving = ~resting
    scale = moving / np.sqrt(np.where(resting, 1.0, size))
    correlation = curve * scale[:, :, None] * scale[:, None, :]
    np.einsum("vpp->vp", correlation)[:] = 1.0 + damping[:, None]
    step = np.linalg.solve(correlation, (pull * scale)[..., None])[..., 0] * scale
    return step.T, np.einsum("vp,vp->v", step, pull)


def _unit_variance(curve: np.ndarray) -> np.ndarray:
    """Return the diagonal of the inverse of ``J^T J``, ``[voxel, parameter]``, 0 for parameters without effect."""
    size = np.einsum("vpp->vp", curve)
    scale = (size > 0) / np.sqrt(np.where(size > 0, size, 1.0))
    inverse = np.linalg.pinv(curve * scale[:, :, None] * scale[:, None, :], rcond=1e-13, hermitian=True)
    return np.maximum(np.einsum("vpp->vp", inverse), 0) * scale**2
