"""The played gradients on an even raster, a chunk at a time, so that a long sequence never stands in memory whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from pulsetwin.sequences.distinct import distinct_rows
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import GX, GZ, SeqFile
from pulsetwin.sequences.waveforms import corners

CHUNK = 2**16
_STEADY = 2**13  # shorter stretches cost less than a further chunk
_KEPT = 2**11  # of a longer one: nerve stimulation fades in it


def gradient_chunks(seq: SeqFile, raster: float, length: int = CHUNK) -> Iterator[tuple[int, Array]]:
    """Yield the gradients after rotation, in the middle of each raster interval, in chunks in order of time.

    Long stretches of silence or constant gradients are left out: the samples between two chunks all equal the last one
    before them. Before the first chunk and after the last they are 0.

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
    if not len(busy):
        return
    begin = np.floor(seq.block_start[busy] / raster + 1e-6).astype(np.int64)
    end = np.ceil((seq.block_start[busy] + seq.block_duration[busy]) / raster - 1e-6).astype(np.int64)
    rotation, left_out = seq.rotation, _steady_stretches(seq, busy, begin, end, raster)
    for start, stop in zip(np.append(0, left_out[:, 1]), np.append(left_out[:, 0], end[-1]), strict=True):
        for first in range(start, stop, length):
            last = min(first + length, int(stop))
            blocks = busy[np.searchsorted(end, first, side="right") : np.searchsorted(begin, last)]
            yield first, _sampled(seq, blocks, rotation[blocks], raster, first, last)


def _steady_stretches(seq: SeqFile, busy: Array, begin: Array, end: Array, raster: float) -> Array:
    """Return first and stop of the samples that are left out, in order, int64 ``[stretch, 2]``.

    Parameters
    ----------
    busy
        The blocks with gradients, ``[block]``.
    begin, end
        Their first samples, and those after their last, ``[block]``.
    """
    pauses = np.column_stack((np.append(0, end[:-1]), begin))
    long = busy[end - begin > _STEADY]
    first, kind = distinct_rows(np.column_stack((seq.events[long, GX : GZ + 1], seq.rotation[long])))
    times = [_steady_times(*corners(seq, int(block))) for block in long[first]]
    lasting = zip(long, kind, strict=True)
    spans = [np.minimum(times[row], seq.block_duration[block]) + seq.block_start[block] for block, row in lasting]
    within = [np.column_stack((np.floor(span[:, 0] / raster) + 1, np.ceil(span[:, 1] / raster) - 1)) for span in spans]
    stretches = np.concatenate((pauses, *within)).astype(np.int64)
    stretches = stretches[np.diff(stretches, axis=1)[:, 0] > _STEADY]
    return stretches[np.argsort(stretches[:, 0])] + (_KEPT, 0)


def _steady_times(time: Array, vector: Array) -> Array:
    """Return from when until when no gradient changes [s], ``[stretch, 2]``; see `corners`."""
    moves = np.any(np.diff(vector, axis=0) != 0, axis=1)
    begin = np.concatenate(([0.0], time[:1], time[1:][moves], time[-1:]))
    end = np.concatenate((time[:1], time[:-1][moves], time[-1:], [np.inf]))
    return np.column_stack((begin, end))


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
