"""One time constant of many voxels: ``a + b exp(-t / T)``, by a search over T in which a and b follow, then descent."""

from __future__ import annotations

from dataclasses import replace

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
    constants = np.geomspace(*span, _GRID)
    bases = [_basis(times, constant, offset) for constant in constants]
    if signed:
        best = _search(scaled, bases)[0]
    else:
        scaled, best = _with_signs(scaled, times, bases)
    start = _linear(scaled, times, constants[best], offset)
    low, high = np.array([-_FAR, span[0], -_FAR])[:unknowns], np.array([_FAR, span[1], _FAR])[:unknowns]
    found = levenberg(_model(times, offset), scaled, start, low, high, progress=progress, what=what)
    unit = np.stack((scale, np.ones_like(scale), scale))[:unknowns]
    return replace(found, values=found.values * unit, deviation=found.deviation * unit, misfit=found.misfit * scale**2)


def _basis(times: np.ndarray, constant: float, offset: bool) -> np.ndarray:
    """Return orthonormal rows that span what a and b can make, ``[1 or 2, image]``."""
    columns = np.stack((np.exp(-times / constant), np.ones_like(times))[: 2 if offset else 1], 1)
    return np.linalg.qr(columns)[0].T


def _search(data: np.ndarray, bases: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return which basis explains most of each voxel, and how much, ``[voxel]``."""
    best, most = np.zeros(len(data), int), np.zeros(len(data))
    joined = np.stack(bases, 2)
    for first in range(0, len(data), _BLOCK):
        rows = slice(first, first + _BLOCK)
        explained = sum((data[rows] @ one.reshape(len(one), -1)) ** 2 for one in joined)
        best[rows], most[rows] = explained.argmax(1), explained.max(1)
    return best, most


def _with_signs(data: np.ndarray, times: np.ndarray, bases: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return magnitudes with the signs that are explained best, and which basis does."""
    order = np.argsort(times, kind="stable")
    rank = np.argsort(order, kind="stable")
    least = np.argmin(data[:, order], 1)[:, None]
    best, most = _search(data, bases)
    result = data.copy()
    for negative in (least, least + 1):
        turned = np.where(rank < negative, -data, data)
        other, explained = _search(turned, bases)
        better = explained > most
        best, most = np.where(better, other, best), np.where(better, explained, most)
        result[better] = turned[better]
    return result, best


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
