"""The SENSE model of Cartesian data in hybrid space: image along the readout, k-space in the phase-encoding plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.operators.fft import ifft

PLANE = (-2, -1)
WORKSPACE = 64 * 2**20
"""Bytes of coil images worked on at a time."""


@dataclass(frozen=True, slots=True)
class HybridSense:
    """Linear map from image to undersampled hybrid data, ``A x = M F S x``, for some positions x along the readout.

    Images and maps have the origin of the phase-encoding plane at index 0, which spares the shifts of a centred
    transform in every iteration.

    Parameters
    ----------
    maps
        Coil sensitivities ``[x, set, coil, z, y]``.
    mask
        1 where k-space was sampled and 0 elsewhere, real ``[z, y]``, with k = 0 at index 0.
    """

    maps: Tensor
    mask: Tensor

    @classmethod
    def at(cls, maps: Tensor, mask: Tensor, x: slice) -> HybridSense:
        """Take the model of positions `x` from centred maps ``[set, coil, z, y, x]`` and a centred bool mask."""
        part = maps[..., x].movedim(-1, 0)
        return cls(torch.fft.ifftshift(part, PLANE), torch.fft.ifftshift(mask, PLANE).to(maps.real.dtype))

    def adjoint(self, data: Tensor) -> Tensor:
        """Return ``A^H y``, ``[x, set, z, y]``, of centred hybrid data ``[x, coil, z, y]``, zero where not sampled."""
        return self._combine(torch.fft.ifftn(torch.fft.ifftshift(data, PLANE), dim=PLANE, norm="ortho"))

    def normal(self, image: Tensor) -> Tensor:
        """Return ``A^H A x``, ``[x, set, z, y]``, of `image`, ``[x, set, z, y]``."""
        coils = self.maps[:, 0] * image[:, :1]
        for one in range(1, self.maps.shape[1]):
            coils = torch.addcmul(coils, self.maps[:, one], image[:, one : one + 1])
        data = torch.fft.fftn(coils, dim=PLANE).mul_(self.mask)
        return self._combine(torch.fft.ifftn(data, dim=PLANE))

    def _combine(self, coils: Tensor) -> Tensor:
        """Return ``S^H`` of coil images ``[x, coil, z, y]``."""
        return torch.stack([(one.conj() * coils).sum(1) for one in self.maps.unbind(1)], 1)


def centred(image: Tensor) -> Tensor:
    """Turn hybrid images ``[x, set, z, y]`` with the origin first to ``[set, z, y, x]``."""
    return torch.fft.fftshift(image, PLANE).movedim(0, -1)


def origin_first(image: Tensor) -> Tensor:
    """Turn images ``[set, z, y, x]`` to hybrid images ``[x, set, z, y]`` with the origin first."""
    return torch.fft.ifftshift(image.movedim(-1, 0), PLANE)


def sampled_lines(kspace: Tensor, mask: Tensor) -> Tensor:
    """Transform the sampled lines of k-space ``[coil, z, y, x]`` along the readout, ``[coil, line, x]``."""
    z, y = mask.nonzero(as_tuple=True)
    samples = kspace.new_empty((len(kspace), len(z), kspace.shape[-1]))
    for coils in chunks(len(kspace), samples[0].nbytes, WORKSPACE):
        samples[coils] = ifft(kspace[coils, z, y], (-1,))
    return samples


def planes(samples: Tensor, mask: Tensor, x: slice) -> Tensor:
    """Put sampled lines ``[coil, line, x]`` into zero-filled planes ``[x, coil, z, y]`` at positions `x`."""
    part = samples[..., x].permute(2, 0, 1)
    result = part.new_zeros((*part.shape[:2], mask.numel()))
    result[..., mask.flatten()] = part
    return result.unflatten(-1, tuple(mask.shape))


def chunks(count: int, size: int, workspace: int = WORKSPACE) -> Iterator[slice]:
    """Yield slices of `count` items of `size` bytes that fit `workspace`."""
    step = max(1, workspace // max(size, 1))
    yield from (slice(start, min(start + step, count)) for start in range(0, count, step))
