"""What a coil receives during a readout of the voxels' magnetisation at its reference sample: by a matrix or by NUFFTs.

Both encodings have the same methods. Rows of voxels are real and imaginary parts of blocks, float32
``[row, block * 2 * LANES]``; what is seen of them is complex64 ``[row, sample]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.graph_encoding import add_encoding_adjoint, fill_encoding, fill_waves
from pulsetwin.sim.graph_lanes import LANES, R2, R2_PRIME
from pulsetwin.sim.graph_plan import Blocks
from pulsetwin.sim.grid_encoding import GridEncoding

_ALIKE = 1e-6  # of the norm of a run of rows, which may be left out


@dataclass(frozen=True, slots=True, eq=False)
class MatrixEncoding:
    """Encoding by a matrix ``[2 * sample, block * 2 * LANES]``: of one coil's sensitivity ``[block, 2, LANES]``."""

    matrix: Tensor
    waves: NDArray[np.float32]
    place: NDArray[np.float64]
    coil: NDArray[np.float32]

    def __call__(self, rows: Tensor) -> Tensor:
        """Return what is seen of rows of voxels."""
        return torch.view_as_complex((rows @ self.matrix.T).unflatten(1, (-1, 2)))

    def adjoint(self, seen: Tensor) -> Tensor:
        """Return rows of voxels of what is seen."""
        return torch.view_as_real(seen).flatten(1) @ self.matrix

    def add_gradients(self, seen_bar: Tensor, rows: Tensor, coil_bar: NDArray[np.float32], maps: Blocks) -> None:
        """Add the gradients of the coil and of the maps, given the cotangent of what is seen of `rows`."""
        product = torch.view_as_real(seen_bar).flatten(1).T @ rows
        bar = product.reshape(len(self.place), 2, -1, 2 * LANES).numpy()
        in_workers(len(self.coil), add_encoding_adjoint, bar, self.waves, self.place, self.coil, coil_bar, maps)


def matrix_encodings(
    blocks: Blocks, place: NDArray[np.float64], coils: NDArray[np.float32]
) -> Iterator[MatrixEncoding]:
    """Yield the encoding of each coil ``[coil, block, 2, LANES]`` at places ``[sample, 4]``; the next overwrites it."""
    waves = np.empty((len(place), len(blocks.tissue), 2 * LANES), np.float32)
    in_workers(len(blocks.tissue), fill_waves, waves, blocks, place)
    matrix = torch.empty(len(waves), 2, *waves.shape[1:])
    for coil in coils:
        in_workers(len(coil), fill_encoding, matrix.numpy(), waves, coil)
        yield MatrixEncoding(matrix.flatten(2).flatten(0, 1), waves, place, coil)


@dataclass(frozen=True, slots=True, eq=False)
class NufftEncoding:
    """Encoding by NUFFTs, of one coil's sensitivity complex64 ``[voxel]``, on one `side` of an echo.

    Of rows in a run, which are often multiples of one another, only as many are transformed as there have to be.
    """

    grid: GridEncoding
    runs: list[slice]
    place: NDArray[np.float64]
    side: float
    coil: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Return what is seen of rows of voxels."""
        mix, basis = _factored(_complex(rows), self.runs)
        return mix @ self.grid(basis * self.coil)

    def adjoint(self, seen: Tensor) -> Tensor:
        """Return rows of voxels of what is seen."""
        x = self.grid.adjoint(seen) * self.coil.conj()
        return torch.stack([part.unflatten(1, (-1, LANES)) for part in (x.real, x.imag)], 2).flatten(1)

    def add_gradients(self, seen_bar: Tensor, rows: Tensor, coil_bar: NDArray[np.float32], maps: Blocks) -> None:
        """Add the gradients of the coil and of the maps, given the cotangent of what is seen of `rows`.

        Those of the maps come from the images of the cotangents times k and times t.
        """
        mix, x = _factored(_complex(rows), self.runs)
        seen_bar = mix.mH @ seen_bar
        bar = (x.conj() * self.grid.adjoint(seen_bar)).sum(0).unflatten(0, (-1, LANES))
        coil_bar += torch.stack((bar.real, bar.imag), 1).numpy()
        for axis in np.flatnonzero(self.place.any(0)):
            moved = self.grid.adjoint(seen_bar * torch.from_numpy(self.place[:, axis]).float())
            product = (self.coil * x * moved.conj()).sum(0).unflatten(0, (-1, LANES)).numpy()
            maps.place[:, axis] += 2 * np.pi * product.imag
            if axis == 3:
                maps.tissue[:, R2] -= product.real
                maps.tissue[:, R2_PRIME] -= self.side * product.real


def nufft_encodings(
    grid: GridEncoding, runs: list[slice], place: NDArray[np.float64], side: float, coils: NDArray[np.float32]
) -> Iterator[NufftEncoding]:
    """Yield the encoding of each coil ``[coil, block, 2, LANES]`` at places ``[sample, 4]``, of rows in `runs`."""
    for coil in torch.from_numpy(coils):
        yield NufftEncoding(grid, runs, place, side, torch.complex(coil[:, 0], coil[:, 1]).flatten())


Encoding = MatrixEncoding | NufftEncoding


def _complex(rows: Tensor) -> Tensor:
    parts = rows.unflatten(1, (-1, 2, LANES))
    return torch.complex(parts[:, :, 0], parts[:, :, 1]).flatten(1)


def _factored(x: Tensor, runs: list[slice]) -> tuple[Tensor, Tensor]:
    """Return `mix` and `basis` of rows ``x = mix @ basis``, of as few rows as each run needs."""
    if all(run.stop - run.start == 1 for run in runs):
        return torch.eye(len(x), dtype=x.dtype), x
    mixes, bases = [], []
    for run in runs:
        double = x[run].to(torch.complex128)  # the squares of multiples differ by less than single precision tells
        values, vectors = torch.linalg.eigh(double @ double.mH)
        mixes.append(vectors[:, values > _ALIKE**2 * values[-1]])
        bases.append(mixes[-1].mH @ double)
    return torch.block_diag(*mixes).to(x.dtype), torch.cat(bases).to(x.dtype)


def in_workers(blocks: int, kernel: Callable[..., Any], *values: Any) -> None:
    """Run a kernel in threads, as many as numba is allowed; the last two arguments say which of how many it is."""
    workers = min(numba.get_num_threads(), blocks)
    if workers <= 1:
        kernel(*values, 0, 1)
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(kernel, *values, worker, workers) for worker in range(workers)]:
            done.result()
