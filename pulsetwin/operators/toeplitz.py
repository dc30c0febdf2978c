"""Toeplitz operators: convolutions with a kernel as long as twice the grid, applied by FFT."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from pulsetwin.errors import ShapeError

_CHUNK = 1 << 18  # voxels transformed at once, so that a part stays in the processor's cache


def kernel_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size of a kernel that holds every offset between two voxels of a grid of size `shape`."""
    return tuple(next_fast_len(2 * n - 1) for n in shape)


@dataclass(frozen=True, slots=True, eq=False)
class Toeplitz:
    """Hermitian Toeplitz operator on a grid, ``(T x)[r] = sum_r' t[r - r'] x[r']``.

    Embeds the kernel in a circulant (Chan and Ng 1996, doi:10.1137/S0036144594276474; Fessler et al. 2005,
    doi:10.1109/TSP.2005.853152). The padded grid never exists as a whole: memory stays near that of the image and its
    kernel, and few FFTs run over rows that are zero or unwanted.

    Parameters
    ----------
    spectrum
        Discrete Fourier transform of the kernel with its origin first, real ``[*kernel_shape(shape)]``.
    shape
        Size of the grid.
    """

    spectrum: Tensor
    shape: tuple[int, ...]

    @classmethod
    def from_kernel(cls, kernel: Tensor, shape: tuple[int, ...]) -> Toeplitz:
        """Build the operator from its Hermitian `kernel`, ``[*kernel_shape(shape)]``, origin at ``n // 2``."""
        if tuple(kernel.shape) != kernel_shape(shape):
            raise ShapeError(f"kernel is {tuple(kernel.shape)}: for a grid {shape} give {kernel_shape(shape)}")
        return cls(torch.fft.fftn(torch.fft.ifftshift(kernel)).real.contiguous(), shape)

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``T x``, complex ``[*batch, *grid]``, of `image`, complex ``[*batch, *grid]``."""
        rank = len(self.shape)
        if tuple(image.shape[image.ndim - rank :]) != self.shape:
            raise ShapeError(f"image is {tuple(image.shape)}: give [*batch, *grid] with a grid of {self.shape}")
        images = image.reshape(-1, *self.shape)
        return torch.stack([self._convolve(one) for one in images]).reshape(image.shape)

    def adjoint(self, image: Tensor) -> Tensor:
        """Return ``T^H x``, which is ``T x``."""
        return self(image)

    def normal(self, image: Tensor) -> Tensor:
        """Return ``T^H T x``, complex ``[*batch, *grid]``."""
        return self(self(image))

    def _convolve(self, image: Tensor) -> Tensor:
        """Convolve one image, ``[*grid]``: the first axis by itself, then the others a few planes at a time."""
        spectrum = self.spectrum if image.ndim > 1 else self.spectrum[None]
        image = image if image.ndim > 1 else image[None]
        lengths, axes = spectrum.shape, tuple(range(1, image.ndim))
        inside = tuple(slice(n) for n in image.shape)
        planes = max(1, _CHUNK // math.prod(lengths[1:]))
        done = []
        for part, factor in zip(
            torch.fft.fft(image, n=lengths[0], dim=0).split(planes), spectrum.split(planes), strict=True
        ):
            wide = torch.fft.fftn(part, s=lengths[1:], dim=axes) * factor
            done.append(torch.fft.ifftn(wide, dim=axes)[(slice(None), *inside[1:])])
        return torch.fft.ifft(torch.cat(done), dim=0)[inside[0]].reshape(self.shape)


def kernel_scale(shape: tuple[int, ...]) -> float:
    """Return what an orthonormal adjoint transform onto the kernel's grid lacks to that onto a grid of size `shape`."""
    return math.sqrt(math.prod(kernel_shape(shape))) / math.prod(shape)
