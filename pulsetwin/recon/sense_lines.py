"""The SENSE normal operator where lines are missing along one axis only: dense matrices, one for each line."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pulsetwin.recon.hybrid import HybridSense

WORKSPACE = 256 * 2**20
"""Bytes of matrices kept."""


def normal_operator(model: HybridSense, workspace: int = WORKSPACE) -> Callable[[Tensor], Tensor]:
    """Return `model.normal`, as a product with kept matrices where that is much cheaper.

    With samples missing along one axis, each line along it is a problem of its own with the small normal matrix
    ``N_ij = p_{i - j} sum_c conj(s_ci) s_cj``, where ``p`` is the point-spread function of the mask: a product with it
    replaces two FFTs per coil.
    """
    axis = missing_axis(model.mask > 0)
    if axis is None:
        return model.normal
    columns, sets, _, *plane = model.maps.shape
    if columns * plane[1 - axis] * (sets * plane[axis]) ** 2 * model.maps.element_size() > workspace:
        return model.normal
    transposed = _matrices(model, axis).conj().resolve_conj()

    def normal(image: Tensor) -> Tensor:
        lines = image.movedim(2 + axis, -1).transpose(1, 2)
        product = lines.reshape(-1, 1, transposed.shape[1]) @ transposed
        return product.reshape(lines.shape).transpose(1, 2).movedim(-1, 2 + axis)

    return normal


def missing_axis(mask: Tensor) -> int | None:
    """Return the only axis of a mask ``[z, y]`` along which samples are missing (y if none), None if both."""
    for axis in (1, 0):
        if torch.equal(mask.all(1 - axis), mask.any(1 - axis)):
            return axis
    return None


def _matrices(model: HybridSense, axis: int) -> Tensor:
    """Return the normal matrix of each line, ``[x * other, set * n, set * n]``."""
    maps = model.maps.movedim(3 + axis, -1).permute(0, 3, 2, 1, 4).flatten(0, 1).flatten(2)
    point = torch.fft.ifft(model.mask.select(1 - axis, 0).double()).to(maps.dtype)
    index = torch.arange(len(point), device=point.device)
    spread = point[(index[:, None] - index) % len(point)]
    return (maps.mH @ maps).mul_(spread.repeat(model.maps.shape[1], model.maps.shape[1]))
