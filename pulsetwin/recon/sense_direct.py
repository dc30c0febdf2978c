"""SENSE with missing lines along one axis: dense problems, small enough for a direct solution."""

from __future__ import annotations

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
    columns, sets, _, n = rhs.movedim(2 + axis, -1).shape
    maps = model.maps.movedim(3 + axis, -1).permute(0, 3, 2, 1, 4).flatten(0, 1).flatten(2)
    right = rhs.movedim(2 + axis, -1).transpose(1, 2).flatten(0, 1).flatten(1)
    spread = _spread(model.mask.select(1 - axis, 0).double(), sets)
    solved = torch.empty_like(right)
    for part in chunks(len(right), 16 * (sets * n) ** 2, WORKSPACE):
        sensitivities = maps[part].to(spread.dtype)
        matrix = (sensitivities.mH @ sensitivities).mul_(spread)
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        diagonal += max(regularisation, 1e-12 * float(diagonal.real.max()) + 1e-300)
        factor = torch.linalg.cholesky(matrix)
        solved[part] = torch.cholesky_solve(right[part].to(matrix.dtype).unsqueeze(-1), factor).squeeze(-1)
    return solved.reshape(columns, -1, sets, n).transpose(1, 2).movedim(-1, 2 + axis)


def _spread(sampled: Tensor, sets: int) -> Tensor:
    """Return the circulant matrix ``F^H M F``, repeated for every pair of map sets, complex128."""
    point = torch.fft.ifft(sampled)
    index = torch.arange(len(point), device=point.device)
    return point[(index[:, None] - index) % len(point)].repeat(sets, sets)
