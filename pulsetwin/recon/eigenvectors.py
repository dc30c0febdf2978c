"""Dominant eigenvectors of a small Hermitian matrix in each voxel."""

from __future__ import annotations

import torch
from torch import Tensor

_CHANGE = 3e-4  # root mean square change in an iteration, relative, below which vectors have converged
_ITERATIONS = 30
_SQUARINGS = 3
CHUNK = 1 << 21  # numbers in the part of ``[voxel, coil, coil]`` that exists at a time


def from_squaring(matrices: Tensor) -> Tensor:
    """Return eigenvalue times eigenvector, ``[..., coil]``, of positive semidefinite `matrices`, ``[..., coil, coil]``.

    The strongest column of ``G^(2^n)`` is the dominant eigenvector, as after as many power iterations from that column.
    """
    power = matrices
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / _positive(_norm(power.flatten(-2))[..., None])
    sizes, column = torch.linalg.vector_norm(power, dim=-2).max(-1)
    vectors = power.take_along_dim(column[..., None, None], -1) / _positive(sizes)[..., None, None]
    return (matrices @ vectors)[..., 0]


def from_start(matrices: Tensor, start: Tensor, smallest: float) -> Tensor:
    """Return eigenvalue times eigenvector, ``[..., coil]``, by power iterations from `start`, ``[..., coil]``.

    Iterates until vectors of eigenvalues above `smallest` change no more; those of less count for nothing. The phase of
    `start` is kept.
    """
    row = start.conj().resolve_conj()[..., None, :]  # v^H G is faster than G v, and its conjugate
    size = _norm(row)
    for _ in range(_ITERATIONS):
        vectors = row / _positive(size)
        row = vectors @ matrices
        size = _norm(row)
        change = _norm(torch.addcmul(row, vectors, size, value=-1))
        counts = size > smallest
        if (change * counts).square().sum() <= _CHANGE**2 * (size * counts).square().sum():
            break
    return row[..., 0, :].conj().resolve_conj()


def in_phase(field: Tensor, reference: Tensor) -> Tensor:
    """Return `field`, ``[coil, *grid]``, in the phase that makes ``sum_c reference_c field_c`` real and positive."""
    combined = torch.tensordot(reference, field, 1)
    size = combined.abs()
    return field * torch.where(size > 0, combined.conj() / _positive(size), 1)


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1)


def _norm(values: Tensor) -> Tensor:
    """Return the norm along the last axis, kept; several times faster than torch's own for complex numbers."""
    return torch.view_as_real(values.resolve_conj()).square().flatten(-2).sum(-1, keepdim=True).sqrt()
