"""Subspace SENSE: images of several contrasts, or of the echoes of a train, as few coefficient images.

Each line has a weight for each coefficient; a weight of 1 for one and 0 for the others gives images of contrasts by
themselves. The readout is transformed first, so that every position along it is a problem of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.solve import conjugate_gradient
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.hybrid import PLANE, chunks
from pulsetwin.recon.sensitivities import Sensitivities


@dataclass(frozen=True, slots=True)
class Lines:
    """Whitened lines of a volume, image along x.

    Parameters
    ----------
    values
        Complex ``[line, coil, x]``; a memory-mapped array will do.
    kz, ky
        Cell of each line, with the centre of k-space at index ``n // 2``, int64 ``[line]``.
    weights
        Of each line in the coefficients, real ``[line, coefficient]``.
    shape
        Voxels along z, y, x.
    """

    values: Tensor
    kz: Tensor
    ky: Tensor
    weights: Tensor
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        counts = {len(self.values), len(self.kz), len(self.ky), len(self.weights)}
        if len(counts) != 1 or self.values.ndim != 3 or self.values.shape[2] != self.shape[2]:
            raise ShapeError(
                f"lines are {tuple(self.values.shape)}, cells {tuple(self.kz.shape)} and {tuple(self.ky.shape)}, "
                f"weights {tuple(self.weights.shape)}: give [line, coil, x], [line], [line] and [line, coefficient]"
            )
        if not len(self.values):
            raise ProtocolError("there is no line to reconstruct")

    @property
    def cell(self) -> Tensor:
        """Index of each line in a plane ``[z, y]`` whose origin comes first, int64 ``[line]``."""
        nz, ny, _ = self.shape
        return (self.kz - nz // 2) % nz * ny + (self.ky - ny // 2) % ny


def subspace_sense(
    lines: Lines,
    sensitivities: Sensitivities,
    *,
    regularisation: float = 1e-3,
    iterations: int = 30,
    tolerance: float = 3e-4,
    progress: Progress = silent,
) -> Tensor:
    """Solve ``min_x sum_l ||y_l - (F S sum_k w_lk x_k)_l||^2 + lambda ||x||^2`` at each position along the readout.

    Parameters
    ----------
    lines
        What was measured.
    sensitivities
        Of the coils.
    regularisation
        ``lambda``, on the scale of unit sensitivities, the orthonormal Fourier transform and weights of about 1.
    iterations
        Most steps of conjugate gradients.
    tolerance
        Relative residual at which they stop.
    progress
        Called with the positions along x that are done.

    Returns
    -------
    Tensor
        Coefficient images ``[coefficient, z, y, x]`` in the unit of the lines; 0 where no coil is sensitive.

    Raises
    ------
    ShapeError
        If lines and sensitivities disagree.
    ProtocolError
        If `regularisation` is negative.

    References
    ----------
    Tamir et al. 2017, doi:10.1002/mrm.26102; Pruessmann et al. 2001, doi:10.1002/mrm.1241.
    """
    if lines.values.shape[1] != sensitivities.coils or lines.shape != sensitivities.shape:
        raise ShapeError(
            f"lines of {lines.values.shape[1]} coils on {lines.shape} and sensitivities of {sensitivities.coils} on "
            f"{sensitivities.shape} (z, y, x): pass those of one scan"
        )
    if not regularisation >= 0:
        raise ProtocolError(f"regularisation {regularisation} is negative: give 0 or more")
    weights, cell = lines.weights.to(lines.values.real.dtype), lines.cell
    kernel = _kernel(weights, cell, lines.shape)
    size = weights.shape[1] * lines.values.shape[1] * lines.shape[0] * lines.shape[1] * lines.values.element_size()
    images = lines.values.new_zeros((weights.shape[1], *lines.shape))
    for x in chunks(lines.shape[2], size):
        maps = sensitivities.at(x)
        if bool(maps.any()):
            rhs = _combined(maps, torch.fft.ifftn(_planes(lines, weights, cell, x), dim=PLANE, norm="ortho"))
            model = _Normal(maps, kernel, regularisation)
            solved = conjugate_gradient(model, rhs, iterations=iterations, tolerance=tolerance, batch_axes=1)
            images[..., x] = torch.fft.fftshift(solved, PLANE).movedim(0, -1)
        progress(x.stop, lines.shape[2], "reconstructing")
    return images


def _kernel(weights: Tensor, cell: Tensor, shape: tuple[int, int, int]) -> dict[tuple[int, int], Tensor]:
    """Return ``sum_l w_lj w_lk`` of the lines of each cell, real ``[z, y]`` for each pair ``j <= k`` that has any."""
    kernel = {}
    for j in range(weights.shape[1]):
        for k in range(j, weights.shape[1]):
            plane = weights.new_zeros(shape[0] * shape[1]).index_add_(0, cell, weights[:, j] * weights[:, k])
            if bool(plane.any()):
                kernel[j, k] = plane.reshape(shape[:2])
    return kernel


def _planes(lines: Lines, weights: Tensor, cell: Tensor, x: slice) -> Tensor:
    """Return the lines, weighted and summed in their cells, ``[x, coefficient, coil, z, y]``, origin first."""
    part = lines.values[..., x]
    planes = part.new_zeros((part.shape[2], weights.shape[1], part.shape[1], lines.shape[0] * lines.shape[1]))
    columns = part.permute(2, 1, 0).contiguous()
    for k in range(weights.shape[1]):
        used = torch.nonzero(weights[:, k]).flatten()
        planes[:, k].index_add_(2, cell[used], columns[:, :, used] * weights[used, k])
    return planes.unflatten(-1, lines.shape[:2])


def _combined(maps: Tensor, coils: Tensor) -> Tensor:
    """Return the sum over coils of conjugate sensitivities times coil images, ``[x, coefficient, z, y]``."""
    return torch.stack([(maps.conj() * one).sum(1) for one in coils.unbind(1)], 1)


@dataclass(frozen=True, slots=True)
class _Normal:
    """The normal operator at some positions along x, on images ``[x, coefficient, z, y]``."""

    maps: Tensor
    kernel: dict[tuple[int, int], Tensor]
    regularisation: float

    def __call__(self, image: Tensor) -> Tensor:
        data = torch.fft.fftn(self.maps[:, None] * image[:, :, None], dim=PLANE)
        return _combined(self.maps, torch.fft.ifftn(self._mixed(data), dim=PLANE)).add_(
            image, alpha=self.regularisation
        )

    def _mixed(self, data: Tensor) -> Tensor:
        result = torch.zeros_like(data)
        for (j, k), plane in self.kernel.items():
            result[:, j].addcmul_(data[:, k], plane.to(data.dtype))
            if k != j:
                result[:, k].addcmul_(data[:, j], plane.to(data.dtype))
        return result


def one_hot(contrast: Tensor, contrasts: int) -> Tensor:
    """Return the weights of lines of separate contrasts, float32 ``[line, contrast]``."""
    return torch.nn.functional.one_hot(contrast, contrasts).float()
