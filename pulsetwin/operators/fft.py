"""Centred orthonormal discrete Fourier transforms: the one convention of the house."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    return _centred(torch.fft.fftn, image, axes)


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
    return _centred(torch.fft.ifftn, kspace, axes)


def _centred(transform: Callable[..., Tensor], values: Tensor, axes: Sequence[int]) -> Tensor:
    """Centre both domains: by a cheap change of signs along even axes, by a shift along odd ones."""
    axes = tuple(axis % values.ndim for axis in axes)
    odd = tuple(axis for axis in axes if values.shape[axis] % 2)
    even = tuple(axis for axis in axes if values.shape[axis] % 2 == 0)
    signs = _signs(values, even)
    turned = sum(values.shape[axis] // 2 for axis in even) % 2
    values = torch.fft.ifftshift(values, odd) if odd else values
    result = transform(values * signs, dim=axes, norm="ortho").mul_(-signs if turned else signs)
    return torch.fft.fftshift(result, odd) if odd else result


def _signs(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return ``(-1)^(sum of the indices along axes)``, in a shape that broadcasts to `values`."""
    signs = torch.ones((), dtype=values.real.dtype, device=values.device)
    for axis in axes:
        line = 1 - 2 * (torch.arange(values.shape[axis], device=values.device) % 2)
        signs = signs * line.to(signs.dtype).reshape(-1, *[1] * (values.ndim - 1 - axis))
    return signs
