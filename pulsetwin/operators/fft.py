"""Centred orthonormal discrete Fourier transforms: the one convention of the house."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fft(image: Tensor, axes: Sequence[int]) -> Tensor:
    """Transform image to k-space, ``X[k] = prod(n)^-1/2 sum_r x[r] exp(-2 pi i sum_d (k_d - c_d)(r_d - c_d) / n_d)``.

    Both domains are centred at ``c = n // 2``; the transform is unitary, so `ifft` is its adjoint and its inverse.

    Parameters
    ----------
    image
        Complex or real array of any shape and unit.
    axes
        Axes to transform.

    Returns
    -------
    Tensor
        Complex array of the shape and unit of `image`.
    """
    axes = tuple(axes)
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image, axes), dim=axes, norm="ortho"), axes)


def ifft(kspace: Tensor, axes: Sequence[int]) -> Tensor:
    """Transform k-space to image: the inverse and the adjoint of `fft`.

    Parameters
    ----------
    kspace
        Complex array of any shape and unit.
    axes
        Axes to transform.

    Returns
    -------
    Tensor
        Complex array of the shape and unit of `kspace`.
    """
    axes = tuple(axes)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(kspace, axes), dim=axes, norm="ortho"), axes)
