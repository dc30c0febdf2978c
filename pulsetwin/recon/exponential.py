"""One time constant of many voxels: ``a + b exp(-t / T)``, by a search over T in which a and b follow, then descent."""

from __future__ import annotations

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.levenberg import Fitted, Model, levenberg

_GRID = 96  # values of T at which the search begins
_BLOCK = 8192
_FAR = 1e3  # how much larger than the data a and b may be


def fit_exponential(
    data: np.ndarray,
    times: np.ndarray,
    span: tuple[float, float],
    *,
    offset: bool = True,
    signed: bool = True,
    progress: Progress = silent,
    what: str = "fitting",
) -> Fitted:
    """Return b, T [s] and, with `offset`, a, ``[parameter, voxel]``: the least-squares estimates.

    For each T, a and b are a linear problem, so that the search has one dimension (variable projection; Golub and
    Pereyra 1973, doi:10.1137/0710036).

    Parameters
    ----------
    data
        ``[voxel, image]``, of any scale.
    times
        t of each image [s], ``[image]``.
    span
        Between which T is searched [s].
    offset
        Whether a is fitted; 0 if not.
    signed
        Whether `data` have signs. Those of magnitudes are taken as those of a curve that crosses 0 at most once, where
        it is least: the images before it are negative.
    progress, what
        Called with voxels done, their number and `what`.

    Raises
    ------
    ShapeError
        If there are fewer times than unknowns, or not as many as images.
    """
    unknowns = 3 if offset else 2
    if data.shape[1:] != times.shape or len(np.unique(times)) < unknowns:
        raise ShapeError(f"{data.shape[1]} images at {len(np.unique(times))} times: give at least {unknowns} times")
    scale = np.abs(data).max(1, initial=0)
    scaled = data / np.where(scale > 0, scale, 1)[:, None]
    found = _fit(scaled, times, span, offset, progress, what)
    for turned in () if signed else _crossings(scaled, times):
        found = found.improved(_fit(turned, times, span, offset, progress, f"{what}, signs"))
    return found.scaled(np.stack((scale, np.ones_like(scale), scale))[:unknowns], scale)


def _fit(
    data: np.ndarray, times: np.ndarray, span: tuple[float, float], offset: bool, progress: Progress, what: str
) -> Fitted:
    """Return the least-squares estimates from data with signs."""
    constants = np.geomspace(*span, _GRID)
    start = _linear(data, times, constants[_search(data, times, constants, offset)], offset)
    low, high = np.array([-_FAR, span[0], -_FAR])[: len(start)], np.array([_FAR, span[1], _FAR])[: len(start)]
    return levenberg(_model(times, offset), data, start, low, high, progress=progress, what=what)


def _crossings(data: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return magnitudes that are negative before the time of the least one, and up to it."""
    order = np.argsort(times, kind="stable")
    rank = np.argsort(order, kind="stable")
    least = np.argmin(data[:, order], 1)[:, None]
    return np.where(rank < least, -data, data), np.where(rank <= least, -data, data)


def _search(data: np.ndarray, times: np.ndarray, constants: np.ndarray, offset: bool) -> np.ndarray:
    """Return which of the time constants explains most of each voxel, ``[voxel]``."""
    best = np.zeros(len(data), int)
    columns = [
        np.linalg.qr(np.stack((np.exp(-times / constant), np.ones_like(times))[: 2 if offset else 1], 1))[0]
        for constant in constants
    ]
    bases = np.stack(columns, 2).swapaxes(0, 1)
    for first in range(0, len(data), _BLOCK):
        rows = slice(first, first + _BLOCK)
        best[rows] = sum((data[rows] @ one) ** 2 for one in bases).argmax(1)
    return best


def _linear(data: np.ndarray, times: np.ndarray, constant: np.ndarray, offset: bool) -> np.ndarray:
    """Return b, T and a that are best for a given T, ``[parameter, voxel]``."""
    decay = np.exp(-times / constant[:, None])
    mean = (decay.mean(1, keepdims=True), data.mean(1, keepdims=True)) if offset else (0.0, 0.0)
    varied = decay - mean[0]
    b = np.einsum("vi,vi->v", varied, data) / np.maximum(np.einsum("vi,vi->v", varied, varied), 1e-300)
    if not offset:
        return np.stack((b, constant))
    return np.stack((b, constant, mean[1][:, 0] - b * mean[0][:, 0]))


def _model(times: np.ndarray, offset: bool) -> Model:
    def model(values: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        b, constant = values[0][:, None], values[1][:, None]
        decay = np.exp(-times / constant)
        slopes = [decay, b * decay * times / constant**2]
        if not offset:
            return b * decay, np.stack(slopes)
        return values[2][:, None] + b * decay, np.stack([*slopes, np.ones_like(decay)])

    return model
