"""Combination of coil images into one image."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.operators.coils import Coils


def root_sum_of_squares(images: Tensor) -> Tensor:
    """Return ``sqrt(sum_c |i_c|^2)``, real ``[..., z, y, x]``, of coil images ``[..., coil, z, y, x]``."""
    return torch.linalg.vector_norm(images, dim=-4)


def adaptive(images: Tensor, maps: Tensor) -> Tensor:
    """Combine coil images with the best signal-to-noise ratio, ``sum_c conj(s_c) i_c / sum_c |s_c|^2``.

    For whitened images, the standard deviation of the noise is ``1 / sqrt(sum_c |s_c|^2)``: 1 wherever the maps are
    normalised. Voxels without sensitivity become 0.

    Parameters
    ----------
    images
        Whitened coil images, complex ``[..., coil, z, y, x]``.
    maps
        Coil sensitivities, complex ``[coil, z, y, x]``.

    Returns
    -------
    Tensor
        Complex image ``[..., z, y, x]``.

    References
    ----------
    Roemer et al. 1990, doi:10.1002/mrm.1910160203, eq. 25.
    """
    coils = Coils(maps)
    power = coils.power()
    return coils.adjoint(images) / torch.where(power > 0, power, 1)
