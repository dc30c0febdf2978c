"""Signal of a phase distribution graph by fused kernels on the CPU, in single precision, with analytic gradients.

The same values and gradients as `sim.graph_torch`. A chunk of blocks of voxels is played through all repetitions, which
gives the transverse magnetisation of each group at its reference sample, ``x[group, voxel]``; a product with a matrix
for each distinct readout turns that into the signal. Nothing is kept for the backward pass, which plays each block
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from pulsetwin.sim.graph import Graph
from pulsetwin.sim.graph_adjoint import reverse_blocks
from pulsetwin.sim.graph_adjoint_rows import Sums
from pulsetwin.sim.graph_encoding import add_encoding_adjoint, fill_encoding
from pulsetwin.sim.graph_kernel import LANES, Blocks, Plan, run_blocks
from pulsetwin.sim.graph_tables import Readout, Tables
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

_MEMORY = 64 << 20  # bytes of `x` in a chunk
_HIDDEN = 1e-9  # of the voxel's transform, below which a group has no signal


def fused_signal(graph: Graph, tables: Tables, timeline: Timeline, voxels: Voxels) -> Tensor:
    """Return the signal of a graph, complex64 ``[coil, sample]``; all tensors must be on the CPU.

    Parameters
    ----------
    graph, tables, timeline, voxels
        The graph, its tables for this timeline and the voxels' size and shape, the timeline, and the voxels.
    """
    channels, tables = len(voxels.b1), _seen(tables)
    shim = torch.ones(timeline.pulses, channels) if timeline.shim is None else timeline.shim
    shift = torch.zeros(0, 4) if tables.edge_shift is None else tables.edge_shift
    received = _Received.apply(
        graph, tables, timeline.samples, timeline.flip_angle, timeline.phase, shim.to(torch.complex128),
        tables.row_time, tables.b, shift.double(), tables.entry_place, tables.entry_time, tables.entry_b,
        *_maps(voxels), *[readout.place for readout in tables.readouts],
        *[readout.weight for readout in tables.readouts],
    )  # fmt: skip
    phase = timeline.sample_phase
    return received * torch.polar(torch.ones_like(phase), phase).to(torch.complex64)


class _Received(torch.autograd.Function):
    """The signal before the receiver's phase; an autograd function, so that its gradients can be analytic."""

    @staticmethod
    def forward(ctx: Any, graph: Graph, tables: Tables, samples: int, *values: Tensor) -> Tensor:
        ctx.graph, ctx.tables = graph, tables
        ctx.save_for_backward(*values)
        plan, blocks, coils, places, weights = _arrays(graph, tables, values)
        signal = torch.zeros(len(coils), samples, dtype=torch.complex64)
        for part in _chunks(tables, coils.shape[1]):
            some = Blocks(*(maps[part] for maps in blocks))
            x = _new_x(tables, some)
            run_blocks(plan, some, x.numpy(), _widest(plan), _workers(some))
            for index, (place, weight) in enumerate(zip(places, weights, strict=True)):
                readout = tables.readouts[index]
                sum_of_groups = _rows_of(x, readout.groups)
                for coil in range(len(coils)):
                    matrix = _encoding(some, coils[coil, part], place)
                    seen = (sum_of_groups @ matrix.T).view(torch.complex64) * weight[:, 0]
                    signal[coil].index_add_(0, readout.sample.flatten(), seen.flatten())
        return signal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal_bar: Tensor) -> tuple[Tensor | None, ...]:
        values = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        plan, blocks, coils, places, weights = _arrays(ctx.graph, ctx.tables, values)
        readouts = len(values) - len(places)
        workers = _workers(blocks)
        sums = _zero_sums(plan, workers)
        maps = Blocks(*(np.zeros_like(part) for part in blocks))
        coil_bar = np.zeros_like(coils)
        place_bars = [np.zeros((workers, *place.shape)) for place in places]
        weight_bars = [torch.zeros_like(weight) for weight in weights]
        maps_wanted, received = any(needed[9:11]), any(needed[9:])
        tables_wanted = any(needed[3:9])
        for part in _chunks(ctx.tables, coils.shape[1]):
            some, bars = (Blocks(*(values[part] for values in both)) for both in (blocks, maps))
            x = _new_x(ctx.tables, some)
            orders = max((weight.shape[1] for weight in weights), default=1) if len(plan.shift) else 1
            x_bar = torch.stack([_new_x(ctx.tables, some)] * orders)
            for readout, place, weight in zip(ctx.tables.readouts, places, weights, strict=True):
                for coil in range(len(coils)):
                    matrix = _encoding(some, coils[coil, part], place)
                    for order in range(orders):
                        seen_bar = _seen_bar(signal_bar[coil], readout, weight[:, order])
                        x_bar[order].flatten(1).index_add_(0, readout.groups, seen_bar @ matrix)
            reverse_blocks(
                plan, some, x.numpy(), x_bar.numpy(), sums, bars, _widest(plan), (tables_wanted, maps_wanted, received)
            )
            if not received:
                continue
            for readout, place, weight, place_bar, weight_bar in zip(
                ctx.tables.readouts, places, weights, place_bars, weight_bars, strict=True
            ):
                groups = _rows_of(x, readout.groups)
                for coil in range(len(coils)):
                    sensitivity = coils[coil, part]
                    seen_bar = _seen_bar(signal_bar[coil], readout, weight[:, 0])
                    matrix_bar = (seen_bar.T @ groups).reshape(len(place), 2, -1, 2 * LANES)
                    add_encoding_adjoint(
                        matrix_bar.numpy(), some, sensitivity, place, coil_bar[coil, part], bars, place_bar, workers
                    )
                    if needed[readouts]:
                        seen = (groups @ _encoding(some, sensitivity, place).T).view(torch.complex64)
                        weight_bar[:, 0] += (signal_bar[coil, readout.sample].conj() * seen).real
        summed = [torch.from_numpy(values.sum(0)) for values in sums]
        bars = [*summed, *(torch.from_numpy(part) for part in (*maps, coil_bar))]
        bars += [torch.from_numpy(place_bar.sum(0)) for place_bar in place_bars]
        bars += [weight_bar.double() for weight_bar in weight_bars]
        return None, None, None, *bars


def _seen_bar(signal_bar: Tensor, readout: Readout, weight: Tensor) -> Tensor:
    """Return the cotangent of what a readout's groups bring to the signal, ``[group, 2 * sample]``."""
    return torch.view_as_real((signal_bar[readout.sample] * weight).contiguous()).flatten(1)


def _zero_sums(plan: Plan, workers: int) -> Sums:
    members = ("flip_angle", "phase", "shim", "row_time", "b", "shift", "entry_place", "entry_time", "entry_b")
    shapes = {name: getattr(plan, name).shape for name in members}
    return Sums(**{
        name: np.zeros((workers, *shape), np.complex128 if name == "shim" else np.float64)
        for name, shape in shapes.items()
    })  # fmt: skip


def _seen(tables: Tables) -> Tables:
    """Return the tables without the groups that the voxels' shape hides, as most of those of spoiled states are."""
    count = int(tables.group_start[-1])
    seen = torch.zeros(count, dtype=torch.bool)
    parts = [readout.weight.detach().abs().amax((1, 2)) > _HIDDEN for readout in tables.readouts]
    for readout, part in zip(tables.readouts, parts, strict=True):
        seen[readout.groups[part]] = True
    if bool(seen.all()):
        return tables
    number = seen.cumsum(0) - 1
    entry = torch.nonzero(seen[tables.entry_group])[:, 0]
    entry_start = np.searchsorted(entry.numpy(), tables.entry_start)
    names = ("entry_state", "entry_place", "entry_time", "entry_b", "entry_slope", "entry_side")
    readouts = [
        Readout(readout.place, number[readout.groups[part]], readout.weight[part], readout.sample[part])
        for readout, part in zip(tables.readouts, parts, strict=True)
        if bool(part.any())
    ]
    return replace(
        tables, **{name: getattr(tables, name)[entry] for name in names},
        entry_group=number[tables.entry_group[entry]], entry_start=entry_start,
        group_start=np.concatenate(([0], seen.cumsum(0).numpy()))[tables.group_start], readouts=tuple(readouts),
    )  # fmt: skip


def _maps(voxels: Voxels) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return place, tissue, b1 and coils of blocks of voxels; voxels that fill up the last block hold nothing."""
    rates = [1 / voxels.t1, 1 / voxels.t2, 1 / voxels.t2_prime, voxels.diffusion, voxels.proton_density]
    place = torch.cat((voxels.position.double().T, voxels.b0.double()[None]))
    b1, coils = (torch.view_as_real(field.to(torch.complex64)).movedim(-1, 1) for field in (voxels.b1, voxels.coils))
    return _lanes(place), _lanes(torch.stack(rates).float()), _lanes(b1), _lanes(coils).movedim(1, 0)


def _lanes(values: Tensor) -> Tensor:
    """Return values ``[*rows, voxel]`` as blocks, ``[block, *rows, LANES]``."""
    short = -values.shape[-1] % LANES
    return torch.nn.functional.pad(values, (0, short)).unflatten(-1, (-1, LANES)).movedim(-2, 0).contiguous()


def _arrays(
    graph: Graph, tables: Tables, values: tuple[Tensor, ...]
) -> tuple[Plan, Blocks, NDArray[np.float32], list[NDArray[np.float64]], list[Tensor]]:
    """Return what the kernels take, given the arguments of `_Received`."""
    flip_angle, phase, shim, row_time, b, shift, entry_place, entry_time, entry_b, place, tissue, b1, coils = (
        value.detach().contiguous().numpy() for value in values[:13]
    )
    count = len(tables.readouts)
    same = np.concatenate(([False], (shim[1:] == shim[:-1]).all(1)))
    plan = Plan(
        *(a.astype(np.int64) for a in (graph.row_start, graph.plus_start, graph.edge_start, graph.edge_parent)),
        graph.edge_type, flip_angle, phase, shim, same, _single(row_time), _single(b), _single(tables.b_slope.numpy()),
        shift, tables.entry_start,
        tables.entry_state.numpy(), tables.entry_group.numpy(), entry_place, _single(entry_time), _single(entry_b),
        _single(tables.entry_slope.numpy()),
        _single(tables.entry_side.numpy()),
    )  # fmt: skip
    places = [value.detach().contiguous().numpy() for value in values[13 : 13 + count]]
    return plan, Blocks(place, tissue, b1), coils, places, [value.detach().float() for value in values[13 + count :]]


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _chunks(tables: Tables, blocks: int) -> Iterator[slice]:
    bytes_of_block = max(1, int(tables.group_start[-1])) * 2 * LANES * 4
    step = max(1, _MEMORY // bytes_of_block)
    return (slice(begin, begin + step) for begin in range(0, blocks, step))


def _new_x(tables: Tables, blocks: Blocks) -> Tensor:
    return torch.zeros(int(tables.group_start[-1]), len(blocks.tissue), 2 * LANES)


def _widest(plan: Plan) -> int:
    return int(np.diff(plan.row_start).max())


def _workers(blocks: Blocks) -> int:
    return min(numba.get_num_threads(), len(blocks.tissue))


def _rows_of(x: Tensor, groups: Tensor) -> Tensor:
    flat = x.flatten(1)
    return flat if len(groups) == len(flat) else flat[groups]  # all of them are in order


def _encoding(blocks: Blocks, coil: NDArray[np.float32], place: NDArray[np.float64]) -> Tensor:
    """Return the matrix of a readout, ``[2 * sample, voxel parts]``."""
    matrix = torch.empty(len(place), 2, len(blocks.tissue), 2 * LANES)
    fill_encoding(matrix.numpy(), blocks, coil, place, _workers(blocks))
    return matrix.flatten(2).flatten(0, 1)
