"""Signal of a phase distribution graph by fused kernels on the CPU, in single precision, with analytic gradients.

The same values and gradients as `sim.graph_torch`. Nothing is kept for the backward pass, which plays each block of
voxels again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from pulsetwin.progress import Progress, silent
from pulsetwin.sim.graph import PLUS, Graph
from pulsetwin.sim.graph_adjoint_rows import TIME, B
from pulsetwin.sim.graph_chunks import Gradients, Problem, Wanted, graph_gradients_in_chunks, graph_signal_in_chunks
from pulsetwin.sim.graph_lanes import LANES
from pulsetwin.sim.graph_layout import Layout, graph_layout
from pulsetwin.sim.graph_paths import B_UNIT, Paths, paths_of
from pulsetwin.sim.graph_plan import Blocks, Plan
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations
from pulsetwin.sim.timeline import Timeline


def fused_signal(
    graph: Graph, timeline: Timeline, voxels: Voxels, rotations: PulseRotations | None = None,
    progress: Progress = silent,
) -> Tensor:  # fmt: skip
    """Return the signal of a graph, complex64 ``[coil, sample]``; all tensors must be on the CPU.

    Parameters
    ----------
    graph, timeline, voxels
        The graph, the timeline, and the voxels.
    rotations
        Of finite pulses; without them, all pulses are instantaneous.
    progress
        Called with voxels done, their number and what is done.
    """
    wanted = Wanted(k=timeline.moment.requires_grad, time=timeline.duration.requires_grad)
    with _one_thread():
        paths = paths_of(timeline)
        slopes = wanted.k and torch.is_grad_enabled()
        layout = graph_layout(graph, timeline, paths, voxels.size, voxels.shape, slopes)
        tables = _tables(timeline, rotations)
        values = _values(timeline, paths, voxels, rotations)
    received = _Received.apply(graph, layout, timeline.samples, tables, wanted, progress, *values)
    phase = timeline.sample_phase
    return received * torch.polar(torch.ones_like(phase), phase).to(torch.complex64)


def state_gradients(
    graph: Graph, timeline: Timeline, voxels: Voxels, rotations: PulseRotations | None, cotangents: Tensor
) -> NDArray[np.float64]:
    """Return the gradients of ``Re sum(conj(cotangent) signal)`` to relative changes of each state, ``[n, state]``.

    Parameters
    ----------
    graph, timeline, voxels, rotations
        As for `fused_signal`; their gradients are not followed.
    cotangents
        Complex ``[n, coil, sample]``.
    """
    with torch.no_grad(), _one_thread():
        paths = paths_of(timeline)
        layout = graph_layout(graph, timeline, paths, voxels.size, voxels.shape, False)
        values = _values(timeline, paths, voxels, rotations)
        problem = _problem(graph, layout, timeline.samples, _tables(timeline, rotations), values)
    found = [graph_gradients_in_chunks(problem, one, Wanted(states=True)).sums.state for one in cotangents]
    return np.stack(found)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: tables are so small that waking others takes longer than they save."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


class _Received(torch.autograd.Function):
    """The signal before the receiver's phase; an autograd function, so that its gradients can be analytic."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, layout: Layout, samples: int, tables: NDArray[np.int64], wanted: Wanted,
        progress: Progress, *values: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.graph, ctx.layout, ctx.samples, ctx.tables, ctx.wanted = graph, layout, samples, tables, wanted
        ctx.save_for_backward(*values)
        return graph_signal_in_chunks(_problem(graph, layout, samples, tables, values), progress)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal_bar: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[6:]
        wanted = ctx.wanted._replace(maps=any(needed[5:7]), coils=needed[9])
        problem = _problem(ctx.graph, ctx.layout, ctx.samples, ctx.tables, ctx.saved_tensors)
        found = graph_gradients_in_chunks(problem, signal_bar.contiguous(), wanted)
        with _one_thread():
            row, sample = _path_gradients(ctx.graph, ctx.layout, found)
        own = (*(torch.from_numpy(part) for part in found.sums[:3]), row, sample)
        maps = (torch.from_numpy(part) for part in (*found.maps, found.coils))
        return None, None, None, None, None, None, *own, *maps


def _path_gradients(graph: Graph, layout: Layout, found: Gradients) -> tuple[Tensor, Tensor]:
    """Return the gradients of `Paths.row` and `Paths.sample`."""
    sums, owner = found.sums, np.repeat(np.arange(graph.rows), np.diff(graph.row_start))
    row = _of_b(graph.rows, owner, layout.start, sums.b, graph.kind == PLUS)
    row[:, :4] += torch.from_numpy(sums.row)
    start, moving = layout.start[layout.entry_state], np.ones(len(layout.entry_state), bool)
    sample = _of_b(len(found.sample), layout.entry_middle, start, sums.entry[:, B], moving)
    at_reference = sums.entry[:, :4].copy()
    at_reference[:, 3] += sums.entry[:, TIME]
    sample[:, :4] += found.sample
    sample[:, :4].index_add_(0, torch.from_numpy(layout.entry_reference), torch.from_numpy(at_reference))
    return row[1:], sample


def _of_b(count: int, owner: NDArray[Any], start: NDArray[Any], b_bar: NDArray[Any], moving: NDArray[Any]) -> Tensor:
    """Return gradients ``[count, 8]`` of the terms of b of states or entries, which belong to `owner`."""
    k, b_bar = start[:, :3], B_UNIT * b_bar
    terms = np.zeros((len(start), 8))
    terms[:, 3] = (k * k).sum(1) * b_bar
    terms[moving, 4:7] = (k * b_bar[:, None])[moving]
    terms[moving, 7] = b_bar[moving]
    return torch.zeros(count, 8, dtype=torch.float64).index_add_(0, torch.from_numpy(owner), torch.from_numpy(terms))


def _tables(timeline: Timeline, rotations: PulseRotations | None) -> NDArray[np.int64]:
    return np.full(timeline.pulses, -1) if rotations is None else rotations.table.numpy()


def _values(timeline: Timeline, paths: Paths, voxels: Voxels, rotations: PulseRotations | None) -> tuple[Tensor, ...]:
    """Return what the signal depends on: pulses, paths, and blocks of the voxels' maps.

    Voxels that fill up the last block hold nothing.
    """
    channels = len(voxels.b1)
    shim = torch.ones(timeline.pulses, channels) if timeline.shim is None else timeline.shim
    rates = [1 / voxels.t1, 1 / voxels.t2, 1 / voxels.t2_prime, voxels.diffusion, voxels.proton_density]
    place = torch.cat((voxels.position.double().T, voxels.b0.double()[None]))
    b1, coils = (_parts(field) for field in (voxels.b1, voxels.coils))
    spins = torch.zeros(0, 4, len(voxels))
    if rotations is not None:
        spins = torch.cat((_parts(rotations.alpha), _parts(rotations.beta)), 1)
    maps = (_lanes(place), _lanes(torch.stack(rates).float()), _lanes(b1), _lanes(spins), _lanes(coils).movedim(1, 0))
    return timeline.flip_angle, timeline.phase, shim.to(torch.complex128), paths.row, paths.sample, *maps


def _parts(field: Tensor) -> Tensor:
    """Return real and imaginary parts ``[n, 2, voxel]`` of ``[n, voxel]``."""
    return torch.view_as_real(field.to(torch.complex64)).movedim(-1, 1)


def _lanes(values: Tensor) -> Tensor:
    """Return values ``[*rows, voxel]`` as blocks, ``[block, *rows, LANES]``."""
    short = -values.shape[-1] % LANES
    return torch.nn.functional.pad(values, (0, short)).unflatten(-1, (-1, LANES)).movedim(-2, 0).contiguous()


def _problem(
    graph: Graph, layout: Layout, samples: int, tables: NDArray[np.int64], values: tuple[Tensor, ...]
) -> Problem:
    """Return what the kernels take, given the arguments of `_Received`."""
    flip_angle, phase, shim, _, _, place, tissue, b1, rotation, coils = (
        value.detach().contiguous().numpy() for value in values
    )
    plan = Plan(
        *(a.astype(np.int64) for a in (graph.row_start, graph.plus_start, graph.edge_start, graph.edge_parent)),
        graph.edge_type, flip_angle, phase, shim, tables, _single(layout.row_time), _single(layout.b),
        layout.entry_start, layout.entry_state, layout.entry_group, layout.mix.row, layout.mix.count, layout.mix.first,
        layout.mix.share, layout.entry_place, _single(layout.entry_time),
        _single(layout.entry_b), _single(layout.entry_side),
    )  # fmt: skip
    return Problem(plan, layout, Blocks(place, tissue, b1, rotation), coils, samples)


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)
