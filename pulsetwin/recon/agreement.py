"""How well maps agree with a reference: NRMSE, MAPE, Pearson's r, ICC(2,1) and SSIM."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.nifti_images import same_grid
from pulsetwin.volume import Volume

_WINDOW, _TRUNCATED = 1.5, 3.5  # standard deviation of the window of SSIM [voxel], and at how many of them it ends
_FLAT = 7  # pixels across the window of `ssim_uniform`
_K1, _K2 = 0.01, 0.03

Image = TypeVar("Image", np.ndarray, Tensor)


def agreement(found: Volume, reference: Volume) -> dict[str, float]:
    """Return the figures of two maps of one grid where both are valid: by name, as in this module.

    Raises
    ------
    ShapeError
        If the grids are not one.
    ProtocolError
        If they share fewer than two valid voxels.
    """
    if not same_grid(found.values.shape, found.affine, reference.values.shape, reference.affine):
        raise ShapeError(
            f"maps are {found.values.shape} and {reference.values.shape}, or lie elsewhere: resample one to the other"
        )
    where = found.valid & reference.valid & np.isfinite(found.values) & np.isfinite(reference.values)
    if where.sum() < 2:
        raise ProtocolError(f"the maps share {int(where.sum())} valid voxels: give two of one object")
    pairs = found.values[where].astype(np.float64), reference.values[where].astype(np.float64)
    simple: tuple[Callable[..., float], ...] = (nrmse, mape, pearson, icc)
    figures = {one.__name__: one(*pairs) for one in simple}
    return figures | {"ssim": ssim(found.values, reference.values, where)}


def nrmse(found: np.ndarray, reference: np.ndarray, *, over: str = "mean") -> float:
    """Return the root mean square of the differences, relative to the mean of the reference or to its range.

    Parameters
    ----------
    found, reference
        Values of one shape.
    over
        ``mean`` or ``range`` (largest less least value) of the reference.

    Raises
    ------
    ProtocolError
        If `over` is neither, or that is 0.
    """
    found, reference = _alike(found, reference)
    spans = {"mean": abs(float(reference.mean())), "range": float(np.ptp(reference))}
    if not spans.get(over):
        raise ProtocolError(f"NRMSE over the {over} of the reference: give mean or range, whichever is not 0")
    return float(np.sqrt(np.mean((found - reference) ** 2))) / spans[over]


def mape(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean of ``|found / reference - 1|``, over values whose reference is not 0; not in per cent."""
    found, reference = _alike(found, reference)
    known = reference != 0
    return float(np.mean(np.abs(found[known] / reference[known] - 1))) if known.any() else math.nan


def pearson(found: np.ndarray, reference: np.ndarray) -> float:
    """Return Pearson's correlation; not a number where one of both is constant."""
    found, reference = (one - one.mean() for one in _alike(found, reference))
    size = math.sqrt(float((found**2).sum() * (reference**2).sum()))
    return float((found * reference).sum()) / size if size else math.nan


def icc(found: np.ndarray, reference: np.ndarray) -> float:
    """Return ICC(2,1) of two ways to measure, each voxel a target; see `intraclass`."""
    return intraclass(np.stack(_alike(found, reference), 1))


def intraclass(ratings: np.ndarray) -> float:
    """Return ICC(2,1): absolute agreement of single measurements in a two-way random-effects model.

    ``(BMS - EMS) / (BMS + (k - 1) EMS + k (JMS - EMS) / n)`` with the mean squares between targets, between judges and
    of the rest (Shrout and Fleiss 1979, doi:10.1037/0033-2909.86.2.420).

    Parameters
    ----------
    ratings
        ``[target, judge]``, n by k, at least two each.

    Raises
    ------
    ShapeError
        If there are fewer.
    """
    if ratings.ndim != 2 or min(ratings.shape) < 2:
        raise ShapeError(f"ratings are {ratings.shape}: give at least two targets by two judges")
    n, k = ratings.shape
    centred = ratings - ratings.mean()
    targets, judges = centred.mean(1), centred.mean(0)
    between = k * (targets**2).sum() / (n - 1)
    by_judge = n * (judges**2).sum() / (k - 1)
    rest = ((centred - targets[:, None] - judges) ** 2).sum() / ((n - 1) * (k - 1))
    below = between + (k - 1) * rest + k * (by_judge - rest) / n
    return float((between - rest) / below) if below else math.nan


def ssim(found: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the mean structural similarity of slices (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    The window is a Gaussian of 1.5 voxels along x and y, constants are 0.01 and 0.03 of the reference's range.

    Parameters
    ----------
    found, reference
        ``[..., y, x]``, of one shape.
    where
        Voxels over which the mean is taken, and by which the range is judged, bool; all if None. Outside, both images
        count as 0.
    """
    found, reference = _alike(found, reference)
    where = np.ones(found.shape, bool) if where is None else where
    span = float(np.ptp(reference[where]))
    one, other = (np.where(where, image, 0.0) for image in (found, reference))
    sigma = (0.0,) * (one.ndim - 2) + (_WINDOW, _WINDOW)

    def local(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, sigma, truncate=_TRUNCATED)

    return float(similarity_of_windows(one, other, local, span)[where].mean()) if span else math.nan


def ssim_uniform(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean structural similarity by a flat window of 7 by 7 pixels that lies within the image.

    Variances are those of samples, and the range is the reference's: as scikit-image does unless told otherwise.

    Parameters
    ----------
    found, reference
        ``[y, x]``, of one shape.

    Raises
    ------
    ShapeError
        If the shapes differ, or the window does not fit.
    """
    found, reference = _alike(found, reference)
    if found.ndim != 2 or min(found.shape) < _FLAT:
        raise ShapeError(f"images are {found.shape}: give [y, x] of at least {_FLAT} pixels each way")
    span, edge = float(np.ptp(reference)), _FLAT // 2
    unbiased = _FLAT**2 / (_FLAT**2 - 1)
    values = (
        similarity_of_windows(found, reference, partial(uniform_filter, size=_FLAT), span, unbiased)
        if span
        else reference
    )
    return float(values[edge:-edge, edge:-edge].mean()) if span else math.nan


def similarity_of_windows(
    one: Image, other: Image, local: Callable[[Image], Image], span: float | Image, unbiased: float = 1.0
) -> Image:
    """Return the structural similarity of each pixel's window, whose mean is `local`; `span` is the range of values."""
    mean_one, mean_other = local(one), local(other)
    variances = unbiased * (local(one**2) - mean_one**2 + local(other**2) - mean_other**2)
    shared = unbiased * (local(one * other) - mean_one * mean_other)
    light, contrast = (_K1 * span) ** 2, (_K2 * span) ** 2
    above = (2 * mean_one * mean_other + light) * (2 * shared + contrast)
    return above / ((mean_one**2 + mean_other**2 + light) * (variances + contrast))


def _alike(found: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    if found.shape != reference.shape or not found.size:
        raise ShapeError(f"values are {found.shape} and {reference.shape}: give as many of both, at least one")
    return found, reference
