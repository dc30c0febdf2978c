"""ESPIRiT coil sensitivities with little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.compress import svd_compression
from pulsetwin.recon.eigenvectors import CHUNK, from_squaring, from_start, in_phase
from pulsetwin.recon.signal_space import projection_kernel

_COARSE = 32  # most voxels along an axis of the first grid, where eigenvectors are computed from nothing
_NEAR_CROP = 0.9  # eigenvalues below this part of the crop's are left to themselves


def espirit(
    calibration: Tensor,
    shape: tuple[int, int, int],
    *,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    progress: Progress = silent,
) -> Tensor:
    """Return coil sensitivities: at each voxel the dominant eigenvector of ESPIRiT's operator G.

    ``G(q) s(q) = s(q)`` where there is signal. G is a short Fourier series in q (`projection_kernel`), so its
    eigenvectors are found on a coarse grid, interpolated to one twice as fine, and corrected there by a few power
    iterations with the exact G of that grid, a slab at a time, up to the full grid.

    Parameters
    ----------
    calibration
        Fully sampled k-space around the centre, complex ``[coil, z, y, x]``, whitened; a length of 1 makes it 2D.
    shape
        Grid of the maps ``(z, y, x)``, over the field of view of the calibration.
    kernel
        Width of the blocks in samples.
    threshold
        Smallest singular value of the blocks that counts as signal, relative to the largest.
    crop
        Smallest eigenvalue of G (0 to 1) that counts as signal; maps are 0 elsewhere.
    progress
        Called with the slabs done, on the full grid.

    Returns
    -------
    Tensor
        Sensitivities with ``sum_c |s_c|^2`` = 1 or 0, ``[coil, z, y, x]``; their phase makes the strongest virtual coil
        (first singular vector of the calibration) real.

    Raises
    ------
    ShapeError
        If `calibration` or `shape` is not 3D.
    ProtocolError
        If the calibration is zero, not finite, or too small for the kernel, or a setting is out of range.

    References
    ----------
    Uecker et al. 2014, doi:10.1002/mrm.24751.
    """
    field = espirit_field(calibration, shape, kernel=kernel, threshold=threshold, crop=crop, progress=progress)
    values = torch.linalg.vector_norm(field, dim=0)
    return field.mul_(torch.where(values > crop, 1 / values, 0))


def espirit_field(
    calibration: Tensor,
    shape: tuple[int, int, int],
    *,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    progress: Progress = silent,
) -> Tensor:
    """Return eigenvalue times eigenvector of G, ``[coil, z, y, x]``; parameters and errors as in `espirit`.

    It varies smoothly, so that it may be computed on a coarse grid and interpolated (`interpolated`).
    """
    _check(calibration, shape, kernel, threshold, crop)
    series = projection_kernel(calibration, kernel, threshold)
    reference = svd_compression(calibration, 1)[0]
    grids = [tuple(shape)]
    while max(grids[0]) > _COARSE:
        grids.insert(0, tuple((n + 1) // 2 for n in grids[0]))
    field = _direct(series, grids[0], crop)
    for grid in grids[1:]:
        report = progress if grid == grids[-1] else silent
        field = _refined(series, in_phase(field, reference), grid, crop, report)
    return in_phase(field, reference)


def _direct(series: Tensor, grid: tuple[int, ...], crop: float) -> Tensor:
    """Return eigenvalue times eigenvector of G, ``[coil, *grid]``, without a first guess."""
    field = series.new_empty(series.shape[-1], *grid)
    for z, rows in _slabs(series, grid):
        operator = _operator(series, grid, z, rows)
        image = from_start(operator, from_squaring(operator), smallest=_NEAR_CROP * crop)
        field[:, z, rows] = image.movedim(-1, 0)
    return field


def _refined(series: Tensor, coarse: Tensor, grid: tuple[int, ...], crop: float, progress: Progress) -> Tensor:
    """Return eigenvalue times eigenvector of G, ``[coil, *grid]``, by power iterations from a coarser grid's."""
    field = series.new_empty(len(coarse), *grid)
    for z, rows in _slabs(series, grid):
        start = interpolated(coarse, grid, (slice(z, z + 1), rows, slice(None)))[:, 0].movedim(0, -1)
        image = from_start(_operator(series, grid, z, rows), start, smallest=_NEAR_CROP * crop)
        field[:, z, rows] = image.movedim(-1, 0)
        progress(z * grid[1] + rows.stop, grid[0] * grid[1], "coil sensitivities")
    return field


def _slabs(series: Tensor, grid: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """Yield parts of the grid, some rows of a plane each, small enough for G to be held there."""
    rows = max(1, CHUNK // (grid[2] * series.shape[-1] ** 2))
    for z in range(grid[0]):
        for start in range(0, grid[1], rows):
            yield z, slice(start, min(start + rows, grid[1]))


def _operator(series: Tensor, grid: tuple[int, ...], z: int, rows: slice) -> Tensor:
    """Return G in some rows of plane z, ``[row, x, coil, coil]``: the sum of the series, axis by axis."""
    waves_z, waves_y, waves_x = (_waves(series, axis, n) for axis, n in enumerate(grid))
    coils, (_, size_y, size_x) = series.shape[-1], series.shape[:3]
    plane = (waves_z[z] @ series.flatten(1)).reshape(size_y, -1)
    lines = (waves_y[rows] @ plane).reshape(-1, size_x, coils**2)
    return (waves_x @ lines).unflatten(-1, (coils, coils))


def _waves(series: Tensor, axis: int, n: int) -> Tensor:
    """Return ``exp(2 pi i d (q - n // 2) / n)`` for each voxel q and offset d of an axis, ``[n, offset]``."""
    reach = series.shape[axis] // 2
    voxels = torch.arange(n, dtype=torch.float64, device=series.device) - n // 2
    offsets = torch.arange(-reach, reach + 1, device=series.device)
    return torch.exp(2j * math.pi / n * voxels[:, None] * offsets).to(series.dtype)


def interpolated(coarse: Tensor, grid: tuple[int, ...], picks: tuple[slice, slice, slice]) -> Tensor:
    """Return `coarse`, ``[coil, z, y, x]``, linearly interpolated to a part of a finer grid, with the same axes."""
    counts = [len(range(*pick.indices(n))) for n, pick in zip(grid, picks, strict=True)]
    for axis in sorted((1, 2, 3), key=lambda axis: counts[axis - 1] / coarse.shape[axis]):
        m, n, pick = coarse.shape[axis], grid[axis - 1], picks[axis - 1]
        place = ((torch.arange(n, dtype=torch.float64, device=coarse.device) - n // 2) * m / n + m // 2)[pick]
        left = place.floor()
        weight = (place - left).to(coarse.real.dtype).reshape(-1, *[1] * (3 - axis))
        low, high = (coarse.index_select(axis, (left.long() + step) % m) for step in (0, 1))
        coarse = torch.lerp(low, high, weight.to(low.dtype))
    return coarse


def _check(calibration: Tensor, shape: tuple[int, ...], kernel: int, threshold: float, crop: float) -> None:
    if calibration.ndim != 4 or len(shape) != 3:
        raise ShapeError(
            f"calibration is {tuple(calibration.shape)}, shape {shape}: give [coil, z, y, x] and (z, y, x)"
        )
    if kernel < 2 or not 0 < threshold < 1 or not 0 < crop < 1:
        raise ProtocolError(
            f"kernel {kernel}, threshold {threshold}, crop {crop}: need a kernel from 2, others in 0..1"
        )
    if not bool(calibration.isfinite().all()):
        raise ProtocolError("calibration data are not finite: check the readouts around the centre of k-space")
    if not bool(calibration.any()):
        raise ProtocolError("calibration data are all zero: give the sampled centre of k-space")
