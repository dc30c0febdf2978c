"""Coil sensitivities kept on a coarse grid, and interpolated where they are used: they are smooth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.recon.espirit import espirit_field, interpolated

_CROP = 0.8  # lower than on a full grid: voxels at the edge of the object are interpolated from outside
_LEAST = 32  # voxels of the coarse grid along an axis, where the full one has as many


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """Eigenvalue times eigenvector of ESPIRiT's operator on a coarse grid.

    Parameters
    ----------
    field
        Complex ``[coil, z, y, x]`` on the coarse grid, with one phase throughout.
    shape
        Voxels of the full grid along z, y, x.
    crop
        Smallest eigenvalue that counts as signal.
    """

    field: Tensor
    shape: tuple[int, int, int]
    crop: float = _CROP

    @property
    def coils(self) -> int:
        """Number of coils."""
        return len(self.field)

    def at(self, x: slice) -> Tensor:
        """Return the sensitivities at some positions along x, origin first, ``[x, coil, z, y]``, unit norm or 0."""
        picks = (slice(None), slice(None), x)
        part = interpolated(self.field, self.shape, picks)
        size = torch.linalg.vector_norm(part, dim=0)  # smaller than the eigenvalue where the direction turns
        value = interpolated(torch.linalg.vector_norm(self.field, dim=0)[None], self.shape, picks)[0]
        unit = part * torch.where((value > self.crop) & (size > 0), 1 / size, 0)
        return torch.fft.ifftshift(unit, (1, 2)).movedim(-1, 0)


def sensitivities(calibration: Tensor, shape: tuple[int, int, int], *, coarseness: int = 4) -> Sensitivities:
    """Return the sensitivities by ESPIRiT of a calibration block.

    Parameters
    ----------
    calibration
        Fully sampled k-space around the centre, complex ``[coil, z, y, x]``, whitened.
    shape
        Voxels of the full grid along z, y, x.
    coarseness
        Voxels of the full grid per voxel of the coarse one along each axis, which has 32 at least if the full one has.
    """
    grid = tuple(max(math.ceil(n / coarseness), min(n, _LEAST)) for n in shape)
    return Sensitivities(espirit_field(calibration, grid, crop=_CROP), shape)
