"""Receive coils as a linear operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Coils:
    """Linear map from image to coil images, ``(S x)_c = s_c x``.

    Parameters
    ----------
    maps
        Complex coil sensitivities ``[coil, *grid]``, no unit.
    """

    maps: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """Return the coil images ``[*batch, coil, *grid]`` of `image`, complex ``[*batch, *grid]``."""
        rank = self.maps.ndim - 1
        if image.shape[image.ndim - rank :] != self.maps.shape[1:]:
            raise ShapeError(
                f"image is {tuple(image.shape)} but the maps {tuple(self.maps.shape)}: pass an image on the maps' grid"
            )
        return self.maps * image.unsqueeze(image.ndim - rank)

    def adjoint(self, data: Tensor) -> Tensor:
        """Return ``sum_c conj(s_c) d_c``, ``[*batch, *grid]``, of coil images `data`, ``[*batch, coil, *grid]``."""
        axis = data.ndim - self.maps.ndim
        if axis < 0 or data.shape[axis:] != self.maps.shape:
            raise ShapeError(
                f"coil images are {tuple(data.shape)} but the maps {tuple(self.maps.shape)}: "
                "pass maps of the same scan, or compress both with recon.compress"
            )
        total = self.maps[0].conj() * data.select(axis, 0)
        for coil in range(1, len(self.maps)):
            total = torch.addcmul(total, self.maps[coil].conj(), data.select(axis, coil))
        return total

    def normal(self, image: Tensor) -> Tensor:
        """Return ``S^H S x = sum_c |s_c|^2 x``, ``[*batch, *grid]``, of `image`, ``[*batch, *grid]``."""
        return self.power() * image

    def power(self) -> Tensor:
        """Return ``sum_c |s_c|^2``, real ``[*grid]``, added up coil by coil to save memory."""
        total = torch.zeros(self.maps.shape[1:], dtype=self.maps.real.dtype, device=self.maps.device)
        for coil in self.maps:
            total.addcmul_(coil.real, coil.real).addcmul_(coil.imag, coil.imag)
        return total
