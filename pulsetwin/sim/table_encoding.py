"""From the magnetisation of all voxels after each pulse to samples: each distinct readout encodes each image once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.grid_encoding import GridEncoding, grid_encoding, grid_of
from pulsetwin.sim.phantom import Voxels
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
        Of each readout, int64 ``[readout, sample]``.
    pulse
        Before each, ``[readout]``.
    time
        Since that pulse [s], ``[sample]``.
    line
        Which of `k` each plays, ``[readout]``.
    k
        Since the pulse [1/m], ``[line, sample, 3]``.
    """

    sample: NDArray[np.int64]
    pulse: NDArray[np.int64]
    time: Array
    line: NDArray[np.int64]
    k: Array


def grouped_readouts(timeline: Timeline) -> Iterator[Readouts]:
    """Yield the readouts of a timeline, those with the same course together, some at a time."""
    start = timeline.readout_start.numpy()
    ends = np.concatenate(([0.0], np.cumsum(timeline.duration.numpy())))
    place = np.concatenate((np.zeros((1, 3)), np.cumsum(timeline.moment.numpy(), 0)))
    begin, interval = timeline.interval_start.numpy(), timeline.sample_interval.numpy()
    pulse = np.searchsorted(begin, interval[start[:-1]], side="right") - 1
    first = np.round((ends[interval[start[:-1]] + 1] - ends[begin[pulse]]) / 1e-9)
    kinds = np.stack((timeline.readout_shape.numpy(), first.astype(np.int64)), 1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    for number in range(int(kind.max(initial=-1)) + 1):
        members = np.nonzero(kind.ravel() == number)[0]
        length = int(start[members[0] + 1] - start[members[0]])
        for some in np.array_split(members, -(-len(members) * length // _AT_ONCE)):
            sample = start[some][:, None] + np.arange(length)
            taken, origin = interval[sample] + 1, begin[pulse[some]]
            k = place[taken] - place[origin][:, None]
            _, one, line = np.unique(np.round(k[:, 0] / _SAME_K), axis=0, return_index=True, return_inverse=True)
            time = ends[taken[0]] - ends[origin[0]]
            yield Readouts(sample, pulse[some], time, line.ravel(), k[one])


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
    paths = np.concatenate([one.k.reshape(-1, 3) for one in readouts])
    plain, bright = np.ones((3, len(k))), np.ones((3, len(k)))
    for axis, edge in enumerate(voxels.size):
        count = spectrum.shape[axis]
        course = k[:, axis, None] + np.linspace(paths[:, axis].min(), paths[:, axis].max(), 4 * count + 1)
        shape = edge_transform(torch.from_numpy(course), edge, voxels.shape).abs().numpy()
        profile = spectrum.max(tuple({0, 1, 2} - {axis}))
        seen = profile[np.rint(course * grid.step[axis] * count).astype(np.int64) % count]
        plain[axis], bright[axis] = shape.max(1), (shape * seen).max(1)
    return np.min(
        [bright[0] * plain[1] * plain[2], plain[0] * bright[1] * plain[2], plain[0] * plain[1] * bright[2]], 0
    )


def seen_by_coils(
    voxels: Voxels, readouts: Readouts, images: NDArray[np.complex64], state: Array
) -> Iterator[NDArray[np.complex64]]:
    """Yield what each coil sees of images during each distinct readout, ``[image, line, sample]``.

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
    parts = [(mask, *_encoding(voxels, readouts, state, mask, side)) for mask, side in ((late, 1), (~late, -1))
             if mask.any()]  # fmt: skip
    field = voxels.b1[0].detach().to(torch.complex128)
    for coil in voxels.coils.detach():
        weight = coil * voxels.proton_density.detach() * torch.exp(1j * field.angle())
        seen = np.empty((len(images), *readouts.k.shape[:2]), np.complex64)
        for mask, encode, turn in parts:
            found = encode(torch.from_numpy(images) * (weight * turn).to(torch.complex64))
            seen[:, :, mask] = found.numpy().reshape(len(images), len(readouts.k), -1)
        yield seen


def _encoding(
    voxels: Voxels, readouts: Readouts, state: Array, mask: NDArray[np.bool_], side: int
) -> tuple[GridEncoding, Tensor]:
    """Return the encoding of the samples in `mask`, on one `side` of an echo, and what voxels are multiplied with."""
    r2, line, offset = (x.detach().double().numpy() for x in (1 / voxels.t2, 1 / voxels.t2_prime, voxels.b0))
    rate = r2 + side * line + 2j * np.pi * offset
    expansion = expand_in_time(rate, readouts.time[mask])
    grid = grid_of(voxels.position.detach().double().numpy())
    if expansion is None or grid is None:
        raise ProtocolError("the tissue table encodes voxels on a grid, with offsets that a readout resolves")
    k = (readouts.k[:, mask] + state[:3]).reshape(-1, 3)
    shape = voxel_transform(torch.from_numpy(k), voxels.size, voxels.shape).to(torch.complex64)
    course = expansion.course.repeat(1, len(readouts.k)) * shape
    encode = grid_encoding(grid, k, rate, Expansion(expansion.times, course, expansion.centre), [])
    return encode, torch.from_numpy(np.exp(-state[3] * (rate - r2)))
