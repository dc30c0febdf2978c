"""Numbers of a phase distribution graph that no voxel changes: k, tau and b of each state, and what each sample sees.

All are float64 on the CPU, and plain functions of the timeline's durations and moments that autograd can follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.graph import EDGE_SIGN, K_GRID, PLUS, Z0, Graph
from pulsetwin.sim.graph_paths import B_UNIT, Paths, paths_of
from pulsetwin.sim.timeline import Timeline, equal_readouts
from pulsetwin.sim.voxel_transform import voxel_transform

_WEAK = 1e-9  # of the voxel's transform, below which a state has no signal


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Samples of equal times and positions from a reference sample on, and the groups of states that they see.

    Parameters
    ----------
    place
        k [1/m] and time [s] of each sample minus those of the reference sample, ``[sample, 4]``.
    groups
        Groups seen by these samples, int64 ``[group]``.
    weight
        Transform of the voxel at each group's k, and its slope [m] to kx, ky, kz if k carries gradients, 0 for
        samples on the other side of the group's echo, ``[group, 1 or 4, sample]``.
    sample
        Number of each sample in the timeline, int64 ``[group, sample]``.
    """

    place: Tensor
    groups: Tensor
    weight: Tensor
    sample: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Places of the states of a graph, and the entries by which PLUS states enter the signal.

    An entry is a state seen by a readout on one side of its echo (``tau = 0``). It adds ``m exp(-2 pi i (k r + tau b0)
    - time / T2 - side tau / T2' - b D)`` at the reference sample to its group; entries of a group share k and readout.

    Parameters
    ----------
    start
        k [1/m] and tau [s] of each state just after its pulse, ``[state, 4]``.
    b
        b value of each state's repetition [s/m^2], ``[state]``.
    row_time
        Length of each row's repetition [s], 0 for the first, ``[pulse + 1]``.
    b_slope
        Derivative of `b` to the state's kx, ky, kz, without gradients of its own, ``[state, 3]``.
    edge_shift
        k and tau that each edge brings minus those of the child, ``[edge, 4]``: 0, but not their gradients, which are
        those of the path. None if no paths meet, or the timeline's durations and moments carry no gradients.
    entry_state, entry_group
        int64 ``[entry]``.
    entry_place
        k and tau at the reference sample, ``[entry, 4]``.
    entry_time
        From the pulse to the reference sample [s], ``[entry]``.
    entry_b
        b from the pulse to the middle of the readout [s/m^2], ``[entry]``.
    entry_slope
        Derivative of `entry_b` to the state's kx, ky, kz, ``[entry, 3]``.
    entry_side
        1 after the echo, -1 before it, ``[entry]``.
    entry_start, group_start
        First entry and first group of each row and the total, ``[pulse + 2]``.
    readouts
        Distinct readouts.
    """

    start: Tensor
    b: Tensor
    b_slope: Tensor
    row_time: Tensor
    edge_shift: Tensor | None
    entry_state: Tensor
    entry_group: Tensor
    entry_place: Tensor
    entry_time: Tensor
    entry_b: Tensor
    entry_slope: Tensor
    entry_side: Tensor
    entry_start: NDArray[np.int64]
    group_start: NDArray[np.int64]
    readouts: tuple[Readout, ...]


def graph_tables(
    graph: Graph, timeline: Timeline, size: tuple[float, float, float] = (0.0, 0.0, 0.0), shape: str = "point"
) -> Tables:
    """Return the tables of a graph for a timeline and voxels of the given edges [m] and shape."""
    path = paths_of(timeline)
    start = _places(graph, path.row[:, :4])
    moves = start.requires_grad
    entries = _entries(graph, timeline, start.detach(), path.sample[:, :4].detach(), None if moves else (size, shape))
    merges = len(graph.edge_type) >= graph.states
    keys = [entries.readout, entries.split, entries.side]
    if shape != "point":  # states of one k share their weights, but for the gradients of their paths
        place = np.rint(start.detach().numpy()[entries.state, :3] / K_GRID).astype(np.int64)
        keys += [entries.state] if moves else list(place.T)
    _, first, group = np.unique(np.stack(keys, 1), axis=0, return_index=True, return_inverse=True)
    rows = _row_of(graph).numpy()
    edges = np.arange(graph.rows + 1)
    state, sample = torch.from_numpy(entries.state), torch.from_numpy(entries.reference)
    middle = path.sample[torch.from_numpy(entries.middle)]
    b, slope = _b_values(graph, start, path)
    return Tables(
        start=start, b=b, b_slope=slope, row_time=_at_row(path.row[:, 3], torch.arange(graph.rows)),
        edge_shift=_edge_shifts(graph, start, path.row[:, :4]) if moves and merges else None,
        entry_state=state, entry_group=torch.from_numpy(group.reshape(-1)),
        entry_place=start[state] + path.sample[sample, :4], entry_time=path.sample[sample, 3],
        entry_b=_b_value(start[state, :3], middle), entry_slope=_b_slope(start[state, :3], middle),
        entry_side=torch.from_numpy(entries.side).double(),
        entry_start=np.searchsorted(rows[entries.state], edges),
        group_start=np.searchsorted(rows[entries.state[first]], edges),
        readouts=tuple(_readouts(timeline, start, path.sample[:, :4], entries.at(first), size, shape)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """For each entry its state, readout, first sample after the echo, side, reference and middle sample."""

    state: NDArray[np.int64]
    readout: NDArray[np.int64]
    split: NDArray[np.int64]
    side: NDArray[np.int64]
    reference: NDArray[np.int64]
    middle: NDArray[np.int64]

    def at(self, index: NDArray[np.int64]) -> _Entries:
        return _Entries(*(getattr(self, name)[index] for name in self.__slots__))


def _b_value(k: Tensor, path: Tensor) -> Tensor:
    """Return b [s/m^2] of transverse states that start at `k` along `path`."""
    return B_UNIT * ((k * k).sum(1) * path[:, 3] + (k * path[:, 4:7]).sum(1) + path[:, 7])


def _b_slope(k: Tensor, path: Tensor) -> Tensor:
    """Return the derivative of `_b_value` to `k`, itself without gradients."""
    return (B_UNIT * (2 * k * path[:, 3:4] + path[:, 4:7])).detach()


def _b_values(graph: Graph, start: Tensor, path: Paths) -> tuple[Tensor, Tensor]:
    """Return b of each state over its repetition and its slope: of constant k for longitudinal states."""
    whole, k = _at_row(path.row, _row_of(graph)), start[:, :3]
    moves = torch.from_numpy(graph.kind == PLUS)[:, None] | (torch.arange(8) == 3)
    whole = torch.where(moves, whole, 0)
    return _b_value(k, whole), _b_slope(k, whole)


def _row_of(graph: Graph) -> Tensor:
    return torch.from_numpy(np.repeat(np.arange(graph.rows), np.diff(graph.row_start)))


def _at_row(values: Tensor, row: Tensor) -> Tensor:
    """Return a value of each repetition at rows, where row 0 precedes the first repetition and has 0."""
    return torch.cat((values.new_zeros(1, *values.shape[1:]), values))[row]


def _places(graph: Graph, row_shift: Tensor) -> Tensor:
    """Return k and tau of each state after its pulse, ``[state, 4]``: those its first edge brings."""
    first = graph.edge_start[:-1].clip(max=len(graph.edge_parent) - 1)
    sign = torch.from_numpy(np.where(graph.kind == Z0, 0, EDGE_SIGN[graph.edge_type[first]])).double()
    parent = torch.from_numpy(graph.edge_parent[first].astype(np.int64))
    plus = torch.from_numpy(graph.kind == PLUS).double()
    before = row_shift.new_zeros(1, 4)
    places = [before]
    bounds = graph.row_start.tolist()
    for row in range(1, graph.rows):
        here = slice(bounds[row], bounds[row + 1])
        places.append(sign[here, None] * before[parent[here] - bounds[row - 1]])
        before = places[-1] + plus[here, None] * row_shift[row - 1]
    return torch.cat(places)


def _edge_shifts(graph: Graph, start: Tensor, row_shift: Tensor) -> Tensor:
    child = np.repeat(np.arange(graph.states), np.diff(graph.edge_start))
    parent = torch.from_numpy(graph.edge_parent.astype(np.int64))
    sign = torch.from_numpy(EDGE_SIGN[graph.edge_type]).double()
    moved = torch.from_numpy(graph.kind == PLUS).double()[parent, None] * _at_row(row_shift, _row_of(graph)[parent])
    shift = sign[:, None] * (start[parent] + moved) - start[torch.from_numpy(child)]
    return shift - shift.detach()  # what rounding leaves would only slow the sums down, as denormal numbers


def _entries(
    graph: Graph, timeline: Timeline, start: Tensor, sample_place: Tensor, voxel: tuple[Any, str] | None
) -> _Entries:
    """Return the entries, readout by readout; those weak in `voxel` (its size and shape) are left out."""
    owner = np.searchsorted(timeline.interval_start.cpu().numpy(), timeline.sample_interval.cpu().numpy(), "right")
    parts = [np.zeros((0, 6), dtype=np.int64)]
    for q, (begin, end) in enumerate(pairwise(timeline.readout_start.tolist())):
        row = owner[begin]
        state = np.arange(graph.plus_start[row], graph.row_start[row + 1])
        place = sample_place[begin:end]
        if voxel is not None and voxel[1] != "point" and len(state):
            k = start[state, None, :3] + place[:, :3]
            state = state[(voxel_transform(k, *voxel).abs().amax(1) > _WEAK).numpy()]
        split = np.searchsorted(place[:, 3].numpy(), -start[state, 3].numpy())
        reference, middle = begin + np.minimum(split, end - begin - 1), begin + (end - begin) // 2
        for side, sees in ((1, split < end - begin), (-1, split > 0)):
            columns = (state, q, split, side, reference, middle)
            parts.append(np.stack(np.broadcast_arrays(*columns), 1)[sees])
    return _Entries(*np.concatenate(parts).T)


def _readouts(
    timeline: Timeline, start: Tensor, sample_place: Tensor, groups: _Entries, size: tuple[float, float, float],
    shape: str,
) -> Iterator[Readout]:  # fmt: skip
    """Yield the distinct readouts; equal ones are one only if no gradient tells them apart."""
    begin = timeline.readout_start.cpu().numpy()
    alike = np.arange(len(begin) - 1) if start.requires_grad else _alike(timeline)
    _, number = np.unique(np.stack((alike[groups.readout], groups.split), 1), axis=0, return_inverse=True)
    for index in range(int(number.max(initial=-1)) + 1):
        member = np.flatnonzero(number.reshape(-1) == index)
        one = groups.at(member)
        first, count = begin[one.readout], int(np.diff(begin)[one.readout[0]])
        sample = torch.from_numpy(first[:, None] + np.arange(count))
        k = start[torch.from_numpy(one.state), None, :3] + sample_place[sample][..., :3]
        seen = (np.arange(count) >= one.split[:, None]) == (one.side[:, None] > 0)
        yield Readout(
            place=sample_place[sample[0]] - sample_place[one.reference[0]], groups=torch.from_numpy(member),
            weight=_weights(k, size, shape) * torch.from_numpy(seen)[:, None], sample=sample,
        )  # fmt: skip


def _alike(timeline: Timeline) -> NDArray[np.int64]:
    """Return equal numbers for equal readouts: found anew, as those of the timeline may be older than its moments."""
    values = (timeline.duration, timeline.moment, timeline.sample_interval, timeline.readout_start)
    return equal_readouts(*(value.cpu() for value in values)).numpy()


def _weights(k: Tensor, size: tuple[float, float, float], shape: str) -> Tensor:
    """Return a voxel's transform at `k` ``[group, sample, 3]``, and its slopes if `k` carries gradients."""
    value = voxel_transform(k, size, shape)
    if not k.requires_grad:
        return value[:, None]
    if shape == "point":
        return torch.cat((value[:, None], torch.zeros_like(k).movedim(-1, 1)), 1)
    with torch.enable_grad():
        place = k.detach().requires_grad_()
        (slope,) = torch.autograd.grad(voxel_transform(place, size, shape).sum(), place)
    return torch.cat((value[:, None], slope.movedim(-1, 1)), 1)
