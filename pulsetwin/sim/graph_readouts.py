"""Which samples see which groups of states, and how the shape of a voxel weighs them.

A readout sees many groups, each by a row of weights ``w[group, sample]``, the voxel's transform at the group's k. Such
rows are much alike: a few rows of a basis give them all, ``w = mix @ basis``. So the groups are mixed to as many sums,
and only these are encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.timeline import Timeline, equal_readouts
from pulsetwin.sim.voxel_weights import HIDDEN, fill_weights

_FEW = 4  # groups that are not worth mixing
_LOST = 1e-7  # of the norm of the weights, by leaving out rows of the basis


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Readouts that play the same gradients, and the sums of groups they see on one side of an echo.

    Parameters
    ----------
    place
        k [1/m] and time [s] of each sample less those of the reference sample, float64 ``[sample, 4]``.
    rows
        Numbers of the sums, int64 ``[row]``.
    weight
        Weights of each sum's samples, float32 ``[row, sample]``.
    sample
        Number of each sample in the timeline, int64 ``[row, sample]``.
    reference
        Number of the reference sample, int64 ``[row]``.
    side
        1 for groups seen from their echo on, -1 for those seen before it, float32 ``[row]``.
    """

    place: NDArray[np.float64]
    rows: Tensor
    weight: Tensor
    sample: Tensor
    reference: Tensor
    side: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """How groups add up to sums, consecutive ones for each group.

    Parameters
    ----------
    row, count
        First of a group's sums and their number, int64 ``[group]``.
    first
        Place of the first of a group's shares in `share`, int64 ``[group]``.
    share
        By how much a group adds to its sums, one after the other, float32 ``[1 or 4, n]``: for the transform of the
        voxel and, where gradients need them, its slopes to kx, ky and kz.
    """

    row: NDArray[np.int64]
    count: NDArray[np.int64]
    first: NDArray[np.int64]
    share: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """For each group, in the order of readouts, splits and sides: the place of its states and what sees it."""

    start: NDArray[np.float64]
    readout: NDArray[np.int64]
    split: NDArray[np.int64]
    side: NDArray[np.int64]
    reference: NDArray[np.int64]


def mixed_readouts(
    timeline: Timeline, sample: NDArray[np.float64], groups: Groups, size: tuple[float, float, float], shape: str,
    slopes: bool,
) -> tuple[tuple[Readout, ...], Mix, NDArray[np.float64]]:  # fmt: skip
    """Return the distinct readouts, how groups are mixed for them, and the largest slopes of the weights [m], ``[3]``.

    Parameters
    ----------
    timeline, sample
        The timeline, and `Paths.sample` of it.
    groups
        The groups.
    size, shape
        Of the voxels, see `sim.voxel_transform`.
    slopes
        Whether gradients to k are wanted.
    """
    bounds = timeline.readout_start.cpu().numpy()
    shares: list[tuple[int, int, int, NDArray[np.float32] | None]] = []
    readouts, steepest, row = [], np.zeros(3), 0
    for members in _kinds(timeline, groups):
        first = bounds[groups.readout[members.begin]]
        numbers = first[:, None] + np.arange(np.diff(bounds)[groups.readout[members.begin[0]]])
        parts, counts = [], []
        for side in (1, -1):
            some = members.of(groups.side[members.begin] == side)
            weights = _weights(groups, some, bounds, sample, numbers.shape[1], size, shape, slopes)
            steepest = np.maximum(steepest, np.abs(weights[1:]).max((1, 2), initial=0) if slopes else 0)
            for begin, end, matrix, basis in _factored(weights, some, size):
                shares.append((begin, end, row, matrix))
                row += len(basis)
                parts.append(basis)
                counts.append(len(basis))
        by_side = np.argsort(-groups.side[members.begin], kind="stable")
        member = np.repeat(by_side, counts)
        reference, sides = groups.reference[members.begin], groups.side[members.begin].astype(np.float32)
        readouts.append(
            Readout(
                place=sample[numbers[0], :4] - sample[reference[0], :4], rows=torch.arange(row - sum(counts), row),
                weight=torch.from_numpy(np.concatenate(parts)), sample=torch.from_numpy(numbers[member]),
                reference=torch.from_numpy(reference[member]), side=torch.from_numpy(sides[member]),
            )
        )  # fmt: skip
    return tuple(readouts), _mix(len(groups.readout), shares, 4 if slopes else 1), steepest


def _mix(groups: int, shares: list[tuple[int, int, int, NDArray[np.float32] | None]], orders: int) -> Mix:
    """Return the mix of members: first group and end, first row, and ``[order, group, row]``, None if one by one."""
    row, count, first = (np.zeros(groups, np.int64) for _ in range(3))
    flat, total = [np.zeros((orders, 0), np.float32)], 0
    for begin, end, start, matrix in shares:
        if matrix is None:
            row[begin:end], count[begin:end] = start + np.arange(end - begin), 1
            matrix = np.ones((1, end - begin, 1), np.float32)
        else:
            row[begin:end], count[begin:end] = start, matrix.shape[2]
        first[begin:end] = total + np.arange(end - begin) * matrix.shape[2]
        part = np.zeros((orders, matrix[0].size), np.float32)
        part[: len(matrix)] = matrix.reshape(len(matrix), -1)
        flat.append(part)
        total += part.shape[1]
    return Mix(row, count, first, np.concatenate(flat, 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Members:
    """Runs of groups that are seen by one readout on one side of one split: first group and end of each."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def of(self, which: NDArray[Any]) -> _Members:
        return _Members(self.begin[which], self.end[which])


def _kinds(timeline: Timeline, groups: Groups) -> Iterator[_Members]:
    """Yield the members whose readouts are equal from the first sample on, and of one split: one matrix serves all."""
    keys = np.stack((groups.readout, groups.split, groups.side))
    begin = np.flatnonzero((np.diff(keys, axis=1, prepend=-2) != 0).any(0))  # no key is as low
    end = np.append(begin[1:], keys.shape[1]) if len(begin) else begin
    values = (timeline.duration, timeline.moment, timeline.sample_interval, timeline.readout_start)
    alike = equal_readouts(*(value.cpu() for value in values)).numpy()  # the timeline's may be older than its moments
    readout, split, _ = keys[:, begin]
    kind = alike[readout] * (int(split.max(initial=0)) + 1) + split
    return (_Members(begin, end).of(kind == one) for one in np.unique(kind))


def _weights(
    groups: Groups, members: _Members, bounds: NDArray[Any], sample: NDArray[Any], count: int,
    size: tuple[float, float, float], shape: str, slopes: bool,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the weights of the groups of members of one split and side, ``[1 or 4, group, sample]``."""
    which = [np.arange(a, b) for a, b in zip(members.begin, members.end, strict=True)]
    index = np.concatenate([np.zeros(0, np.int64), *which])
    weights = np.zeros((4 if slopes else 1, len(index), count))
    if not len(index):
        return weights
    if shape == "point":
        weights[0] = 1
    else:
        first = bounds[groups.readout[index]]
        fill_weights(weights, groups.start[index], first, sample, np.array(size), shape == "box")
    return weights * ((np.arange(count) >= groups.split[index[0]]) == (groups.side[index[0]] > 0))


def _factored(
    weights: NDArray[Any], members: _Members, size: tuple[float, float, float]
) -> Iterator[tuple[int, int, NDArray[np.float32] | None, NDArray[np.float32]]]:
    """Yield first group and end of each member, and mix and basis of its weights; one basis serves all."""
    edges = np.array([1 / edge if edge > 0 else 0.0 for edge in size])
    if len(weights) > 1 and not (np.abs(weights[1:]).max((1, 2), initial=0) * edges > HIDDEN).any():
        weights = weights[:1]
    counts = members.end - members.begin
    stops = np.cumsum(counts)
    basis = None
    if len(weights) > 1 or counts.max(initial=0) > _FEW:
        basis = _basis((np.append(1.0, edges)[: len(weights), None, None] * weights).reshape(-1, weights.shape[2]))
    for begin, end, stop in zip(members.begin.tolist(), members.end.tolist(), stops.tolist(), strict=True):
        own = weights[:, stop - (end - begin) : stop]
        if basis is None:
            yield begin, end, None, own[0].astype(np.float32)
        else:
            yield begin, end, (own @ basis.T).astype(np.float32), basis.astype(np.float32)


def _basis(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal rows of which all `rows` are sums, but for `_LOST` of their norm."""
    tall = rows.shape[1] <= len(rows)
    values, vectors = np.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    kept = np.cumsum(values) > _LOST**2 * values.sum()
    basis = vectors.T[kept] if tall else vectors.T[kept] @ rows
    return np.asarray(basis / np.linalg.norm(basis, axis=1, keepdims=True))
