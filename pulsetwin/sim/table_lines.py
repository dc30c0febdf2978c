"""Readouts that all run the same course along one axis of the grid, from different places of the plane across it.

Then each axis is transformed by itself, by a small dense matrix: first the two across, where only the places that are
read are computed, then the one along, together with relaxation and precession during the readout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.grid_encoding import Grid, decays
from pulsetwin.sim.time_expansion import Expansion
from pulsetwin.sim.voxel_transform import edge_transform

Array = NDArray[np.float64]
_STILL = 1e-6  # turns across the grid that are none
_FEW, _SPARSE = 64, 4  # distinct places along an axis, and these for each cell of it, above which a NUFFT is faster
_AT_ONCE = 1 << 24  # numbers of an image, with all terms of its expansion, that are transformed at once


@dataclass(frozen=True, slots=True, eq=False)
class LineEncoding:
    """Linear map of voxels on a grid to lines, ``y_ls = sum_v exp(-2 pi i (k_l + k_s) r_v - t_s z_v) x_v``.

    Parameters
    ----------
    shape
        Cells of the box around the voxels: along the first axis across, the readout, and the second axis across.
    cell
        Of each voxel in that box, but for the terms of the expansion, int64 ``[2, voxel]``: along the first axis, and
        in the plane of the others.
    rate, times
        As of `grid_encoding.GridEncoding`.
    first
        Phases along the first axis across, complex64 ``[place, cell]``.
    second
        For each of these places, the lines there, int64 ``[line]``, and their phases along the second axis,
        ``[line, cell]``.
    along
        Phases and courses of the terms along the readout, complex64 ``[term * cell, sample]``.
    """

    shape: tuple[int, int, int]
    cell: Tensor
    rate: Tensor
    times: Array
    first: Tensor
    second: list[tuple[Tensor, Tensor]]
    along: Tensor

    @property
    def rows(self) -> int:
        """Images that are best encoded together."""
        return max(1, _AT_ONCE // (math.prod(self.shape) * len(self.times)))

    def __call__(self, x: Tensor) -> Tensor:
        """Return lines ``[line, row, sample]`` of voxels, complex64 ``[row, voxel]``."""
        count, plane = len(x) * len(self.times), math.prod(self.shape[1:])
        box = torch.zeros(self.shape[0], count, plane, dtype=torch.complex64)
        for term, decay in enumerate(decays(self.times, self.rate)):
            for row, image in enumerate(x):
                box[self.cell[0], row * len(self.times) + term, self.cell[1]] = image * decay
        places = (self.first @ box.flatten(1)).unflatten(1, (len(x), -1, self.shape[2]))
        del box
        across = torch.empty(sum(len(lines) for lines, _ in self.second), *places.shape[1:3], dtype=torch.complex64)
        for place, (lines, phases) in zip(places, self.second, strict=True):
            across[lines] = (phases @ place.flatten(0, 1).T).unflatten(1, place.shape[:2])
        return across @ self.along


def line_encoding(
    grid: Grid, size: tuple[float, float, float], shape: str, start: Array, course: Array,
    rate: NDArray[np.complex128], expansion: Expansion,
) -> LineEncoding | None:  # fmt: skip
    """Return the encoding of voxels on a grid at k ``start[line, 3] + course[sample, 3]`` [1/m].

    None if the course is not along one axis, from one place on it, or if the places across it are scattered.

    Parameters
    ----------
    grid
        Of the voxels, each in a cell of its own.
    size, shape
        Of the voxels, as of `phantom.Voxels`.
    start, course
        Where each line begins, and where it leads from there.
    rate, expansion
        Of the voxels, and of their decays and phases during a line.
    """
    axis = straight_axis(grid, course)
    if axis is None or np.ptp(start[:, axis]) * grid.step[axis] * grid.lengths[axis] > _STILL:
        return None
    index = grid.index - grid.index.min(0)
    if len(np.unique(index @ np.cumprod([1, *grid.lengths[:2]]))) < len(index):
        return None
    across = [other for other in range(3) if other != axis]
    found = [_places(start[:, other] * grid.step[other]) for other in across]
    if len(found[1][0]) < len(found[0][0]):
        across, found = across[::-1], found[::-1]
    if len(found[0][0]) > max(_FEW, _SPARSE * grid.lengths[across[0]]):
        return None

    def phases(k: Array, other: int) -> Tensor:
        cells = grid.origin[other] + (grid.index[:, other].min() + np.arange(grid.lengths[other])) * grid.step[other]
        turns, weight = np.outer(k, cells), edge_transform(torch.from_numpy(k), size[other], shape).numpy()
        return torch.from_numpy((np.exp(-2j * np.pi * (turns - np.rint(turns))) * weight[:, None]).astype(np.complex64))

    (one, two), (_, example, which) = across, found[0]
    members = [np.nonzero(which == place)[0] for place in range(len(example))]
    along = phases(start[0, axis] + course[:, axis], axis).T * expansion.course[:, None]
    slower = rate - 1j * expansion.centre
    return LineEncoding(
        (int(grid.lengths[one]), int(grid.lengths[axis]), int(grid.lengths[two])),
        torch.from_numpy(np.stack((index[:, one], index[:, axis] * grid.lengths[two] + index[:, two]))),
        torch.from_numpy(np.stack((slower.real, slower.imag / (2 * math.pi)))), expansion.times,
        phases(start[example, one], one),
        [(torch.from_numpy(lines), phases(start[lines, two], two)) for lines in members], along.flatten(0, 1),
    )  # fmt: skip


def straight_axis(grid: Grid, course: Array) -> int | None:
    """Return the axis along which a course ``[sample, 3]`` [1/m] runs, or None if it does not keep to one."""
    turns = np.ptp(course, axis=0) * grid.step * grid.lengths
    moved = np.nonzero(turns > _STILL)[0]
    return None if len(moved) > 1 else int(moved[0]) if len(moved) else 0


def _places(k: Array) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values of k, an example of each, and which each is."""
    value, example, which = np.unique(np.rint(k / _STILL), return_index=True, return_inverse=True)
    return value, example, which.ravel()
