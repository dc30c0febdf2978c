"""Subspace SENSE: images of several contrasts, or of the echoes of a train, as few coefficient images.

Each line has a weight for each coefficient; a weight of 1 for one and 0 for the others gives images of contrasts by
themselves. The readout is transformed first, so that every position along it is a problem of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.solve import conjugate_gradient
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.hybrid import PLANE
from pulsetwin.recon.sensitivities import Sensitivities
from pulsetwin.recon.subspace_kernel import gathered, mix, spread


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
    regularisation: float | Tensor = 1e-3,
    iterations: int = 30,
    tolerance: float = 3e-4,
    progress: Progress = silent,
) -> Tensor:
    """Solve ``min_x sum_l ||y_l - (F S sum_k w_lk x_k)_l||^2 + sum_k lambda_k ||x_k||^2`` at each place of the readout.

    Parameters
    ----------
    lines
        What was measured.
    sensitivities
        Of the coils.
    regularisation
        ``lambda``, one or of each coefficient, on the scale of unit sensitivities, the orthonormal Fourier transform
        and weights of about 1.
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
    weights, cell = lines.weights.to(lines.values.real.dtype), lines.cell
    costs = torch.as_tensor(regularisation, dtype=weights.dtype).expand(weights.shape[1]).contiguous()
    if not bool((costs >= 0).all()):
        raise ProtocolError(f"regularisation {regularisation} is negative: give 0 or more")
    kernel = _kernel(weights, cell, lines.shape)
    images = lines.values.new_zeros((weights.shape[1], *lines.shape))

    def solve(x: slice) -> int:
        """Solve some positions along x; return how many."""
        torch.set_num_threads(1)  # of this thread: positions are worked on side by side
        maps = sensitivities.at(x)
        if bool(maps.any()):
            rhs = _combined(maps, torch.fft.ifftn(_planes(lines, weights, cell, x), dim=PLANE, norm="ortho"))
            model = partial(_normal, maps.contiguous(), kernel, costs)
            solved = conjugate_gradient(model, rhs, iterations=iterations, tolerance=tolerance, batch_axes=1)
            images[..., x] = torch.fft.fftshift(solved, PLANE).movedim(0, -1)
        return x.stop - x.start

    done = 0
    with ThreadPoolExecutor(torch.get_num_threads()) as workers:
        for count in workers.map(solve, (slice(x, x + 1) for x in range(lines.shape[2]))):
            done += count
            progress(done, lines.shape[2], "reconstructing")
    return images


def _kernel(weights: Tensor, cell: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return ``sum_l w_lj w_lk`` of the lines of each cell, real ``[cell, coefficient, coefficient]``."""
    terms = weights.shape[1]
    products = (weights[:, :, None] * weights[:, None]).flatten(1)
    kernel = weights.new_zeros(shape[0] * shape[1], terms**2).index_add_(0, cell, products)
    return kernel.unflatten(1, (terms, terms))


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


def _normal(maps: Tensor, kernel: Tensor, costs: Tensor, image: Tensor) -> Tensor:
    """Apply the normal operator at some positions along x, to images ``[x, coefficient, z, y]``."""
    flat_maps, flat = maps.flatten(2).numpy(), image.contiguous().flatten(2).numpy()
    coils = image.new_empty((*image.shape[:2], maps.shape[1], *image.shape[2:]))
    spread(flat_maps, flat, coils.flatten(3).numpy())
    data = torch.fft.fftn(coils, dim=PLANE)
    mix(data.flatten(3).numpy(), kernel.numpy(), kernel.diagonal(0, 1, 2).any(1).numpy())
    coils = torch.fft.ifftn(data, dim=PLANE)
    result = torch.empty_like(image, memory_format=torch.contiguous_format)
    gathered(flat_maps, coils.flatten(3).numpy(), flat, costs.numpy(), result.flatten(2).numpy())
    return result


def one_hot(contrast: Tensor, contrasts: int) -> Tensor:
    """Return the weights of lines of separate contrasts, float32 ``[line, contrast]``."""
    return torch.nn.functional.one_hot(contrast, contrasts).float()
