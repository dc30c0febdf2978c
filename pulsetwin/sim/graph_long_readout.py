"""Which readouts are encoded by NUFFTs rather than by a matrix of all samples and voxels: those where that costs less.

That takes voxels on a grid, and readouts of many samples that see few sums of groups, such as single-shot spirals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.graph_lanes import LANES, R2, R2_PRIME
from pulsetwin.sim.graph_plan import Blocks
from pulsetwin.sim.graph_readout_encoding import Encoding, matrix_encodings, nufft_encodings
from pulsetwin.sim.graph_readouts import Readout
from pulsetwin.sim.grid_encoding import Grid, grid_encoding, grid_of
from pulsetwin.sim.time_expansion import Expansion, expand_in_time

# Seconds on one core, by benchmarks/bench_long_readouts.py. Of a matrix, for each sample and voxel: its phases and
# decays, filling it for a coil, and its product with a row. Of a NUFFT of a row, a coil and a term: by itself, and for
# each voxel, and each sample and each cell in one to three dimensions.
_WAVE, _FILL, _PRODUCT = 8e-9, 3.5e-9, 0.12e-9
_CALL, _VOXEL, _SAMPLE, _CELL = 2e-4, 10e-9, (30e-9, 70e-9, 280e-9), (45e-9, 60e-9, 100e-9)
_SET_UP = 1e-2
_GAIN = 2.0  # at least, for the NUFFT's error of 1e-5 instead of 1e-6
_FEWEST_TERMS = 6

Encoded = tuple[Readout, Callable[[], Iterator[Encoding]]]
"""A readout, and what yields its encoding for each coil."""


@dataclass(frozen=True, slots=True, eq=False)
class LongReadout:
    """A readout on one side of an echo, and the expansion in time that serves all voxels at that side's rates."""

    readout: Readout
    expansion: Expansion
    rate: NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Readouts that are encoded by a matrix, and long ones that are by NUFFTs of voxels on a grid."""

    short: tuple[Readout, ...]
    long: tuple[LongReadout, ...] = ()
    grid: Grid | None = None

    def encodings(self, blocks: Blocks, part: slice, coils: NDArray[np.float32]) -> list[Encoded]:
        """Return readouts and what yields their encodings for each coil.

        Parameters
        ----------
        blocks, part
            Blocks of voxels, and which they are of all that there are.
        coils
            Their sensitivities, ``[coil, block, 2, LANES]``.
        """
        found: list[Encoded] = [(one, partial(matrix_encodings, blocks, one.place, coils)) for one in self.short]
        if self.grid is None:
            return found
        voxels = slice(part.start * LANES, part.stop * LANES)
        grid = replace(self.grid, index=self.grid.index[voxels])
        kept: dict[int, list[Tensor]] = {}
        for long in self.long:
            found.append((long.readout, partial(_encodings, long, grid, long.rate[voxels], coils, kept)))
        return found


def _encodings(
    long: LongReadout, grid: Grid, rate: NDArray[np.complex128], coils: NDArray[np.float32],
    kept: dict[int, list[Tensor]],
) -> Iterator[Encoding]:  # fmt: skip
    """Return an iterator over the encodings for each coil; those of the next readout take what is `kept` of decays."""
    readout, expansion = long.readout, long.expansion
    if id(expansion) not in kept:
        kept.clear()  # one set of them is enough: most often all long readouts have the same times
    decays = kept.setdefault(id(expansion), [])
    encoding = grid_encoding(grid, readout.place[:, :3], rate, expansion, decays)
    return nufft_encodings(encoding, _runs(readout), readout.place, float(readout.side[0]), coils)


def split_readouts(readouts: tuple[Readout, ...], blocks: Blocks, coils: int, chunk: int) -> Split:
    """Return which readouts take less time by NUFFTs than by a matrix, by an estimate.

    Parameters
    ----------
    readouts
        Distinct readouts.
    blocks
        All blocks of voxels.
    coils
        Number of coils.
    chunk
        Blocks that are encoded at a time.
    """
    voxels, calls = len(blocks.tissue) * LANES, math.ceil(len(blocks.tissue) / chunk)
    seconds = [_matrix_seconds(len(one.place), len(one.rows), voxels, coils) for one in readouts]
    least = [_nufft_seconds(len(one.place), len(one.rows) * coils * _FEWEST_TERMS, voxels, 0, 1) for one in readouts]
    grid = None
    if any(_GAIN * low < high for low, high in zip(least, seconds, strict=True)):
        place, tissue = _filled(blocks)
        grid = grid_of(place[:, :3])
    if grid is None:
        return Split(readouts)
    rates = {side: tissue[:, 0] + side * tissue[:, 1] + 2j * np.pi * place[:, 3] for side in (1, -1)}
    known: dict[tuple[int, bytes], Expansion | None] = {}
    short, long = [], []
    for readout, low, high in zip(readouts, least, seconds, strict=True):
        parts = _long(readout, rates, known) if _GAIN * low < high else []
        if parts and _GAIN * sum(_long_seconds(one, grid, coils, calls) for one in parts) < high:
            long += parts
        else:
            short.append(readout)
    return Split(tuple(short), tuple(long), grid)


def _long(
    readout: Readout, rates: dict[int, NDArray[np.complex128]], known: dict[tuple[int, bytes], Expansion | None]
) -> list[LongReadout]:
    """Return the parts of a readout on both sides of its echo, or none if there is no expansion for one of them.

    Expansions are looked up in `known`, or added to it.
    """
    parts = []
    for half in _halves(readout):
        side, time = int(half.side[0]), half.place[:, 3]
        key = (side, time.tobytes())
        if key not in known:
            known[key] = expand_in_time(rates[side], time)
        expansion = known[key]
        if expansion is None:
            return []
        parts.append(LongReadout(half, expansion, rates[side]))
    return parts


def _long_seconds(long: LongReadout, grid: Grid, coils: int, calls: int) -> float:
    """Return an estimate of the time for a part of a readout, if voxels are encoded in so many calls."""
    samples, transforms = len(long.readout.place), len(long.readout.rows) * coils * len(long.expansion.times)
    axes = grid.axes(long.readout.place[:, :3])
    cells = math.prod(grid.lengths[axes].tolist())
    return calls * _nufft_seconds(samples, transforms, len(long.rate) // calls, cells // calls, max(1, len(axes)))


def _matrix_seconds(samples: int, rows: int, voxels: int, coils: int) -> float:
    return samples * voxels * (_WAVE + coils * (_FILL + rows * _PRODUCT))


def _nufft_seconds(samples: int, transforms: int, voxels: int, cells: int, axes: int) -> float:
    each = _CALL + voxels * _VOXEL + samples * _SAMPLE[axes - 1] + cells * _CELL[axes - 1]
    return _SET_UP + transforms * each


def _filled(blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x, y, z and b0, and R2 and R2' of voxels, ``[voxel, *]``, the last block filled up by its first voxel.

    What a block is filled up with holds nothing, and its place need not be on the grid.
    """
    both = (blocks.place, blocks.tissue)
    place, tissue = (np.array(values.swapaxes(1, 2)).reshape(-1, values.shape[1]) for values in both)
    empty = ~(place.any(1) | tissue.any(1))
    empty[:-LANES] = False
    place[empty], tissue[empty] = place[-LANES], tissue[-LANES]
    return place, tissue[:, [R2, R2_PRIME]].astype(np.float64)


def _halves(readout: Readout) -> Iterator[Readout]:
    """Yield the parts of a readout before and after its echo: rates differ, and T2' then makes no kink at time 0."""
    for side in (1, -1):
        rows = torch.nonzero(readout.side == side)[:, 0]
        heard = np.flatnonzero((readout.weight[rows] != 0).any(0).numpy() & (side * readout.place[:, 3] >= 0))
        if len(heard):
            part = slice(heard[0], heard[-1] + 1)
            yield replace(
                readout, place=readout.place[part], rows=readout.rows[rows], weight=readout.weight[rows, part],
                sample=readout.sample[rows, part], reference=readout.reference[rows], side=readout.side[rows],
            )  # fmt: skip


def _runs(readout: Readout) -> list[slice]:
    """Return which rows are of the same samples."""
    edges = torch.nonzero(readout.sample[:, 0].diff(prepend=torch.tensor([-1])))[:, 0].tolist()
    return [slice(*pair) for pair in pairwise([*edges, len(readout.sample)])]
