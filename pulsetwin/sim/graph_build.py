"""Build a phase distribution graph from a timeline: play its pulses on a mean tissue and merge what falls together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.graph import (
    EDGE_SIGN,
    K_GRID,
    PLUS,
    PLUS_TO_PLUS,
    PLUS_TO_PLUS_CONJ,
    PLUS_TO_Z,
    PLUS_TO_Z_CONJ,
    TAU_GRID,
    Z0,
    Z_TO_PLUS_CONJ,
    Z_TO_Z,
    Graph,
    Z,
    edge_starts,
    first_plus,
    select_states,
)
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations
from pulsetwin.sim.timeline import Timeline

_SMALL_SINE = 1e-3  # flip angles near 0 still make states, which their gradients need
_SAMPLED_VOXELS = 512


def build_graph(
    timeline: Timeline, voxels: Voxels | None = None, *, max_states: int = 4096, rotations: PulseRotations | None = None
) -> Graph:
    """Return the graph of a timeline; states that no sample can see are left out.

    States of one kind and one repetition are merged where k and tau agree to `K_GRID` [1/m] and `TAU_GRID` [s]. Values
    are computed anew from the timeline in each simulation, so a graph may be kept while a sequence changes, as long as
    the states that are merged stay together.

    Parameters
    ----------
    timeline
        The sequence.
    voxels
        Tissue whose mean weighs the states; without it, nothing relaxes.
    max_states
        Most states in one repetition, at least 1: above it, those of the smallest magnitude are dropped.
    rotations
        Of finite pulses; without them, all pulses are instantaneous.

    Raises
    ------
    ProtocolError
        If `max_states` is below 1, or there is no pulse.
    """
    if max_states < 1 or timeline.pulses < 1:
        raise ProtocolError(f"graph: {max_states} states for {timeline.pulses} pulses: give at least one of each")
    table = _pulse_table(timeline, voxels, rotations)
    rows: list[_Row] = [_equilibrium()]
    dropped, lost = 0, 0.0
    for r in range(timeline.pulses):
        row, fewer, share = _next_row(rows[-1], *(values[r] for values in table), max_states)
        rows.append(row)
        dropped += fewer
        lost = max(lost, share)
    whole = _joined(rows, dropped, lost)
    return select_states(whole, np.ones(whole.states, dtype=bool), sampled_rows(timeline))


def sampled_rows(timeline: Timeline) -> NDArray[np.bool_]:
    """Return whether samples are taken in the repetition of each row of a graph, bool ``[pulse + 1]``."""
    starts, taken = timeline.interval_start.cpu().numpy(), timeline.sample_interval.cpu().numpy()
    sampled = np.zeros(timeline.pulses + 1, dtype=bool)
    sampled[np.searchsorted(starts, taken, "right")] = True
    return sampled


@dataclass(frozen=True, slots=True)
class _Row:
    """The states of a repetition: k [1/m] and tau [s] at its end, amplitude there and after the pulse, and edges."""

    kind: NDArray[np.int8]
    place: NDArray[np.float64]
    amplitude: NDArray[np.complex128]
    weight: NDArray[np.float64]
    edge_child: NDArray[np.int64]
    edge_parent: NDArray[np.int64]
    edge_type: NDArray[np.int8]


def _equilibrium() -> _Row:
    none = np.zeros(0, dtype=np.int64)
    one = np.ones(1)
    return _Row(np.zeros(1, np.int8), np.zeros((1, 4)), one.astype(complex), one, none, none, none.astype(np.int8))


def _pulse_table(
    timeline: Timeline, voxels: Voxels | None, rotations: PulseRotations | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return edge factors ``[pulse, 7]``, shifts of k and tau ``[pulse, 4]``, and rates T/T1, T/T2, D ``[pulse, 3]``.

    The sine of the flip angle is the root mean square over the voxels: where B1 varies about 180 degrees its mean is
    near 0, yet the states it makes are not.
    """
    sine, half, cosine = _mean_turns(timeline, voxels, rotations)
    sine, half = np.maximum(sine, _SMALL_SINE), np.maximum(half, _SMALL_SINE**2 / 4)
    turn = np.exp(1j * timeline.phase.detach().cpu().numpy())
    to_plus, to_z = -1j * sine * turn, -0.5j * sine * turn.conj()
    factors = np.stack([cosine + 0j, to_plus, to_plus, 1 - half + 0j, half * turn**2, to_z, to_z.conj()], 1)
    shift = torch.cat((timeline.moment.detach(), timeline.duration.detach()[:, None]), 1).cpu()
    ends = torch.cat((torch.zeros(1, 4, dtype=torch.float64), shift.cumsum(0)))[timeline.interval_start.cpu()]
    shift = ends.diff(dim=0).numpy()
    rates = np.zeros((timeline.pulses, 3))
    if voxels is not None:
        rates[:, 0] = shift[:, 3] * float((1 / voxels.t1.detach()).mean())
        rates[:, 1] = shift[:, 3] * float((1 / voxels.t2.detach()).mean())
        rates[:, 2] = float(voxels.diffusion.detach().mean())
    return factors, shift, rates


def _mean_turns(timeline: Timeline, voxels: Voxels | None, rotations: PulseRotations | None) -> NDArray[Any]:
    """Return over voxels the rms sine of the flip angle, mean squared sine of its half, rms cosine, ``[3, pulse]``."""
    flip = timeline.flip_angle.detach().cpu()[:, None] * _relative_b1(timeline, voxels)
    means = _means(torch.sin(flip / 2).square())
    if rotations is not None and len(rotations.beta):
        finite = _means(rotations.beta.detach().cpu().abs().square())[:, rotations.table.clamp_min(0)]
        means = torch.where(rotations.table >= 0, finite, means)
    return means.numpy()


def _means(half: torch.Tensor) -> torch.Tensor:
    """Return the means of `_mean_turns` of squared sines of half the flip angle, ``[n, voxel]``."""
    sine, cosine = (half * (1 - half)).clamp_min(0), 1 - 2 * half  # rounding may leave a half above 1
    return torch.stack((2 * sine.mean(1).sqrt(), half.mean(1), cosine.square().mean(1).sqrt()))


def _relative_b1(timeline: Timeline, voxels: Voxels | None) -> torch.Tensor:
    if voxels is None:
        return torch.ones(1, 1, dtype=torch.float64)
    some = voxels.b1.detach()[:, :: max(1, len(voxels) // _SAMPLED_VOXELS)].cpu().to(torch.complex128)
    if timeline.shim is None:
        return some.sum(0, keepdim=True).abs()
    return (timeline.shim.detach().cpu().to(torch.complex128) @ some).abs()


def _next_row(
    row: _Row, factors: NDArray[Any], shift: NDArray[Any], rates: NDArray[Any], max_states: int
) -> tuple[_Row, int, float]:
    keys = np.rint(row.place / np.array([K_GRID, K_GRID, K_GRID, TAU_GRID])).astype(np.int64)
    kind, child, parent, types, amplitude = _children(row.kind, keys, row.amplitude, factors)
    weight = np.abs(amplitude)
    weight[0] = np.inf  # Z0 stays
    kept = np.sort(np.argsort(-weight, kind="stable")[:max_states])
    fewer = len(kind) - len(kept)
    share = float(np.linalg.norm(np.delete(amplitude, kept)) / np.linalg.norm(amplitude)) if fewer else 0.0
    order = kept[np.argsort(kind[kept], kind="stable")]
    number = np.full(len(kind), -1)
    number[order] = np.arange(len(order))
    stays = number[child] >= 0
    child, parent, types = number[child][stays], parent[stays], types[stays]
    by_child = np.lexsort((-np.abs(row.amplitude[parent] * factors[types]), child))
    child, parent, types = child[by_child], parent[by_child], types[by_child]
    kind, amplitude = kind[order], amplitude[order]
    first = np.flatnonzero(np.diff(child, prepend=-1))
    place = EDGE_SIGN[types[first], None] * row.place[parent[first]]
    place[0] = 0
    weight = np.abs(amplitude)
    return _Row(kind, *_evolved(kind, place, amplitude, shift, rates), weight, child, parent, types), fewer, share


def _evolved(
    kind: NDArray[Any], place: NDArray[Any], amplitude: NDArray[Any], shift: NDArray[Any], rates: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the states' places and amplitudes at the end of the repetition, as if its gradient were constant."""
    start, end = place[:, :3], place[:, :3] + np.where(kind[:, None] == PLUS, shift[:3], 0)
    square = (start**2 + start * end + end**2).sum(1) * shift[3] * 4 * np.pi**2 / 3
    amplitude = amplitude * np.exp(-np.where(kind == PLUS, rates[1], rates[0]) - rates[2] * square)
    amplitude[0] += 1 - np.exp(-rates[0])
    return place + np.where(kind[:, None] == PLUS, shift, 0), amplitude


@numba.njit(cache=True)
def _slot(table: Any, keys: Any, kind: Any, a: int, b: int, c: int, d: int, wanted: int) -> Any:  # pragma: no cover
    """Return the slot of a hash table that holds the state of this key and kind, or the free one it belongs in."""
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed += np.uint64(c) * np.uint64(0x165667B19E3779F9) + np.uint64(d) * np.uint64(0xD6E8FEB86659FD93)
    mixed += np.uint64(wanted)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    at = np.int64((mixed >> np.uint64(20)) & np.uint64(len(table) - 1))
    while table[at] >= 0:
        s = table[at]
        if keys[s, 0] == a and keys[s, 1] == b and keys[s, 2] == c and keys[s, 3] == d and kind[s] == wanted:
            break
        at = (at + 1) & (len(table) - 1)
    return at


@numba.njit(cache=True)
def _children(parents: Any, parent_keys: Any, amplitude: Any, factors: Any) -> Any:  # pragma: no cover
    """Return kinds of the children, child, parent and type of the edges, and amplitudes of the children; Z0 first."""
    n = len(parents)
    size = 16
    while size < 8 * n:
        size *= 2
    table = np.full(size, -1, np.int64)
    keys, kind = np.zeros((3 * n + 1, 4), np.int64), np.zeros(3 * n + 1, np.int8)
    child, parent = np.zeros(4 * n + 1, np.int64), np.zeros(4 * n + 1, np.int64)
    types, made = np.zeros(4 * n + 1, np.int8), np.zeros(3 * n + 1, np.complex128)
    states, edges = 1, 0
    for s in range(n):
        sign = 0
        for j in range(3, -1, -1):
            if sign == 0 and parent_keys[s, j] != 0:
                sign = 1 if parent_keys[s, j] > 0 else -1
        for edge in range(3 if parents[s] == Z0 else 7):
            of_plus = edge >= PLUS_TO_PLUS
            if of_plus != (parents[s] == PLUS) or (parents[s] == Z0 and edge == Z_TO_PLUS_CONJ):
                continue
            if edge == (PLUS_TO_Z if sign < 0 else PLUS_TO_Z_CONJ) and sign != 0:
                continue
            to_z = edge == Z_TO_Z or edge >= PLUS_TO_Z
            turned = -1 if edge in (Z_TO_PLUS_CONJ, PLUS_TO_PLUS_CONJ, PLUS_TO_Z_CONJ) else 1
            target = 0
            if not (to_z and sign == 0):
                a, b = turned * parent_keys[s, 0], turned * parent_keys[s, 1]
                c, d = turned * parent_keys[s, 2], turned * parent_keys[s, 3]
                wanted = Z if to_z else PLUS
                at = _slot(table, keys, kind, a, b, c, d, wanted)
                if table[at] < 0:
                    table[at] = states
                    keys[states, 0], keys[states, 1], keys[states, 2], keys[states, 3] = a, b, c, d
                    kind[states] = wanted
                    states += 1
                target = table[at]
            child[edges], parent[edges], types[edges] = target, s, edge
            edges += 1
            made[target] += factors[edge] * (np.conj(amplitude[s]) if turned < 0 else amplitude[s])
    return kind[:states], child[:edges], parent[:edges], types[:edges], made[:states]


def _joined(rows: list[_Row], dropped: int, lost: float) -> Graph:
    starts = np.concatenate(([0], np.cumsum([len(row.kind) for row in rows]))).astype(np.int32)
    kind = np.concatenate([row.kind for row in rows])
    child = np.concatenate([row.edge_child + start for row, start in zip(rows, starts, strict=False)])
    parent = np.concatenate([row.edge_parent + start for row, start in zip(rows[1:], starts, strict=False)])
    return Graph(
        row_start=starts, plus_start=first_plus(kind, starts), kind=kind,
        edge_start=edge_starts(child, len(kind)), edge_parent=parent.astype(np.int32),
        edge_type=np.concatenate([row.edge_type for row in rows]),
        weight=np.concatenate([row.weight for row in rows]).astype(np.float32), dropped=dropped, lost=lost,
    )  # fmt: skip
