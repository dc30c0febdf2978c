"""Where the states of a graph lie in k-space and which readouts see them, as arrays for the fused kernel.

Nothing here carries gradients: those of k, tau and b are taken along the paths by the kernel's adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.graph import EDGE_SIGN, K_GRID, PLUS, Z0, Graph
from pulsetwin.sim.graph_paths import B_UNIT, Paths
from pulsetwin.sim.graph_readouts import Groups, Mix, Readout, mixed_readouts
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.voxel_weights import visible


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Places of states, and the entries by which PLUS states enter the signal.

    An entry is a state seen by a readout on one side of its echo (``tau = 0``). It adds ``m exp(-2 pi i (k r + tau b0)
    - time / T2 - side tau / T2' - b D)`` at the reference sample to its group; entries of a group share k and readout.

    Parameters
    ----------
    start
        k [1/m] and tau [s] of each state just after its pulse, ``[state, 4]``.
    b, b_slope
        b value of each state over its repetition [s/m^2], ``[state]``, and its derivative to k, ``[state, 3]``.
    row_time
        Length of each row's repetition [s], 0 for the first, ``[pulse + 1]``.
    entry_state, entry_group
        int64 ``[entry]``.
    entry_side
        1 after the echo, -1 before it, ``[entry]``.
    entry_reference, entry_middle
        Reference sample, and middle sample of the readout, whose b is taken for all of it; int64 ``[entry]``.
    entry_place, entry_time
        k and tau at the reference sample ``[entry, 4]``, and the time from the pulse to it [s].
    entry_b, entry_slope
        As `b` and `b_slope`, from the pulse to the middle sample.
    entry_start
        First entry of each row and the total, ``[pulse + 2]``.
    readouts, mix
        Distinct readouts, and how groups are mixed for them.
    steepest
        Largest slopes of the voxel's transform to kx, ky and kz, as far as they are wanted [m], ``[3]``.
    """

    start: NDArray[np.float64]
    b: NDArray[np.float64]
    b_slope: NDArray[np.float64]
    row_time: NDArray[np.float64]
    entry_state: NDArray[np.int64]
    entry_group: NDArray[np.int64]
    entry_side: NDArray[np.float64]
    entry_reference: NDArray[np.int64]
    entry_middle: NDArray[np.int64]
    entry_place: NDArray[np.float64]
    entry_time: NDArray[np.float64]
    entry_b: NDArray[np.float64]
    entry_slope: NDArray[np.float64]
    entry_start: NDArray[np.int64]
    readouts: tuple[Readout, ...]
    mix: Mix
    steepest: NDArray[np.float64]

    @property
    def rows(self) -> int:
        """Number of sums of groups that readouts see."""
        return sum(len(readout.rows) for readout in self.readouts)


def graph_layout(
    graph: Graph, timeline: Timeline, paths: Paths, size: tuple[float, float, float], shape: str, slopes: bool
) -> Layout:
    """Return the layout of a graph for a timeline and voxels of the given edges [m] and shape.

    Parameters
    ----------
    graph, timeline, paths
        The graph, the timeline, and its paths.
    size, shape
        Of the voxels, see `sim.voxel_transform`.
    slopes
        Whether gradients to k are wanted: states whose weight is 0 but not its slope are then kept, and the slopes.
    """
    row, sample = paths.row.detach().cpu().numpy(), paths.sample.detach().cpu().numpy()
    row = np.concatenate((np.zeros((1, 8)), row))
    start = _places(
        graph.row_start, graph.kind, graph.edge_start[:-1], graph.edge_parent, EDGE_SIGN[graph.edge_type], row
    )
    owner = np.repeat(np.arange(graph.rows), np.diff(graph.row_start))
    moves = (graph.kind == PLUS)[:, None] | (np.arange(8) == 3)
    b, b_slope = _b_value(start, np.where(moves, row[owner], 0))
    bounds = timeline.readout_start.cpu().numpy()
    state, readout = _seen(graph, timeline, bounds, start, sample, size, shape, slopes)
    state, readout, split, side = _sides(state, readout, bounds, start[:, 3], sample[:, 3])
    reference = bounds[readout] + np.minimum(split, np.diff(bounds)[readout] - 1)
    middle = (bounds[readout] + bounds[readout + 1]) // 2
    group, first = _groups(state, readout, split, side, None if shape == "point" else start)
    entry_b, entry_slope = _b_value(start[state], sample[middle])
    edges = np.arange(graph.rows + 1)
    groups = Groups(start[state[first]], readout[first], split[first], side[first], reference[first])
    readouts, mix, steepest = mixed_readouts(timeline, sample, groups, size, shape, slopes)
    return Layout(
        start=start, b=b, b_slope=b_slope, row_time=row[:, 3].copy(), entry_state=state, entry_group=group,
        entry_side=side.astype(np.float64), entry_reference=reference, entry_middle=middle,
        entry_place=start[state] + sample[reference, :4], entry_time=sample[reference, 3].copy(), entry_b=entry_b,
        entry_slope=entry_slope, entry_start=np.searchsorted(owner[state], edges),
        readouts=readouts, mix=mix, steepest=steepest,
    )  # fmt: skip


@numba.njit(cache=True)
def _places(row_start: Any, kind: Any, first: Any, parent: Any, sign: Any, shift: Any) -> Any:  # pragma: no cover
    """Return k and tau of each state after its pulse, those its first edge brings: ``[state, 4]``."""
    start = np.zeros((len(kind), 4))
    for r in range(1, len(row_start) - 1):
        for s in range(row_start[r], row_start[r + 1]):
            if kind[s] == Z0:
                continue
            p = parent[first[s]]
            for j in range(4):
                end = start[p, j] + (shift[r - 1, j] if kind[p] == PLUS else 0.0)
                start[s, j] = sign[first[s]] * end
    return start


def _b_value(start: NDArray[Any], path: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return b [s/m^2] of states that start at `start` along a path ``[n, 8]``, and its derivative to k."""
    k = start[:, :3]
    value = (k * k).sum(1) * path[:, 3] + (k * path[:, 4:7]).sum(1) + path[:, 7]
    return B_UNIT * value, B_UNIT * (2 * k * path[:, 3:4] + path[:, 4:7])


def _seen(
    graph: Graph, timeline: Timeline, bounds: NDArray[Any], start: NDArray[Any], sample: NDArray[Any],
    size: tuple[float, float, float], shape: str, slopes: bool,
) -> tuple[NDArray[Any], NDArray[Any]]:  # fmt: skip
    """Return state and readout of each pair in which the voxel's transform lets the state be seen."""
    owner = np.searchsorted(timeline.interval_start.cpu().numpy(), timeline.sample_interval.cpu().numpy(), "right")
    row = owner[bounds[:-1]]
    first, end = graph.plus_start[row], graph.row_start[row + 1]
    readout = np.repeat(np.arange(len(row)), end - first)
    state = np.arange(len(readout)) - np.repeat(np.cumsum(end - first) - end, end - first)
    if shape == "point":
        return state, readout
    keep = visible(state, readout, bounds, start, sample, np.array(size), shape == "box", slopes)
    return state[keep], readout[keep]


def _sides(
    state: NDArray[Any], readout: NDArray[Any], bounds: NDArray[Any], tau: NDArray[Any], time: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Return state, readout, first sample after the echo and side of each entry, in the order of the readouts."""
    split = np.zeros(len(state), np.int64)
    first = np.searchsorted(readout, np.arange(len(bounds)))
    for q in np.unique(readout):
        here = slice(first[q], first[q + 1])
        split[here] = np.searchsorted(time[bounds[q] : bounds[q + 1]], -tau[state[here]])
    count = np.diff(bounds)[readout]
    after, before = np.nonzero(split < count)[0], np.nonzero(split > 0)[0]
    pick = np.concatenate((after, before))
    side = np.repeat([1, -1], [len(after), len(before)])
    order = np.argsort(readout[pick], kind="stable")
    pick, side = pick[order], side[order]
    return state[pick], readout[pick], split[pick], side


def _groups(
    state: NDArray[Any], readout: NDArray[Any], split: NDArray[Any], side: NDArray[Any], start: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the group of each entry and the first entry of each group, in the order of the readouts."""
    keys = [side, split, readout]
    if start is not None:  # states of one k share their weights
        keys = [*np.rint(start[state, :3] / K_GRID).astype(np.int64).T, *keys]
    order = np.lexsort(keys)
    new = np.zeros(len(order), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[order[1:]] != key[order[:-1]]
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    return group, order[new]
