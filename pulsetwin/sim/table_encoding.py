"""From the magnetisation of all voxels after each pulse to samples: each distinct line encodes each image once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.grid_encoding import Grid, GridEncoding, grid_encoding, grid_of
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.table_lines import LineEncoding, line_encoding
from pulsetwin.sim.time_expansion import Expansion, expand_in_time
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.voxel_transform import edge_transform, voxel_transform

Array = NDArray[np.float64]
_SAME_K = 1e-4  # [1/m]
_AT_ONCE = 1 << 22  # samples of readouts that are encoded together


@dataclass(frozen=True, slots=True, eq=False)
class Readouts:
    """Readouts with the same times and the same course of k from their first sample on.

    Parameters
    ----------
    sample
        First of each readout, int64 ``[readout]``.
    pulse
        Before each, ``[readout]``.
    time
        Since that pulse [s], ``[sample]``.
    line
        From which of `start` each begins, ``[readout]``.
    start
        k of the first sample since the pulse [1/m], ``[line, 3]``.
    course
        k of all samples since the first [1/m], ``[sample, 3]``.
    """

    sample: NDArray[np.int64]
    pulse: NDArray[np.int64]
    time: Array
    line: NDArray[np.int64]
    start: Array
    course: Array


def grouped_readouts(timeline: Timeline) -> Iterator[Readouts]:
    """Yield the readouts of a timeline, those with the same course together."""
    start = timeline.readout_start.numpy()
    ends = np.concatenate(([0.0], np.cumsum(timeline.duration.numpy())))
    place = np.concatenate((np.zeros((1, 3)), np.cumsum(timeline.moment.numpy(), 0)))
    begin, interval = timeline.interval_start.numpy(), timeline.sample_interval.numpy()
    taken = interval[start[:-1]] + 1
    pulse = np.searchsorted(begin, taken - 1, side="right") - 1
    first = np.round((ends[taken] - ends[begin[pulse]]) / 1e-9)
    kinds = np.stack((timeline.readout_shape.numpy(), first.astype(np.int64)), 1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    for number in range(int(kind.max(initial=-1)) + 1):
        members = np.nonzero(kind.ravel() == number)[0]
        k = place[taken[members]] - place[begin[pulse[members]]]
        _, one, line = np.unique(np.round(k / _SAME_K), axis=0, return_index=True, return_inverse=True)
        samples = interval[start[members[0]] : start[members[0] + 1]] + 1
        time = ends[samples] - ends[begin[pulse[members[0]]]]
        yield Readouts(start[members], pulse[members], time, line.ravel(), k[one], place[samples] - place[samples[0]])


def brightness(voxels: Voxels, readouts: list[Readouts], k: Array) -> Array:
    """Return how bright readouts see states of spatial frequencies `k` [1/m] ``[state, 3]`` at most, 1 for k = 0.

    That is by the shape of voxels and by the spectrum of their density, each axis by itself.
    """
    grid = grid_of(voxels.position.detach().double().numpy())
    if grid is None:
        raise ProtocolError("the tissue table encodes voxels on a grid")
    image = np.zeros(2 * grid.lengths, np.complex64)
    weight = voxels.proton_density * voxels.coils[0]
    image[tuple((grid.index - grid.index.min(0)).T)] = weight.detach().numpy()
    spectrum = np.abs(np.fft.fftn(image))
    spectrum /= spectrum.max()
    ways = [(one.start.min(0) + one.course.min(0), one.start.max(0) + one.course.max(0)) for one in readouts]
    least, most = np.min([low for low, _ in ways], 0), np.max([high for _, high in ways], 0)
    plain, bright = np.ones((3, len(k))), np.ones((3, len(k)))
    for axis, edge in enumerate(voxels.size):
        count = spectrum.shape[axis]
        course = k[:, axis, None] + np.linspace(least[axis], most[axis], 4 * count + 1)
        shape = edge_transform(torch.from_numpy(course), edge, voxels.shape).abs().numpy()
        profile = spectrum.max(tuple({0, 1, 2} - {axis}))
        seen = profile[np.rint(course * grid.step[axis] * count).astype(np.int64) % count]
        plain[axis], bright[axis] = shape.max(1), (shape * seen).max(1)
    return np.min(
        [bright[0] * plain[1] * plain[2], plain[0] * bright[1] * plain[2], plain[0] * plain[1] * bright[2]], 0
    )


def seen_by_coils(
    voxels: Voxels, readouts: Readouts, images: NDArray[np.complex64], state: Array
) -> Iterator[tuple[int, slice, NDArray[np.complex64]]]:
    """Yield what a coil sees of some images during each distinct line, ``[line, image, sample]``, with its number.

    Parameters
    ----------
    voxels
        On a grid.
    readouts
        What is played.
    images
        Of the voxels, just after the pulse but for relaxation and precession since then, ``[image, voxel]``.
    state
        Spatial frequency [1/m] and time of precession [s] that they have just after the pulse, ``[4]``.
    """
    late = readouts.time + state[3] >= 0  # after an echo T2' takes from the signal, before it gives
    parts = [(torch.from_numpy(mask), *_encoding(voxels, readouts, state, mask, side))
             for mask, side in ((late, 1), (~late, -1)) if mask.any()]  # fmt: skip
    field = voxels.b1[0].detach().to(torch.complex128)
    rows = min(encode.rows for _, encode, _ in parts)
    for number, coil in enumerate(voxels.coils.detach()):
        weight = coil * voxels.proton_density.detach() * torch.exp(1j * field.angle())
        for some in (slice(begin, min(begin + rows, len(images))) for begin in range(0, len(images), rows)):
            image = torch.from_numpy(images[some])
            seen = torch.empty(len(readouts.start), len(image), len(readouts.time), dtype=torch.complex64)
            for mask, encode, turn in parts:
                seen[..., mask] = encode(image * (weight * turn).to(torch.complex64))
            yield number, some, seen.numpy()


def _encoding(
    voxels: Voxels, readouts: Readouts, state: Array, mask: NDArray[np.bool_], side: int
) -> tuple[LineEncoding | PathEncoding, Tensor]:
    """Return the encoding of the samples in `mask`, on one `side` of an echo, and what voxels are multiplied with."""
    r2, line, offset = (x.detach().double().numpy() for x in (1 / voxels.t2, 1 / voxels.t2_prime, voxels.b0))
    rate = r2 + side * line + 2j * np.pi * offset
    expansion = expand_in_time(rate, readouts.time[mask])
    grid = grid_of(voxels.position.detach().double().numpy())
    if expansion is None or grid is None:
        raise ProtocolError("the tissue table encodes voxels on a grid, with offsets that a readout resolves")
    start, course = readouts.start + state[:3], readouts.course[mask]
    encode = line_encoding(grid, voxels.size, voxels.shape, start, course, rate, expansion) or PathEncoding(
        grid, voxels.size, voxels.shape, start, course, rate, expansion
    )
    return encode, torch.from_numpy(np.exp(-state[3] * (rate - r2)))


@dataclass(frozen=True, slots=True, eq=False)
class PathEncoding:
    """Linear map of voxels on a grid to readouts of any course, by NUFFTs; parameters as of `line_encoding`."""

    grid: Grid
    size: tuple[float, float, float]
    shape: str
    start: Array
    course: Array
    rate: NDArray[np.complex128]
    expansion: Expansion

    @property
    def rows(self) -> int:
        """Images that are best encoded together."""
        return max(1, _AT_ONCE // (len(self.start) * len(self.course)))

    def __call__(self, x: Tensor) -> Tensor:
        """Return readouts ``[line, row, sample]`` of voxels, complex64 ``[row, voxel]``."""
        count = max(1, _AT_ONCE // len(self.course))
        parts = [self.start[begin : begin + count] for begin in range(0, len(self.start), count)]
        return torch.cat([self._of(part)(x).unflatten(1, (len(part), -1)).movedim(1, 0) for part in parts])

    def _of(self, start: Array) -> GridEncoding:
        k = (start[:, None] + self.course).reshape(-1, 3)
        shape = voxel_transform(torch.from_numpy(k), self.size, self.shape).to(torch.complex64)
        course = self.expansion.course.repeat(1, len(start)) * shape
        return grid_encoding(self.grid, k, self.rate, replace(self.expansion, course=course), [])
