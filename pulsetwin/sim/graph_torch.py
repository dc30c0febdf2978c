"""Signal of a phase distribution graph by batched torch operations: the reference engine, on any device.

Gradients are those of autograd. Voxels are treated in chunks, which are computed again in the backward pass, so that
memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pulsetwin.sim.graph import PLUS_TO_PLUS_CONJ, PLUS_TO_Z_CONJ, Z_TO_PLUS_CONJ, Graph
from pulsetwin.sim.graph_tables import Tables
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations, edge_factors, instant_rotation
from pulsetwin.sim.timeline import Timeline

_MEMORY, _TAPE = 96 << 20, 1 << 30  # bytes that a chunk of voxels may take, without and with gradients
_MAPS = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")
_FIELDS = ("b1", "coils", "alpha", "beta")
_CONJUGATED = (Z_TO_PLUS_CONJ, PLUS_TO_PLUS_CONJ, PLUS_TO_Z_CONJ)
_FACTOR_OF = np.array([3, 0, 0, 1, 2, 4, 5])  # which of the factors of a pulse each type of edge has
_FIRST_TO_Z = 3  # of these factors


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Maps of a chunk of voxels, real ``[voxel]`` but `position` ``[voxel, 3]``, all of `_FIELDS` ``[n, voxel]``."""

    position: Tensor
    proton_density: Tensor
    t1: Tensor
    t2: Tensor
    t2_prime: Tensor
    diffusion: Tensor
    b0: Tensor
    b1: Tensor
    coils: Tensor
    alpha: Tensor
    beta: Tensor

    @classmethod
    def of(cls, voxels: Voxels, dtype: torch.dtype, rotations: PulseRotations | None = None) -> Tissue:
        """Return the maps of `voxels` in the precision of complex `dtype`; places and offsets stay in float64."""
        real = torch.empty(0, dtype=dtype).real.dtype
        maps = {name: getattr(voxels, name).to(real) for name in _MAPS}
        maps |= {name: getattr(voxels, name).double() for name in ("position", "b0")}
        turns = (voxels.b1[:0],) * 2 if rotations is None else (rotations.alpha, rotations.beta)
        fields = dict(zip(_FIELDS, (voxels.b1, voxels.coils, *turns), strict=True))
        return cls(**maps, **{name: value.to(dtype) for name, value in fields.items()})

    def chunk(self, part: slice) -> Tissue:
        """Return the maps of some of the voxels."""
        pick = {name: getattr(self, name)[part] for name in _MAPS}
        return Tissue(**pick, **{name: getattr(self, name)[:, part] for name in _FIELDS})

    def phasor(self, place: Tensor) -> Tensor:
        """Return the angle ``-2 pi (k r + tau b0)`` less whole turns, ``[n, voxel]``, of places ``[n, 4]``."""
        turns = place[:, :3] @ self.position.T + place[:, 3:] * self.b0
        return (-2 * torch.pi * (turns - turns.detach().round())).to(self.t1.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """At most one edge of a factor for each Z or each PLUS state of a row.

    `source` is the parent within its row, that plus the row's length if conjugated, or twice the length for no edge.
    """

    plus: bool
    factor: int
    source: Tensor
    shift: Tensor | None  # k and tau of the edge less those of the child


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """What a repetition needs of graph, tables and timeline, on the device of the voxels; indices are within rows."""

    slots: tuple[_Slot, ...]
    plus: int
    flip_angle: Tensor
    phase: Tensor
    shim: Tensor | None
    rotation: int  # of the voxels' alpha and beta, -1 for an instantaneous pulse
    time: Tensor
    b: Tensor
    b_slope: Tensor
    entry_state: Tensor
    entry_group: Tensor
    entry_place: Tensor
    entry_time: Tensor
    entry_b: Tensor
    entry_slope: Tensor
    entry_side: Tensor
    groups: int


def graph_signal(
    graph: Graph, tables: Tables, timeline: Timeline, voxels: Voxels, dtype: torch.dtype = torch.complex64,
    rotations: PulseRotations | None = None,
) -> Tensor:  # fmt: skip
    """Return the signal of a graph, complex `dtype` ``[coil, sample]`` on the device of the voxels.

    Parameters
    ----------
    graph, tables, timeline, voxels
        The graph, its tables for this timeline and the voxels' size and shape, the timeline, and the voxels.
    dtype
        ``torch.complex64`` or ``torch.complex128``.
    rotations
        Of finite pulses; without them, all pulses are instantaneous.
    """
    tissue = Tissue.of(voxels, dtype, rotations)
    device = voxels.position.device
    finite = [-1] * timeline.pulses if rotations is None else rotations.table.tolist()
    rows = _rows(graph, tables, timeline, device, finite)
    taped = torch.is_grad_enabled() and _carry_gradients(timeline, tissue)
    step = _chunk(graph, tables, len(voxels), taped, dtype)
    signal = torch.zeros(len(voxels.coils), timeline.samples, dtype=dtype, device=device)
    for begin in range(0, len(voxels), step):
        some = tissue.chunk(slice(begin, begin + step))
        if taped and step < len(voxels):
            signal = signal + checkpoint(_chunk_signal, rows, tables, some, timeline.samples, use_reentrant=False)
        else:
            signal = signal + _chunk_signal(rows, tables, some, timeline.samples)
    phase = timeline.sample_phase.to(device)
    return signal * torch.polar(torch.ones_like(phase), phase).to(dtype)


def _carry_gradients(timeline: Timeline, tissue: Tissue) -> bool:
    values = [getattr(timeline, f.name) for f in fields(Timeline)] + [getattr(tissue, f.name) for f in fields(Tissue)]
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _chunk(graph: Graph, tables: Tables, voxels: int, taped: bool, dtype: torch.dtype) -> int:
    """Return how many voxels to treat at once."""
    edges, entries = np.diff(graph.edge_start[graph.row_start]), np.diff(tables.entry_start)
    held = (edges.sum() + entries.sum()) if taped else (edges.max() + entries.max())
    samples = sum(len(readout.place) for readout in tables.readouts)
    orders, each = (1, 6) if tables.edge_shift is None else (5, 50)
    numbers = each * int(held) + 2 * orders * int(tables.group_start[-1]) + 2 * (samples if taped else 1)
    return max(1, min(voxels, (_TAPE if taped else _MEMORY) // (numbers * dtype.itemsize)))


def _rows(graph: Graph, tables: Tables, timeline: Timeline, device: torch.device, finite: list[int]) -> list[_Row]:
    """Return the rows of a graph, the equilibrium left out."""
    rows, starts = [], graph.row_start
    for r in range(1, graph.rows):
        begin, end = int(starts[r]), int(starts[r + 1])
        entry = slice(tables.entry_start[r], tables.entry_start[r + 1])
        group = tables.group_start[r : r + 2]
        here = {"entry_state": tables.entry_state[entry] - begin, "entry_group": tables.entry_group[entry] - group[0]}
        names = ("entry_place", "entry_time", "entry_b", "entry_slope", "entry_side")
        here |= {name: getattr(tables, name)[entry] for name in names}
        here |= {"time": tables.row_time[r], "b": tables.b[begin:end], "b_slope": tables.b_slope[begin:end]}
        here |= {"flip_angle": timeline.flip_angle[r - 1], "phase": timeline.phase[r - 1]}
        rows.append(
            _Row(
                **{name: value.to(device) for name, value in here.items()},
                plus=int(graph.plus_start[r] - begin), groups=int(group[1] - group[0]),
                slots=tuple(_slots(graph, r, tables.edge_shift, device)),
                shim=None if timeline.shim is None else timeline.shim[r - 1].to(device), rotation=finite[r - 1],
            )
        )  # fmt: skip
    return rows


def _slots(graph: Graph, row: int, shifts: Tensor | None, device: torch.device) -> Iterator[_Slot]:
    """Yield the edges into a row by kind of child and factor, the second edge of a child and factor in another slot."""
    before, begin, end = (int(x) for x in graph.row_start[row - 1 : row + 2])
    edge = np.arange(graph.edge_start[begin], graph.edge_start[end])
    child = np.repeat(np.arange(end - begin), np.diff(graph.edge_start[begin : end + 1]))
    types, length, plus = graph.edge_type[edge], begin - before, int(graph.plus_start[row] - begin)
    source = graph.edge_parent[edge] - before + np.isin(types, _CONJUGATED) * length
    for factor in range(6):
        mine = np.flatnonzero(_FACTOR_OF[types] == factor)
        while len(mine):
            _, first = np.unique(child[mine], return_index=True)
            now, mine = mine[first], np.delete(mine, first)
            to_plus = factor < _FIRST_TO_Z
            at = child[now] - (plus if to_plus else 0)
            table = np.full(end - begin - plus if to_plus else plus, 2 * length)
            table[at] = source[now]
            shift = None
            if shifts is not None:
                shift = shifts.new_zeros(len(table), 4).index_copy(0, torch.from_numpy(at), shifts[edge[now]])
                shift = shift.to(device)
            yield _Slot(to_plus, factor, torch.from_numpy(table).to(device), shift)


def _chunk_signal(rows: list[_Row], tables: Tables, tissue: Tissue, samples: int) -> Tensor:
    """Return the signal ``[coil, sample]`` of the voxels of `tissue`, without the receiver's phase.

    Amplitudes are ``[state, order, voxel]``. Where paths of different gradients meet, order 0 is followed by the first
    moments of the paths' k and tau about those of the state: 0, but not their gradients.
    """
    amplitude = torch.ones_like(tissue.coils[:1])[:, None]
    if rows and rows[0].slots[0].shift is not None:
        amplitude = torch.cat((amplitude, torch.zeros_like(amplitude).expand(-1, 4, -1)), 1)
    groups = []
    for row in rows:
        amplitude = _pulse(amplitude, row, tissue)
        if row.groups:
            groups.append(_emitted(amplitude, row, tissue))
        amplitude = _evolved(amplitude, row, tissue)
    signal = tissue.coils.new_zeros(len(tissue.coils), samples)
    if not groups:
        return signal
    received = torch.cat(groups)
    for readout in tables.readouts:
        place = readout.place.to(tissue.t1.device)
        decay = -place[:, 3:].to(tissue.t1.dtype) / tissue.t2 - place[:, 3:].abs().to(tissue.t1.dtype) / tissue.t2_prime
        encoding = torch.polar(torch.exp(decay), tissue.phasor(place))
        encoding = (tissue.coils[:, None] * encoding).reshape(-1, encoding.shape[1])
        seen = received[readout.groups.to(encoding.device)] @ encoding.T
        seen = seen.reshape(*seen.shape[:2], len(tissue.coils), len(place))
        weight = readout.weight[:, : seen.shape[1], None].to(encoding.device, tissue.t1.dtype)
        target = readout.sample.to(encoding.device).flatten()
        signal = signal.index_add(1, target, (seen * weight).sum(1).transpose(0, 1).flatten(1))
    return signal


def _pulse(amplitude: Tensor, row: _Row, tissue: Tissue) -> Tensor:
    """Return the amplitudes after the pulse of those at the end of the repetition before it."""
    if row.rotation >= 0:
        alpha, beta = tissue.alpha[row.rotation], tissue.beta[row.rotation]
    else:
        b1 = tissue.b1.sum(0) if row.shim is None else row.shim.to(tissue.b1.dtype) @ tissue.b1
        alpha, beta = instant_rotation(row.flip_angle, b1)
    factors = edge_factors(alpha, beta * torch.polar(torch.ones_like(row.phase), row.phase).to(beta.dtype))
    mirrored = torch.cat((amplitude[:, :1], -amplitude[:, 1:]), 1).conj()  # k and tau change their sign
    sources = torch.cat((amplitude, mirrored, torch.zeros_like(amplitude[:1])))
    made: dict[bool, Tensor] = {}
    for slot in row.slots:
        part = sources[slot.source] * factors[slot.factor]
        if slot.shift is not None:
            moved = part[:, 1:] + slot.shift.to(tissue.t1.dtype)[:, :, None] * part[:, :1]
            part = torch.cat((part[:, :1], moved), 1)
        made[slot.plus] = made[slot.plus] + part if slot.plus in made else part
    return torch.cat((made[False], made[True])) if True in made else made[False]


def _evolved(amplitude: Tensor, row: _Row, tissue: Tissue) -> Tensor:
    """Return the amplitudes at the end of the repetition; k, tau and the phases that go with them stay outside."""
    time = row.time.to(tissue.t1.dtype)
    if amplitude.shape[1] > 1:
        slope = row.b_slope.to(time.dtype)
        amplitude = _along(amplitude, tuple(-slope[:, j : j + 1] * tissue.diffusion for j in range(3)))
    spread = torch.exp(-row.b[1:, None].to(time.dtype) * tissue.diffusion)[:, None]
    still, turned = amplitude[1 : row.plus], amplitude[row.plus :]
    longitudinal, transverse = torch.exp(-time / tissue.t1), torch.exp(-time / tissue.t2)
    equilibrium = amplitude[:1] * longitudinal
    regrown = equilibrium[:, :1] - torch.expm1(-time / tissue.t1)
    still, turned = still * spread[: row.plus - 1] * longitudinal, turned * spread[row.plus - 1 :] * transverse
    return torch.cat((torch.cat((regrown, equilibrium[:, 1:]), 1), still, turned))


def _along(amplitude: Tensor, slopes: tuple[Tensor, ...]) -> Tensor:
    """Return amplitudes whose order 0 has gained the first moments times the `slopes` of what multiplies it."""
    gained = amplitude[:, 0]
    for order, slope in enumerate(slopes, 1):
        gained = gained + slope * amplitude[:, order]
    return torch.cat((gained[:, None], amplitude[:, 1:]), 1)


def _emitted(amplitude: Tensor, row: _Row, tissue: Tissue) -> Tensor:
    """Return sums of the transverse states that share k and readout at reference samples, ``[group, order, voxel]``.

    Their orders are 0 and the first moments of k, which the slope of the voxel's transform multiplies.
    """
    real = tissue.t1.dtype
    side, place = row.entry_side.to(real)[:, None], row.entry_place
    decay = -row.entry_time.to(real)[:, None] / tissue.t2 - side * place[:, 3:].to(real) / tissue.t2_prime
    decay = decay - row.entry_b.to(real)[:, None] * tissue.diffusion
    seen = amplitude[row.entry_state]
    if seen.shape[1] > 1:
        slope, turns = row.entry_slope.to(real), torch.cat((tissue.position.T, tissue.b0[None])).to(real)
        slopes = [-2j * torch.pi * turns[j] - slope[:, j : j + 1] * tissue.diffusion for j in range(3)]
        seen = _along(seen, (*slopes, -2j * torch.pi * turns[3] - side / tissue.t2_prime))[:, :4]
    seen = seen * (torch.polar(torch.exp(decay), tissue.phasor(place)) * tissue.proton_density)[:, None]
    if row.groups < len(seen):  # index_add is slow on complex numbers
        parts = torch.view_as_real(seen).flatten(1)
        grouped = parts.new_zeros(row.groups, parts.shape[1]).index_add(0, row.entry_group, parts)
        return torch.view_as_complex(grouped.reshape(row.groups, *seen.shape[1:], 2))
    return seen[torch.argsort(row.entry_group)]
