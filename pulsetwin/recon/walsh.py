"""Walsh's adaptive estimate of coil sensitivities from coil images."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.compress import svd_compression
from pulsetwin.recon.eigenvectors import CHUNK, from_start, in_phase

_REACH = 2  # voxels to each side that share a covariance: a box of 5 x 5 x 5


def walsh(images: Tensor) -> Tensor:
    """Return coil sensitivities: the dominant eigenvector of the coil covariance in a box of voxels.

    ``R(r) = sum_{|r' - r| <= 2} i(r') i(r')^H``; needs no calibration region, but unlike ESPIRiT does not tell signal
    from noise. Covariances are held for some rows of a plane at a time.

    Parameters
    ----------
    images
        Whitened coil images, complex ``[coil, z, y, x]``.

    Returns
    -------
    Tensor
        Sensitivities with ``sum_c |s_c|^2`` = 1 (0 where all images are 0), ``[coil, z, y, x]``; their phase makes the
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
    largest = images.abs().max()
    if not 0 < float(largest) < float("inf"):
        raise ProtocolError("coil images are all zero or not finite: check the data")
    images = images / largest
    coils, planes, height, width = images.shape
    step = max(1, CHUNK // (width * coils**2))
    maps = torch.empty_like(images)
    for z in range(planes):
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            start = images[:, z, rows].movedim(0, -1)
            maps[:, z, rows] = from_start(_covariances(images, z, rows), start, smallest=0.0).movedim(-1, 0)
    size = torch.linalg.vector_norm(maps, dim=0)
    return in_phase(maps, svd_compression(images, 1)[0]).mul_(torch.where(size > 0, 1 / size, 0))


def _covariances(images: Tensor, z: int, rows: slice) -> Tensor:
    """Return the sums of ``i i^H`` over the box around voxels of some rows of plane z, ``[row, x, coil, coil]``."""
    above, below = min(rows.start, _REACH), min(images.shape[2] - rows.stop, _REACH)
    part = images[:, max(0, z - _REACH) : z + _REACH + 1, rows.start - above : rows.stop + below]
    vectors = part.permute(2, 3, 0, 1)
    products = vectors @ vectors.mH
    return _box(_box(products, 1), 0)[above : above + rows.stop - rows.start]


def _box(values: Tensor, axis: int) -> Tensor:
    """Return the sum over neighbours up to `_REACH` away along `axis`; there is nothing beyond the edges."""
    total = values.clone()
    for shift in range(1, min(_REACH, values.shape[axis] - 1) + 1):
        length = values.shape[axis] - shift
        total.narrow(axis, 0, length).add_(values.narrow(axis, shift, length))
        total.narrow(axis, shift, length).add_(values.narrow(axis, 0, length))
    return total
