"""Walsh's adaptive estimate of coil sensitivities from coil images."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.coils import Coils
from pulsetwin.recon.compress import svd_compression
from pulsetwin.recon.eigenvectors import CHUNK, from_start, in_phase

_REACH = 2  # voxels to each side that share a covariance: a box of 5 x 5 x 5
_LONGEST_STEP = 2 * _REACH  # boxes this far apart still leave no voxel out
_FINE_ENOUGH = 48  # points per axis that any smooth sensitivity is interpolated from


def walsh(images: Tensor) -> Tensor:
    """Return coil sensitivities: the dominant eigenvector of the coil covariance in a box of voxels.

    ``R(r) = sum_{|r' - r| <= 2} i(r') i(r')^H``; needs no calibration region, but unlike ESPIRiT does not tell signal
    from noise. Sensitivities are smooth: on long axes they are found at every second to fourth voxel and interpolated.

    Parameters
    ----------
    images
        Whitened coil images, complex ``[coil, z, y, x]``.

    Returns
    -------
    Tensor
        Sensitivities with ``sum_c |s_c|^2`` = 1 (0 where the box is all 0), ``[coil, z, y, x]``; their phase makes the
        strongest virtual coil (first singular vector of the images) real.

    Raises
    ------
    ShapeError
        If `images` is not ``[coil, z, y, x]``.
    ProtocolError
        If the images are zero or not finite.

    References
    ----------
    Walsh et al. 2000, doi:10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G.
    """
    if images.ndim != 4:
        raise ShapeError(f"images are {tuple(images.shape)}: give [coil, z, y, x]")
    largest = max(float(coil.abs().max()) for coil in images)
    if not 0 < largest < float("inf"):
        raise ProtocolError("coil images are all zero or not finite: check the data")
    centres = [_centres(n) for n in images.shape[1:]]
    coarse = images.new_empty(len(images), *(len(axis) for axis in centres))
    for i, z in enumerate(centres[0]):
        near = images[:, max(0, z - _REACH) : z + _REACH + 1] / largest
        near = torch.nn.functional.pad(near, (_REACH,) * 4)
        step = max(1, CHUNK // (len(centres[2]) * len(images) * max(len(images), near.shape[1] * 25)))
        for rows in torch.tensor(centres[1]).split(step):
            boxes = _boxes(near, rows, torch.tensor(centres[2]))
            covariance = boxes @ boxes.mH
            strongest = covariance.diagonal(dim1=-2, dim2=-1).real.argmax(-1)
            start = covariance.take_along_dim(strongest[..., None, None], -1)[..., 0]
            field = from_start(covariance, start, smallest=0.0).movedim(-1, 0)
            first = centres[1].index(int(rows[0]))
            coarse[:, i, first : first + len(rows)] = field
    reference = svd_compression(coarse, 1)[0]
    return _interpolated(_unit(in_phase(coarse, reference)), centres, images.shape[1:])


def _centres(n: int) -> list[int]:
    """Return the voxels of an axis at which sensitivities are found, the first and the last among them."""
    step = min(max(n // _FINE_ENOUGH, 1), _LONGEST_STEP)
    return [*range(0, n - 1, step), n - 1]


def _boxes(near: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the voxels in the boxes around rows and columns, ``[row, x, coil, voxel]``.

    `near` are the planes in reach, ``[coil, z, y, x]``, with a rim of zeros as wide as the reach around y and x.
    """
    y, x = (axis[:, None] + torch.arange(2 * _REACH + 1) for axis in (rows, columns))
    picked = near[:, :, y[:, None, :, None], x[None, :, None, :]]
    return picked.permute(2, 3, 0, 1, 4, 5).flatten(3)


def _unit(field: Tensor) -> Tensor:
    """Scale ``[coil, *grid]`` to unit root-sum-of-squares where it is not zero."""
    size = Coils(field).power().sqrt()
    return field.mul_(torch.where(size > 0, 1 / size, 0))


def _interpolated(coarse: Tensor, centres: list[list[int]], shape: torch.Size) -> Tensor:
    """Interpolate linearly from the centres to every voxel, coil by coil, and scale to unit root-sum-of-squares."""
    if coarse.shape[1:] == shape:
        return coarse
    field = coarse.new_empty(len(coarse), *shape)
    for coil, target in zip(coarse, field, strict=True):
        for axis, (places, n) in enumerate(zip(centres, shape, strict=True)):
            known = torch.tensor(places, device=coarse.device)
            voxel = torch.arange(n, device=coarse.device)
            high = torch.searchsorted(known, voxel).clamp(min(1, len(known) - 1))
            low = (high - 1).clamp(0)
            weight = (voxel - known[low]) / (known[high] - known[low]).clamp(min=1)
            weight = weight.to(coil.dtype).reshape(-1, *[1] * (2 - axis))
            coil = torch.lerp(coil.index_select(axis, low), coil.index_select(axis, high), weight)
        target.copy_(coil)
    return _unit(field)
