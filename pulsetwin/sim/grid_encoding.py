"""Phases and decays of voxels on a grid during a readout, applied by NUFFTs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.operators.nufft import Nufft
from pulsetwin.sim.time_expansion import Expansion

_SPARSEST = 64  # cells of the grid for each voxel
_ROUGH = 1e-6  # of a grid's step, off which a voxel may lie
_STILL = 1e-7  # turns that are none
_IMAGES = 1 << 22  # cells that are transformed at once
_KEPT = 1 << 22  # voxels and terms whose decays are kept rather than computed each time


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid on which voxels lie.

    Parameters
    ----------
    origin, step
        Place of the first cell, and edges of the cells (1 where there is one only), along x, y, z [m].
    index
        Cell of each voxel along x, y, z, int64 ``[voxel, 3]``.
    """

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    index: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Cells along x, y, z of the smallest box around the voxels, ``[3]``."""
        return np.ptp(self.index, axis=0) + 1

    def axes(self, k: NDArray[np.float64]) -> list[int]:
        """Return the axes along which voxels have different phases at k ``[sample, 3]`` [1/m], the last one first."""
        moved = np.abs(k).max(0) * (self.step * (self.lengths - 1))
        return [axis for axis in (2, 1, 0) if moved[axis] > _STILL]


def grid_of(position: NDArray[np.float64]) -> Grid | None:
    """Return the grid of voxels at ``[voxel, 3]`` [m], or None if they lie on none that they fill reasonably."""
    origin, step, index = position.min(0), np.ones(3), np.zeros(position.shape, np.int64)
    for axis in range(3):
        offset = position[:, axis] - origin[axis]
        extent = offset.max()
        gaps = np.diff(np.unique(offset))
        gaps = gaps[gaps > 1e-9 * extent]
        if len(gaps) == 0:
            continue
        count = round(extent / gaps.min())
        if count > _SPARSEST * len(position):
            return None
        step[axis] = extent / count
        place = offset / step[axis]
        index[:, axis] = np.rint(place)
        if np.abs(place - index[:, axis]).max() > _ROUGH:
            return None
    grid = Grid(origin, step, index)
    return grid if grid.lengths.prod() <= _SPARSEST * len(position) else None


@dataclass(frozen=True, slots=True, eq=False)
class GridEncoding:
    """Linear map of voxels on a grid to samples, ``y_s = sum_v exp(-2 pi i k_s r_v - t_s z_v) x_v``.

    Parameters
    ----------
    nufft
        Of the smallest box around the voxels, along those axes along which k moves.
    cell
        Of each voxel in that box, int64 ``[voxel]``; some may share one.
    rate
        z: 1 / T2 +- 1 / T2' [1/s], and b0 [Hz] less the expansion's centre, float64 ``[2, voxel]``.
    times
        Of the expansion's terms, [s].
    course
        Of the terms, with the phase of the box's centre and the scale of the NUFFT, complex64 ``[term, sample]``.
    decays
        Of the terms, complex64 ``[voxel]`` each, or none yet: filled when first needed, unless they are too many.
    """

    nufft: Nufft
    cell: Tensor
    rate: Tensor
    times: NDArray[np.float64]
    course: Tensor
    decays: list[Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Return samples ``[row, sample]`` of voxels, complex64 ``[row, voxel]``."""
        seen = torch.zeros(len(x), self.course.shape[1], dtype=torch.complex64)
        for term, decay in enumerate(self._decays()):
            for part in self._parts(len(x)):
                image = torch.zeros(len(x[part]), math.prod(self.nufft.shape), dtype=torch.complex64)
                image.index_add_(1, self.cell, x[part] * decay)
                seen[part] += self.course[term] * self.nufft(image.unflatten(1, self.nufft.shape))
        return seen

    def adjoint(self, seen: Tensor) -> Tensor:
        """Return voxels ``[row, voxel]`` of samples, complex64 ``[row, sample]``."""
        x = torch.zeros(len(seen), len(self.cell), dtype=torch.complex64)
        for term, decay in enumerate(self._decays()):
            for part in self._parts(len(seen)):
                image = self.nufft.adjoint(seen[part] * self.course[term].conj())
                x[part] += image.flatten(1)[:, self.cell] * decay.conj()
        return x

    def _decays(self) -> Iterator[Tensor]:
        if len(self.decays) == len(self.times):
            yield from self.decays
            return
        self.decays.clear()
        for decay in decays(self.times, self.rate):
            if len(self.times) * len(self.cell) <= _KEPT:
                self.decays.append(decay)
            yield decay

    def _parts(self, rows: int) -> Iterator[slice]:
        step = max(1, _IMAGES // math.prod(self.nufft.shape))
        for begin in range(0, rows, step):
            yield slice(begin, begin + step)


def decays(times: NDArray[np.float64], rate: Tensor) -> Iterator[Tensor]:
    """Yield what each term of an expansion, at its time [s], multiplies voxels of a `rate` with, complex64 ``[voxel]``.

    `rate` is decay [1/s] and offset [Hz] less the expansion's centre, float64 ``[2, voxel]``.
    """
    for time in times.tolist():
        turns = time * rate[1]  # in double precision: these may be many
        angle = (turns - turns.round()).float() * (2 * math.pi)
        yield torch.polar(torch.exp((-time * rate[0]).float()), -angle)


def grid_encoding(
    grid: Grid, k: NDArray[np.float64], rate: NDArray[np.complex128], expansion: Expansion, decays: list[Tensor]
) -> GridEncoding:
    """Return the encoding of voxels on a grid at k ``[sample, 3]`` [1/m] for an expansion in time of their rates.

    `decays` is a list for other encodings of the same expansion and rates to share.
    """
    first, lengths = grid.index.min(0), grid.lengths
    axes = grid.axes(k) or [0]
    shape = tuple(int(lengths[axis]) for axis in axes)
    cell = np.zeros(len(grid.index), np.int64)
    for axis, length in zip(axes, shape, strict=True):
        cell = cell * length + grid.index[:, axis] - first[axis]
    turns = k[:, axes] @ (grid.origin + (first + lengths // 2) * grid.step)[axes]
    turns += k @ np.where(np.isin(np.arange(3), axes), 0, grid.origin)  # the same for all voxels
    phase = np.exp(-2j * np.pi * (turns - np.rint(turns))) * math.sqrt(math.prod(shape))
    slower = rate - 1j * expansion.centre
    return GridEncoding(
        Nufft(torch.from_numpy((k * grid.step * lengths)[:, axes]), shape), torch.from_numpy(cell),
        torch.from_numpy(np.stack((slower.real, slower.imag / (2 * math.pi)))), expansion.times,
        expansion.course * torch.from_numpy(phase).to(torch.complex64), decays,
    )  # fmt: skip
