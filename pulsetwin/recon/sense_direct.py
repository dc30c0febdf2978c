"""SENSE with missing lines along one axis: dense problems, small enough for a direct solution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pulsetwin.recon.hybrid import HybridSense, chunks

WORKSPACE = 256 * 2**20
"""Bytes of normal matrices held at a time."""


def missing_axis(mask: Tensor) -> int | None:
    """Return the only axis of a mask ``[z, y]`` along which samples are missing (y if none), None if both."""
    for axis in (1, 0):
        if torch.equal(mask.all(1 - axis), mask.any(1 - axis)):
            return axis
    return None


def solve_lines(model: HybridSense, rhs: Tensor, axis: int, regularisation: float) -> Tensor:
    """Solve ``(S^H F^H M F S + lambda) x = b`` line by line along the undersampled axis.

    The normal matrix of a line is ``N_ij = p_{i - j} sum_c conj(s_ci) s_cj`` with the point-spread function ``p`` of
    the mask. Cholesky factors in double precision.

    Parameters
    ----------
    model
        Maps and mask.
    rhs
        Right-hand side ``[x, set, z, y]``.
    axis
        The undersampled axis of ``[z, y]``.
    regularisation
        ``lambda``; kept above rounding, so that voxels without sensitivity become 0.

    Returns
    -------
    Tensor
        ``x`` of the shape of `rhs`.
    """
    lines = _to_lines(rhs, axis)
    solved = torch.empty_like(lines)
    for part in chunks(len(lines), 16 * lines.shape[1] ** 2, WORKSPACE):
        matrix = _matrices(model, axis, part)
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        diagonal += max(regularisation, 1e-12 * float(diagonal.real.max()) + 1e-300)
        factor = torch.linalg.cholesky(matrix)
        solved[part] = torch.cholesky_solve(lines[part].to(matrix.dtype).unsqueeze(-1), factor).squeeze(-1)
    return _from_lines(solved, rhs, axis)


def dense_normal(model: HybridSense, axis: int) -> Callable[[Tensor], Tensor] | None:
    """Return ``model.normal`` as a product with kept matrices, several times faster; None if they are too large."""
    columns, sets, _, *plane = model.maps.shape
    if columns * plane[1 - axis] * (sets * plane[axis]) ** 2 * model.maps.element_size() > WORKSPACE:
        return None
    transposed = _matrices(model, axis, slice(None)).conj().resolve_conj().to(model.maps.dtype)

    def normal(image: Tensor) -> Tensor:
        return _from_lines((_to_lines(image, axis).unsqueeze(1) @ transposed).squeeze(1), image, axis)

    return normal


def _matrices(model: HybridSense, axis: int, part: slice) -> Tensor:
    """Return the normal matrices of some lines, complex128 ``[line, set * n, set * n]``."""
    maps = model.maps.movedim(3 + axis, -1).permute(0, 3, 2, 1, 4).flatten(0, 1)[part].flatten(2).to(torch.complex128)
    sampled = model.mask.select(1 - axis, 0).double()
    point, index = torch.fft.ifft(sampled), torch.arange(len(sampled), device=sampled.device)
    spread = point[(index[:, None] - index) % len(point)]
    return (maps.mH @ maps).mul_(spread.repeat(model.maps.shape[1], model.maps.shape[1]))


def _to_lines(image: Tensor, axis: int) -> Tensor:
    """Turn ``[x, set, z, y]`` to lines along an axis of the plane, ``[line, set * n]``."""
    return image.movedim(2 + axis, -1).transpose(1, 2).flatten(0, 1).flatten(1)


def _from_lines(lines: Tensor, like: Tensor, axis: int) -> Tensor:
    """Undo `_to_lines`."""
    columns, sets = like.shape[:2]
    return lines.reshape(columns, -1, sets, like.shape[2 + axis]).transpose(1, 2).movedim(-1, 2 + axis)
