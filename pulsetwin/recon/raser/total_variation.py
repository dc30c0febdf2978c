"""The image that suits normal equations best, is not negative and has a small total variation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import block_array, csr_array, diags_array, eye_array, kron, vstack

from pulsetwin.errors import ProtocolError, ShapeError

_KEEP = 0.9  # of the way to 0 that a pixel or its multiplier goes in one step at most
_BARRIER, _SMOOTH = (1.0, 0.3, 1e-2), (0.1, 0.4, 3e-3)  # at first, from iteration to iteration, and at last
_STEP = 3e-3  # relative change of the image at which it is found


class Minimum(NamedTuple):
    """An image ``[pixel]`` and the curvature ``[pixel, pixel]`` of the penalised chi squared / 2 there."""

    image: np.ndarray
    curvature: np.ndarray


def differences(matrix: tuple[int, int]) -> csr_array:
    """Return the differences to the next pixel along y, then along x, 0 at the far edges: ``[2 * pixel, pixel]``."""

    def along(count: int) -> csr_array:
        ones = np.ones(count)
        ones[-1] = 0
        return diags_array([-ones, ones[:-1]], offsets=[0, 1], shape=(count, count))

    y, x = matrix
    return csr_array(vstack([kron(along(y), eye_array(x)), kron(eye_array(y), along(x))]))


def minimise(
    normal: np.ndarray, right: np.ndarray, gradient: csr_array, start: np.ndarray, weight: float, iterations: int = 40
) -> Minimum:
    """Minimise ``x' N x / 2 - r' x + weight sum |grad x|`` over images that are not negative.

    A primal-dual barrier method: positivity by multipliers, total variation by the dual of Chan, Golub and Mulet, whose
    Newton steps are good far from the minimum. Lengths of gradients are smoothed by 0.003 of the start's largest pixel;
    give images whose largest pixel is about 1.

    Parameters
    ----------
    normal, right
        N and r, ``[pixel, pixel]`` and ``[pixel]``: curvature and negative slope at 0 of chi squared / 2.
    gradient
        From `differences`.
    start
        Where to begin, ``[pixel]``.
    weight
        Of the total variation, above 0.
    iterations
        Most of them.

    Raises
    ------
    ShapeError
        If shapes disagree.
    ProtocolError
        If the weight is not above 0.
    numpy.linalg.LinAlgError
        If N is not positive semidefinite.

    References
    ----------
    Chan, Golub and Mulet 1999, doi:10.1137/S1064827596299767.
    """
    if normal.shape != 2 * right.shape or start.shape != right.shape or gradient.shape[1] != len(right):
        raise ShapeError(f"normal {normal.shape}, right {right.shape}, gradient {gradient.shape}: of one image, please")
    if not weight > 0:
        raise ProtocolError(f"weight of the total variation {weight:g}: give a number above 0")
    scale = max(float(start.max()), np.finfo(float).tiny)
    image = np.maximum(start, 1e-3 * scale)
    barrier, smooth = _BARRIER[0], _SMOOTH[0] * scale
    multiplier, dual = barrier / image, np.zeros((2, gradient.shape[0] // 2))
    for _ in range(iterations):
        barrier, smooth = max(barrier * _BARRIER[1], _BARRIER[2]), max(smooth * _SMOOTH[1], _SMOOTH[2] * scale)
        slopes = (gradient @ image).reshape(2, -1)
        length = np.sqrt((slopes**2).sum(0) + smooth**2)
        unit = slopes / length
        curvature = _plus(normal, weight * (gradient.T @ _bending(unit, dual, length) @ gradient), multiplier / image)
        uphill = normal @ image - right + weight * (gradient.T @ unit.ravel())
        step = _solved(curvature, barrier / image - uphill)
        change = (gradient @ step).reshape(2, -1)
        dual = unit + (change - unit * (dual * change).sum(0)) / length
        dual /= np.maximum(np.sqrt((dual**2).sum(0)), 1)
        towards = barrier / image - multiplier / image * step - multiplier
        moved = _share(image, step) * step
        image, multiplier = image + moved, multiplier + _share(multiplier, towards) * towards
        at_last = barrier == _BARRIER[2] and smooth == _SMOOTH[2] * scale
        if at_last and np.linalg.norm(moved) < _STEP * np.linalg.norm(image):
            break
    return Minimum(image, curvature)


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``A^-1 b`` of a positive definite matrix: torch's factors take half as long as those of scipy."""
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    if failed:
        raise np.linalg.LinAlgError(f"minor {int(failed)} of the penalised equations is not positive")
    return torch.cholesky_solve(torch.from_numpy(right)[:, None], factor)[:, 0].numpy()


def _plus(matrix: np.ndarray, sparse: csr_array, diagonal: np.ndarray) -> np.ndarray:
    """Return the sum of a full, a sparse and a diagonal matrix."""
    total = matrix.copy()
    some = sparse.tocoo()
    some.sum_duplicates()
    total[some.coords] += some.data
    total[np.diag_indices_from(total)] += diagonal
    return total


def _bending(unit: np.ndarray, dual: np.ndarray, length: np.ndarray) -> csr_array:
    """Return the second derivative of the gradient's length, its directions mixed with those of the dual."""
    across = -0.5 * (dual[0] * unit[1] + dual[1] * unit[0]) / length
    along = [diags_array((1 - dual[axis] * unit[axis]) / length) for axis in (0, 1)]
    return csr_array(block_array([[along[0], diags_array(across)], [diags_array(across), along[1]]]))


def _share(values: np.ndarray, step: np.ndarray) -> float:
    """Return how much of a step may be made with all values staying above 0."""
    return min(1.0, _KEEP / max(float((-step / values).max()), 1e-300))
