"""How far an image, a signal or its contrasts are from a target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from pulsetwin.errors import ShapeError
from pulsetwin.recon.agreement import similarity_of_windows

_WINDOW, _SPREAD = 11, 1.5  # of the structural similarity [pixels]


def relative_l2(values: Tensor, target: Tensor) -> Tensor:
    """Return ``|v - t|^2 / |t|^2`` of images or signals, complex or real; its root is the relative error."""
    _check(values, target)
    return (values - target).abs().square().sum() / target.abs().square().sum()


def relative_l1(values: Tensor, target: Tensor) -> Tensor:
    """Return ``sum |v - t| / sum |t|``, with a finite slope where both are equal."""
    _check(values, target)
    difference = values - target
    tiny = 1e-12 * target.abs().square().mean()
    return ((difference * difference.conj()).real + tiny).sqrt().sum() / target.abs().sum()


def dissimilarity(image: Tensor, target: Tensor) -> Tensor:
    """Return one minus the mean structural similarity of the magnitudes of images ``[y, x]``.

    Gaussian windows of 11 pixels and 1.5 pixels standard deviation, constants 0.01 and 0.03 of the target's maximum
    (Wang et al. 2004, doi:10.1109/TIP.2003.819861), where windows lie within the image.
    """
    _check(image, target)
    if image.ndim != 2 or min(image.shape) < _WINDOW:
        raise ShapeError(f"structural similarity of {tuple(image.shape)}: give an image of {_WINDOW} pixels or more")
    tiny = 1e-12 * target.abs().max().square()
    one = (image.abs().square() + tiny).sqrt()
    two = target.abs()
    offset = torch.arange(_WINDOW, dtype=one.dtype) - _WINDOW // 2
    weight = torch.exp(-0.5 * (offset / _SPREAD) ** 2)
    window = torch.outer(weight, weight) / weight.sum() ** 2

    def mean(x: Tensor) -> Tensor:
        return conv2d(x[None, None], window[None, None])[0, 0]

    return 1 - similarity_of_windows(one, two, mean, two.max()).mean()


def tissue_means(image: Tensor, weights: Tensor) -> Tensor:
    """Return the mean magnitude over each tissue, ``[tissue]``, by `weights` ``[tissue, *grid]``."""
    tiny = 1e-12 * image.detach().abs().max().square()
    size = (image.abs().square() + tiny).sqrt()
    return (weights * size).flatten(1).sum(1) / weights.flatten(1).sum(1)


def contrast_errors(image: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return by how much each tissue's signal relative to the mean of all differs from the target's, ``[tissue]``.

    ``(m_i / mean(m)) / (t_i / mean(t)) - 1``: a common factor of the image has no effect. Arguments as for
    `tissue_means`.
    """
    mine, wanted = tissue_means(image, weights), tissue_means(target, weights)
    return (mine / mine.mean()) / (wanted / wanted.mean()) - 1


def _check(values: Tensor, target: Tensor) -> None:
    if values.shape != target.shape:
        raise ShapeError(f"values are {tuple(values.shape)} but the target {tuple(target.shape)}: give one shape")
