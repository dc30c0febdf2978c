"""The played gradients on an even raster, a chunk at a time, so that a long sequence never stands in memory whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import GX, GZ, SeqFile

CHUNK = 2**16
_SILENCE = 2**13  # a pause of so many samples ends a chunk; shorter ones cost less than a further chunk


def gradient_chunks(seq: SeqFile, raster: float, length: int = CHUNK) -> Iterator[tuple[int, Array]]:
    """Yield the gradients after rotation, in the middle of each raster interval, in chunks in order of time.

    Stretches without gradients are left out where they fill the time between two chunks: a chunk's first number tells
    how many samples of zero lie before it.

    Parameters
    ----------
    raster
        Raster time [s]; sample `n` lies at ``(n + 0.5) raster``.
    length
        Samples of a chunk.

    Yields
    ------
    tuple
        Number of the first sample, and gradients [Hz/m], float64 ``[3, sample]``.
    """
    busy = np.nonzero(np.any(seq.events[:, GX : GZ + 1] != NONE, axis=1))[0]
    begin = np.floor(seq.block_start[busy] / raster + 1e-6).astype(np.int64)
    end = np.ceil((seq.block_start[busy] + seq.block_duration[busy]) / raster - 1e-6).astype(np.int64)
    pauses = np.append(np.nonzero(begin[1:] - end[:-1] > _SILENCE)[0], len(busy) - 1)
    rotation, first = seq.rotation, 0
    while (pending := int(np.searchsorted(end, first, side="right"))) < len(busy):
        first = max(first, int(begin[pending]))
        stop = min(first + length, int(end[pauses[np.searchsorted(pauses, pending)]]))
        after = int(np.searchsorted(begin, stop))
        blocks = busy[pending:after]
        yield first, _sampled(seq, blocks, rotation[blocks], raster, first, stop)
        first = stop


def _sampled(seq: SeqFile, blocks: Array, rotation: Array, raster: float, first: int, stop: int) -> Array:
    """Return the gradients of samples `first` to `stop`, which lie in `blocks` or in silence, ``[3, sample]``."""
    gradients = np.zeros((3, stop - first))
    for axis in range(3):
        _draw(*_corners(seq, blocks, axis), first, raster, gradients[axis])
    turned, rotation = blocks[rotation != NONE], rotation[rotation != NONE]
    edges = np.stack((seq.block_start[turned], seq.block_start[turned] + seq.block_duration[turned]))
    edges = np.clip(np.ceil(edges / raster - 0.5), first, stop).astype(np.int64) - first
    for row, here, there in zip(rotation, *edges, strict=True):
        gradients[:, here:there] = seq.extensions.rotations[row] @ gradients[:, here:there]
    return gradients


def _corners(seq: SeqFile, blocks: Array, axis: int) -> tuple[Array, Array]:
    """Return times [s] and amplitudes [Hz/m] of one axis before rotation, each event between two zeros.

    The zeros keep an event that ends off zero from being joined to a later one across silence; where events touch,
    they share their time with the true corners and no sample lies there.
    """
    event = seq.events[blocks, GX + axis]
    blocks, event = blocks[event != NONE], event[event != NONE]
    begin, end = seq.gradients.start[event], seq.gradients.start[event + 1]
    count = end - begin + 2
    owner = np.repeat(np.arange(len(event)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    point = np.clip(begin[owner] + within - 1, begin[owner], end[owner] - 1)
    value = np.where((within == 0) | (within == count[owner] - 1), 0.0, seq.gradients.amplitude[point])
    time = seq.gradients.time[point] + seq.block_start[blocks][owner]
    return np.maximum.accumulate(time) if len(time) else time, value


@njit(cache=True)
def _draw(corner: Array, value: Array, first: int, raster: float, row: Array) -> None:
    """Write the line through the corners into `row` ``[sample]``, which begins at sample `first`; zero outside it."""
    passed, slope = 0, 0.0
    for n in range(len(row)):
        time = (first + n + 0.5) * raster
        if passed < len(corner) and corner[passed] <= time:
            while passed < len(corner) and corner[passed] <= time:
                passed += 1
            if passed < len(corner):
                slope = (value[passed] - value[passed - 1]) / (corner[passed] - corner[passed - 1])
        if 0 < passed < len(corner):
            row[n] = value[passed - 1] + slope * (time - corner[passed - 1])
