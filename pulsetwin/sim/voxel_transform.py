"""How the shape of voxels weighs k-space."""

from __future__ import annotations

import torch
from torch import Tensor


def voxel_transform(k: Tensor, size: tuple[float, float, float], shape: str) -> Tensor:
    """Return the Fourier transform of a voxel, normalised to 1 at k = 0.

    ``box``: ``prod sinc(k_j size_j)``. ``sinc``: 1 up to the Nyquist limit ``k_Ny = 1 / (2 size)`` and 0 beyond, by
    ``prod sigmoid(100 (k_Ny - |k| + 0.5))`` with k in 1/m, so that the limit itself counts. ``point``: 1.

    Parameters
    ----------
    k
        ``[*batch, 3]`` [1/m].
    size
        Edges of the voxel [m]; an edge of 0 dephases nothing.
    shape
        One of `sim.phantom.VOXEL_SHAPES`.
    """
    if shape == "point":
        return torch.ones_like(k[..., 0])
    x, y, z = (edge_transform(k[..., j], edge, shape) for j, edge in enumerate(size))
    return x * y * z


def edge_transform(k: Tensor, edge: float, shape: str) -> Tensor:
    """Return the factor of `voxel_transform` along one axis, for `k` [1/m] and the voxel's `edge` [m]."""
    if shape == "point":
        return torch.ones_like(k)
    if shape == "box":
        return torch.sinc(k * edge)
    nyquist = 0.5 / edge if edge > 0 else torch.inf
    return torch.sigmoid(100 * (nyquist - k.abs() + 0.5))
