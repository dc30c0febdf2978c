"""Coil sensitivities kept on a coarse grid, and interpolated where they are used: they are smooth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.recon.espirit import espirit_field, interpolated

_CROP = 0.95


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
        part = interpolated(self.field, self.shape, (slice(None), slice(None), x))
        size = torch.linalg.vector_norm(part, dim=0)
        unit = part * torch.where(size > self.crop, 1 / size, 0)
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
        Voxels of the full grid per voxel of the coarse one, along each axis.
    """
    grid = tuple(max((n + coarseness - 1) // coarseness, min(n, 8)) for n in shape)
    return Sensitivities(espirit_field(calibration, grid), shape)
