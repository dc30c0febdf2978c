"""Gradients of a phase distribution graph: each block's repetitions in reverse, in single precision.

The states after every pulse are made again in the block; nothing else is kept.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_adjoint_pulse import angles_adjoint, pulse_adjoint
from pulsetwin.sim.graph_adjoint_rows import Back, entries_adjoint, row_adjoint
from pulsetwin.sim.graph_kernel import evolve_row, fill_pulse, fill_relaxed, new_scratch, rest, run_block
from pulsetwin.sim.graph_lanes import FACTORS, FAST, LANES, clear, dot


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _before_row(plan, tissue, r, room):  # pragma: no cover
    """Fill ``room.end`` with the states before the pulse of row `r`, and their decays."""
    if r == 1:
        rest(room.end[0])
        return
    if plan.row_time[r] != plan.row_time[r - 1] or r + 1 == len(plan.plus_start):
        fill_relaxed(room.relaxed, tissue, plan.row_time[r - 1])
    evolve_row(plan, tissue, r - 1, room.after[plan.row_start[r - 1] :], room, True)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_shares(state, here, after):  # pragma: no cover
    """Add the gradients of relative changes of the amplitudes after a pulse."""
    for s in range(len(state)):
        state[s] += dot(here[s], after[s]) + dot(here[s, LANES:], after[s, LANES:])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _reverse_block(
    plan, moments, blocks, i, x, x_bar, room, back, sums, maps, tables_wanted, maps_wanted, received
):  # pragma: no cover
    """Run block `i` in reverse, after `run_block` has kept its states in ``room.after``."""
    place, tissue, rates = blocks.place[i], blocks.tissue[i], maps.tissue[i]
    count = len(moments.axis)
    last = len(plan.plus_start) - 1
    states = plan.row_start[last + 1] - plan.row_start[last]
    clear(back.bars[last & 1], states)
    clear(back.moments[last & 1], count * states)
    for r in range(last, 0, -1):
        begin, end = plan.row_start[r], plan.row_start[r + 1]
        after = room.after[begin:end]
        if r < last:
            row_adjoint(
                plan, moments, place, tissue, r, room, back, sums, rates, tables_wanted, maps_wanted,
            )  # fmt: skip
        entries_adjoint(
            plan, moments, place, tissue, r, x, x_bar, after, room, back, sums, maps.place[i], rates, tables_wanted,
            maps_wanted, received,
        )  # fmt: skip
        if len(sums.state):
            _add_shares(sums.state[begin:end], back.bars[r & 1], after)
        _before_row(plan, tissue, r, room)
        fill_pulse(plan, r - 1, blocks.b1[i], blocks.rotation[i], room)
        pulse_adjoint(plan, r, room, back, count)
        angles_adjoint(plan, r - 1, blocks.b1[i], maps.b1[i], maps.rotation[i], room, back, sums)


@numba.njit(cache=True)
def _new_back(widest, moments):  # pragma: no cover
    return Back(
        np.empty((2, widest, 2 * LANES), np.float32), np.empty((2, moments * widest, 2 * LANES), np.float32),
        np.empty((FACTORS, LANES), np.float32), np.empty((4, LANES), np.float32), np.empty(2 * LANES, np.float32),
        np.empty(2 * LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32),
        np.empty((2, LANES), np.float32), np.empty((moments, LANES), np.float32),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def reverse_blocks(
    plan, moments, blocks, x, x_bar, sums, maps, widest, worker, workers, tables_wanted, maps_wanted, received
):  # pragma: no cover
    """Add the gradients of a worker's blocks.

    Parameters
    ----------
    plan, moments, blocks
        What was simulated, and the moments that are needed.
    x
        Where to add what `run_blocks` does, if `received`.
    x_bar
        Cotangents of the groups, ``[order, group, block, 2 * LANES]``, and of their first moments.
    sums, maps
        Gradients of what all voxels share, and of `blocks`.
    widest
        Most states in a row.
    worker, workers
        Which of how many this is.
    tables_wanted, maps_wanted
        Whether gradients of k, times and b are, and those of maps other than b1 and rotations.
    """
    room = new_scratch(len(plan.edge_start) - 1, widest)
    back = _new_back(widest, len(moments.axis))
    for i in range(worker, len(blocks.tissue), workers):
        run_block(plan, blocks.place[i], blocks.tissue[i], blocks.b1[i], blocks.rotation[i], x[:, i], room, True)
        _reverse_block(
            plan, moments, blocks, i, x[:, i], x_bar[:, :, i], room, back, sums, maps, tables_wanted, maps_wanted,
            received,
        )  # fmt: skip
