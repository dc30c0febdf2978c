"""Signal of a phase distribution graph and its gradients, a chunk of blocks of voxels at a time.

The kernels make sums of the transverse magnetisation at reference samples, ``x[order, row, block, lane]``; for each
distinct readout and coil, one matrix product or a few NUFFTs turn them into the signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.progress import Progress, silent
from pulsetwin.sim.graph_adjoint import reverse_blocks
from pulsetwin.sim.graph_adjoint_rows import Moments, Sums
from pulsetwin.sim.graph_kernel import run_blocks
from pulsetwin.sim.graph_lanes import DIFFUSION, LANES, R2, R2_PRIME
from pulsetwin.sim.graph_layout import Layout
from pulsetwin.sim.graph_long_readout import Encoded, Split, split_readouts
from pulsetwin.sim.graph_plan import Blocks, Plan
from pulsetwin.sim.graph_readout_encoding import Encoding, in_workers
from pulsetwin.sim.graph_readouts import Readout

_MEMORY, _MOST = 48 << 20, 1 << 30  # bytes of a chunk's sums and matrices
_LEAST = 8  # blocks that pay for the work on all samples that each chunk brings, unless they take `_MOST`
Result = TypeVar("Result")
_STATES = 1 << 14  # kept at a time for the adjoint, of 1 KiB each


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A graph's plan and layout, the blocks it is played on, and coils ``[coil, block, 2, LANES]``."""

    plan: Plan
    layout: Layout
    blocks: Blocks
    coils: NDArray[np.float32]
    samples: int


class Wanted(NamedTuple):
    """Gradients that are wanted: to k, to times, to the maps, to the coils, and to each state's amplitude."""

    k: bool = False
    time: bool = False
    maps: bool = False
    coils: bool = False
    states: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Gradients of what all voxels share, of blocks and coils, and of the readouts' samples ``[sample, 4]``."""

    sums: Sums
    maps: Blocks
    coils: NDArray[np.float32]
    sample: Tensor


def graph_signal_in_chunks(problem: Problem, progress: Progress = silent) -> Tensor:
    """Return the signal, complex64 ``[coil, sample]``."""
    plan, layout, voxels = problem.plan, problem.layout, LANES * len(problem.blocks.tissue)
    split, done = _split(problem, 1), [0]

    def add(signal: Tensor, part: slice, blocks: Blocks) -> None:
        x = _new_x(layout, blocks, 1)
        in_workers(len(blocks.tissue), run_blocks, plan, blocks, x.numpy(), _widest(plan))
        for readout, encodings in split.encodings(blocks, part, problem.coils[:, part]):
            rows = x[0, readout.rows].flatten(1)
            for coil, encoding in enumerate(encodings()):
                seen = encoding(rows) * readout.weight
                signal[coil].index_add_(0, readout.sample.flatten(), seen.flatten())
        done[0] += LANES * len(blocks.tissue)
        progress(done[0], voxels, "simulating voxels")

    empty = partial(torch.zeros, len(problem.coils), problem.samples, dtype=torch.complex64)
    return torch.stack(_over_chunks(problem, split, 1, empty, add)).sum(0)


def graph_gradients_in_chunks(problem: Problem, signal_bar: Tensor, wanted: Wanted) -> Gradients:
    """Return the gradients of ``Re sum(conj(signal_bar) signal)``, for `signal_bar` complex64 ``[coil, sample]``."""
    plan, layout, moments = problem.plan, problem.layout, _moments(problem, wanted)
    maps, coil_bar = Blocks(*(np.zeros_like(part) for part in problem.blocks)), np.zeros_like(problem.coils)
    tables = wanted.k or wanted.time
    received = tables or wanted.maps or wanted.coils
    orders = 4 if (moments.order > 0).any() else 1
    split = _split(problem, orders + 1)

    def new() -> tuple[list[Sums], Tensor]:
        sums = [_zero_sums(problem, wanted) for _ in range(numba.get_num_threads())]
        return sums, torch.zeros(problem.samples, 4, dtype=torch.float64)

    def add(result: tuple[list[Sums], Tensor], part: slice, blocks: Blocks) -> None:
        (sums, sample_bar), bars = result, Blocks(*(values[part] for values in maps))
        readouts = split.encodings(blocks, part, problem.coils[:, part])
        x, x_bar = _new_x(layout, blocks, orders), _x_bar(layout, readouts, len(blocks.tissue), signal_bar)
        in_workers(
            len(blocks.tissue), _reverse, plan, moments, blocks, x.numpy(), x_bar.numpy(), sums, bars, _widest(plan),
            (tables, wanted.maps, received),
        )  # fmt: skip
        for readout, encodings in readouts if received else ():
            rows = [one[readout.rows].flatten(1) for one in x]
            for coil, encoding in enumerate(encodings()):
                seen_bar = signal_bar[coil, readout.sample]
                if tables:
                    _add_to_samples(sample_bar, readout, blocks, rows, encoding, seen_bar.conj(), wanted)
                if wanted.maps or wanted.coils:
                    encoding.add_gradients(seen_bar * readout.weight, rows[0], coil_bar[coil, part], bars)

    results = _over_chunks(problem, split, orders + 1, new, add)
    whole = Sums(*(np.sum(member, 0) for member in zip(*(one for sums, _ in results for one in sums), strict=True)))
    return Gradients(whole, maps, coil_bar, torch.stack([sample_bar for _, sample_bar in results]).sum(0))


def _over_chunks(
    problem: Problem, split: Split, orders: int, new: Callable[[], Result], add: Callable[[Result, slice, Blocks], None]
) -> list[Result]:
    """Return results of threads, as many as numba is allowed, to which each has added its chunks.

    All that a thread calls stays in it. Long readouts are better shared out within a chunk, as large as can be.
    """
    workers = 1 if split.grid is not None else numba.get_num_threads()
    chunks = list(_chunks(problem, split, orders, workers))
    workers, threads = min(workers, len(chunks)), torch.get_num_threads()

    def run(worker: int) -> Result:
        result = new()
        for part, blocks in chunks[worker::workers]:
            add(result, part, blocks)
        return result

    def alone(worker: int) -> Result:
        torch.set_num_threads(1)
        numba.set_num_threads(1)
        return run(worker)

    if workers <= 1:
        return [run(0)]
    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(alone, range(workers)))
    finally:
        torch.set_num_threads(threads)


def _reverse(
    plan: Plan, moments: Moments, blocks: Blocks, x: Any, x_bar: Any, sums: list[Sums], bars: Blocks, widest: int,
    wanted: tuple[bool, bool, bool], worker: int, workers: int,
) -> None:  # fmt: skip
    cuts = _cuts(plan, widest)
    reverse_blocks(plan, moments, blocks, x, x_bar, sums[worker], bars, widest, cuts, worker, workers, *wanted)


def _cuts(plan: Plan, widest: int) -> NDArray[np.int64]:
    """Return the first row of each segment and the number of rows, for least memory where there are many states."""
    total, rows = int(plan.row_start[-1]), len(plan.plus_start)
    most = max(_STATES, int(np.sqrt(total * widest)))
    cuts, begin = [1], int(plan.row_start[1])
    for row in range(2, rows):
        if plan.row_start[row + 1] - begin > most:
            cuts.append(row)
            begin = int(plan.row_start[row])
    return np.array([*cuts, rows])


def _x_bar(layout: Layout, readouts: list[Encoded], blocks: int, signal_bar: Tensor) -> Tensor:
    """Return the cotangents of the sums of groups, ``[row, block, 2 * LANES]``."""
    x_bar = torch.zeros(layout.rows, blocks, 2 * LANES)
    for readout, encodings in readouts:
        for coil, encoding in enumerate(encodings()):
            seen_bar = signal_bar[coil, readout.sample] * readout.weight
            x_bar.flatten(1).index_add_(0, readout.rows, encoding.adjoint(seen_bar))
    return x_bar


def _add_to_samples(
    sample_bar: Tensor, readout: Readout, blocks: Blocks, rows: list[Tensor], encoding: Encoding,
    seen_bar: Tensor, wanted: Wanted,
) -> None:  # fmt: skip
    """Add the gradients of k and time of a readout's samples, given the conjugate cotangent of what is seen.

    `rows` are the sums that the readout sees, and those that the slopes of the voxel's transform weigh.
    """
    bar = torch.zeros(*readout.sample.shape, 4, dtype=torch.float64)
    for j in range(3 if wanted.k else 0):
        if blocks.place[:, j].any():
            place = torch.from_numpy(_both(blocks.place[:, j]))
            bar[..., j] = 2 * torch.pi * ((seen_bar * encoding(rows[0] * place)).imag * readout.weight)
    if wanted.time:
        bar[..., 3] = (seen_bar * encoding(_slopes_in_time(rows[0], readout, blocks))).real * readout.weight
    sample_bar.index_add_(0, readout.reference, -bar.sum(1))
    for j, steep in enumerate(rows[1:]):
        if steep.any():
            bar[..., j] += (seen_bar * encoding(steep)).real * readout.weight
    sample_bar.index_add_(0, readout.sample.flatten(), bar.flatten(0, 1))


def _both(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values ``[block, LANES]`` for real and imaginary parts, flat."""
    return np.concatenate((values, values), 1).astype(np.float32).ravel()


def _slopes_in_time(rows: Tensor, readout: Readout, blocks: Blocks) -> Tensor:
    """Return sums of groups times the derivative to time of the logarithm of their encoding.

    They are seen on one side of their echo, where T2' either adds to T2 or is taken from it.
    """
    rate, rate_prime = (torch.from_numpy(_both(blocks.tissue[:, row])) for row in (R2, R2_PRIME))
    turn = torch.from_numpy(2 * np.pi * _both(blocks.place[:, 3]))
    moved = rows.unflatten(1, (-1, 2, LANES))
    crossed = torch.stack((moved[:, :, 1], -moved[:, :, 0]), 2).flatten(1)  # -i times the rows
    return turn * crossed - (rate + readout.side[:, None] * rate_prime) * rows


def _moments(problem: Problem, wanted: Wanted) -> Moments:
    """Return the components of k and tau that act other than by turning the magnetisation.

    Components whose effect is below single precision beside that of the turns are left out.
    """
    layout, blocks = problem.layout, problem.blocks
    most = float(blocks.tissue[:, DIFFUSION].max(initial=0))
    axes, order = [], []
    for j in range(3 if wanted.k else 0):
        least = 1e-6 * 2 * np.pi * float(np.abs(blocks.place[:, j]).max(initial=0))
        spread = max(float(np.abs(slope[:, j]).max(initial=0)) for slope in (layout.b_slope, layout.entry_slope))
        if max(layout.steepest[j], spread * most) > least:
            axes.append(j)
            order.append(j + 1 if layout.steepest[j] > least else 0)
    if wanted.time and blocks.tissue[:, R2_PRIME].any():
        axes.append(3)
        order.append(0)
    slope = np.concatenate((layout.b_slope, np.zeros((len(layout.b), 1))), 1)[:, axes]
    entry_slope = np.concatenate((layout.entry_slope, layout.entry_side[:, None]), 1)[:, axes]
    return Moments(
        np.array(axes, np.int64), np.array(order, np.int64), slope.astype(np.float32, order="C"),
        entry_slope.astype(np.float32, order="C"),
    )  # fmt: skip


def _zero_sums(problem: Problem, wanted: Wanted) -> Sums:
    plan, pulses = problem.plan, len(problem.plan.flip_angle)
    return Sums(
        np.zeros(pulses), np.zeros(pulses), np.zeros_like(plan.shim), np.zeros((pulses + 1, 4)), np.zeros(len(plan.b)),
        np.zeros((len(plan.entry_state), 6)), np.zeros(len(plan.b) if wanted.states else 0),
    )  # fmt: skip


def _split(problem: Problem, orders: int) -> Split:
    """Return how the readouts are encoded, of chunks as large as those of long ones may be."""
    step = _step(problem.layout, orders, 0)
    return split_readouts(problem.layout.readouts, problem.blocks, len(problem.coils), step)


def _chunks(problem: Problem, split: Split, orders: int, workers: int) -> Iterator[tuple[slice, Blocks]]:
    """Yield chunks of blocks that fit in `_MEMORY` with `orders` copies of the sums, for as many `workers` at least."""
    step = _step(problem.layout, orders, max((len(readout.place) for readout in split.short), default=0))
    step = min(step, -(-len(problem.blocks.tissue) // workers))
    for begin in range(0, len(problem.blocks.tissue), step):
        part = slice(begin, begin + step)
        yield part, Blocks(*(values[part] for values in problem.blocks))


def _step(layout: Layout, orders: int, longest: int) -> int:
    """Return the number of blocks that fit in `_MEMORY`, or `_LEAST` of them, with matrices of `longest` samples."""
    row = max(1, (orders + 1) * layout.rows + 3 * longest) * 2 * LANES * 4
    return max(1, _MEMORY // row, min(_LEAST, _MOST // row))


def _new_x(layout: Layout, blocks: Blocks, orders: int) -> Tensor:
    return torch.zeros(orders, layout.rows, len(blocks.tissue), 2 * LANES)


def _widest(plan: Plan) -> int:
    return int(np.diff(plan.row_start).max())
