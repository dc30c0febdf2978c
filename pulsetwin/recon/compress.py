"""Coil compression: fewer virtual coils that hold nearly all of the signal."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.whiten import covariance

_WINDOW = 5  # neighbouring positions that share a covariance, as in Zhang 2013


def svd_compression(data: Tensor, coils: int) -> Tensor:
    """Return the matrix of the `coils` strongest virtual coils, the first left singular vectors' conjugate transpose.

    Parameters
    ----------
    data
        Whitened samples, complex ``[coil, ...]``; calibration data suffice.
    coils
        Number of virtual coils, at most that of `data`.

    Returns
    -------
    Tensor
        Matrix with orthonormal rows, ``[virtual, coil]``, for `compress`; white noise stays white.

    References
    ----------
    Huang et al. 2008, doi:10.1016/j.mri.2007.04.010; Buehrer et al. 2007, doi:10.1002/mrm.21237.
    """
    _check(data, coils)
    return _strongest(covariance(data.flatten(1)), coils).to(data.dtype)


def compress(data: Tensor, matrix: Tensor) -> Tensor:
    """Return the virtual coils ``[virtual, ...]`` of `data`, ``[coil, ...]``, for `matrix`, ``[virtual, coil]``."""
    if matrix.shape[1] != len(data):
        raise ShapeError(f"matrix takes {matrix.shape[1]} coils but the data have {len(data)}: pass data of this scan")
    return (matrix @ data.flatten(1)).reshape(len(matrix), *data.shape[1:])


def geometric_compression(kspace: Tensor, coils: int, axis: int) -> Tensor:
    """Return a matrix for each position along a fully sampled axis, aligned so that virtual coils vary smoothly.

    With coil sensitivities that vary along the axis, fewer virtual coils are needed than one matrix would take.

    Parameters
    ----------
    kspace
        Whitened k-space, complex ``[coil, z, y, x]``, fully sampled along `axis`; zeros elsewhere are allowed.
    coils
        Number of virtual coils, at most that of `kspace`.
    axis
        Axis of `kspace` to transform (the readout), 1, 2 or 3 or its negative.

    Returns
    -------
    Tensor
        Matrices with orthonormal rows, ``[position, virtual, coil]``, for `compress_along`.

    References
    ----------
    Zhang et al. 2013, doi:10.1002/mrm.24267.
    """
    _check(kspace, coils)
    hybrid = ifft(kspace, (_grid_axis(kspace, axis),)).movedim(axis, 0).flatten(2)
    covariances = torch.stack([covariance(one) for one in hybrid])
    strongest = int(covariances.diagonal(dim1=1, dim2=2).real.sum(1).argmax())
    first = [max(0, x - _WINDOW // 2) for x in range(len(covariances))]
    smooth = [covariances[lo : x + _WINDOW // 2 + 1].sum(0) for x, lo in enumerate(first)]
    matrices = [_strongest(one, coils) for one in smooth]
    for x in range(strongest + 1, len(matrices)):
        matrices[x] = _aligned(matrices[x], matrices[x - 1])
    for x in range(strongest - 1, -1, -1):
        matrices[x] = _aligned(matrices[x], matrices[x + 1])
    return torch.stack(matrices).to(kspace.dtype)


def compress_along(kspace: Tensor, matrices: Tensor, axis: int) -> Tensor:
    """Return the virtual coils, ``[virtual, z, y, x]``, of `kspace` for the matrices of `geometric_compression`.

    Parameters
    ----------
    kspace
        Whitened k-space, complex ``[coil, z, y, x]``.
    matrices
        One matrix for each position along `axis`, ``[position, virtual, coil]``.
    axis
        Axis of `kspace` that the matrices follow.
    """
    axis = _grid_axis(kspace, axis)
    if matrices.shape[::2] != (kspace.shape[axis], len(kspace)):
        raise ShapeError(
            f"matrices are {tuple(matrices.shape)} for k-space {tuple(kspace.shape)}: "
            f"give [{kspace.shape[axis]}, virtual, {len(kspace)}]"
        )
    hybrid = ifft(kspace, (axis,)).movedim(axis, 0)
    virtual = (matrices @ hybrid.flatten(2)).reshape(matrices.shape[:2] + hybrid.shape[2:])
    return fft(virtual.movedim(0, axis), (axis,))


def _check(data: Tensor, coils: int) -> None:
    if not 1 <= coils <= len(data):
        raise ProtocolError(f"{coils} virtual coils of {len(data)}: ask for 1 to {len(data)}")


def _grid_axis(kspace: Tensor, axis: int) -> int:
    positive = axis % kspace.ndim
    if positive == 0:
        raise ShapeError("axis 0 counts the coils: give the readout's axis")
    return positive


def _strongest(psi: Tensor, coils: int) -> Tensor:
    """Return the `coils` strongest eigenvectors of `psi`, conjugated, as rows, ``[virtual, coil]``."""
    return torch.linalg.eigh(psi)[1].flip(1)[:, :coils].mH


def _aligned(matrix: Tensor, neighbour: Tensor) -> Tensor:
    """Rotate the rows of `matrix` unitarily to lie nearest to those of `neighbour` (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(matrix @ neighbour.mH)
    return (left @ right).mH @ matrix
