"""Gradients of a phase distribution graph: each block's repetitions in reverse, in single precision.

Nothing of the simulation is kept but the states before some of the pulses, from which those after the next ones are
made again.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_adjoint_pulse import angles_adjoint, pulse_adjoint
from pulsetwin.sim.graph_adjoint_rows import Back, entries_adjoint, row_adjoint
from pulsetwin.sim.graph_kernel import evolve_row, fill_pulse, fill_relaxed, rest, run_rows
from pulsetwin.sim.graph_lanes import FACTORS, FAST, LANES, clear, dot
from pulsetwin.sim.graph_plan import new_scratch


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_shares(state, here, after):  # pragma: no cover
    """Add the gradients of relative changes of the amplitudes after a pulse."""
    for s in range(len(state)):
        state[s] += dot(here[s], after[s]) + dot(here[s, LANES:], after[s, LANES:])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _run_to_cuts(plan, blocks, i, x, room, cuts, before):  # pragma: no cover
    """Fill the states `before` the first row of each segment of rows, ``[segment, state, 2 * LANES]``."""
    place, tissue, b1, rotation = blocks.place[i], blocks.tissue[i], blocks.b1[i], blocks.rotation[i]
    rest(room.end[0])
    for n in range(len(cuts) - 1):
        _copy(before[n], room.end, plan.row_start[cuts[n]] - plan.row_start[cuts[n] - 1])
        if n < len(cuts) - 2:
            run_rows(plan, place, tissue, b1, rotation, x, room, cuts[n], cuts[n + 1] - 1, False, False)


@numba.njit(cache=True)
def _copy(to, rows, count):  # pragma: no cover
    for s in range(count):
        for v in range(2 * LANES):
            to[s, v] = rows[s, v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _reverse_rows(
    plan, moments, blocks, i, x, x_bar, room, back, sums, maps, cuts, before, tables_wanted, maps_wanted, received
):  # pragma: no cover
    """Run all rows of block `i` in reverse, a segment after the other."""
    place, tissue, rates = blocks.place[i], blocks.tissue[i], maps.tissue[i]
    count, last = len(moments.axis), len(plan.plus_start) - 1
    clear(back.bars[last & 1], plan.row_start[last + 1] - plan.row_start[last])
    clear(back.moments[last & 1], count * (plan.row_start[last + 1] - plan.row_start[last]))
    segment, base = len(cuts) - 1, 0
    for r in range(last, -1, -1):
        if r + 1 == cuts[segment]:  # the pulse of row r + 1 is done with: go on to the rows before it
            segment -= 1
            if segment >= 0:
                first = cuts[segment]
                base = plan.row_start[first]
                _copy(room.end, before[segment], base - plan.row_start[first - 1])
                run_rows(
                    plan, place, tissue, blocks.b1[i], blocks.rotation[i], x, room, first, r, True, False,
                )  # fmt: skip
        after = room.after[plan.row_start[r] - base : plan.row_start[r + 1] - base]
        if r == 0:
            rest(room.end[0])
        elif r < last:
            fill_relaxed(room.relaxed, tissue, plan.row_time[r])
            evolve_row(plan, tissue, r, after, room, True)
        if r < last:
            fill_pulse(plan, r, blocks.b1[i], blocks.rotation[i], room)
            pulse_adjoint(plan, r + 1, room, back, count)
            angles_adjoint(plan, r, blocks.b1[i], maps.b1[i], maps.rotation[i], room, back, sums)
        if r == 0:
            break
        if r < last:
            row_adjoint(plan, moments, place, tissue, r, room, back, sums, rates, tables_wanted, maps_wanted)
        entries_adjoint(
            plan, moments, place, tissue, r, x, x_bar, after, room, back, sums, maps.place[i], rates, tables_wanted,
            maps_wanted, received,
        )  # fmt: skip
        if len(sums.state):
            _add_shares(sums.state[plan.row_start[r] : plan.row_start[r + 1]], back.bars[r & 1], after)


@numba.njit(cache=True)
def _new_back(widest, moments):  # pragma: no cover
    return Back(
        np.empty((2, widest, 2 * LANES), np.float32), np.empty((2, moments * widest, 2 * LANES), np.float32),
        np.empty((FACTORS, LANES), np.float32), np.empty((4, LANES), np.float32), np.empty(2 * LANES, np.float32),
        np.empty(2 * LANES, np.float32), np.empty(2 * LANES, np.float32), np.empty(2 * LANES, np.float32),
        np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty((2, LANES), np.float32),
        np.empty((moments, LANES), np.float32),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def reverse_blocks(
    plan, moments, blocks, x, x_bar, sums, maps, widest, cuts, worker, workers, tables_wanted, maps_wanted, received
):  # pragma: no cover
    """Add the gradients of a worker's blocks.

    Parameters
    ----------
    plan, moments, blocks
        What was simulated, and the moments that are needed.
    x
        Where to add what `run_blocks` does, for as many orders as there are, if `received`.
    x_bar
        Cotangents of the sums, ``[row, block, 2 * LANES]``.
    sums, maps
        Gradients of what all voxels share, and of `blocks`.
    widest
        Most states in a row.
    cuts
        First row of each segment of rows whose states are kept at a time, and the number of rows.
    worker, workers
        Which of how many this is.
    tables_wanted, maps_wanted
        Whether gradients of k, times and b are, and those of maps other than b1 and rotations.
    """
    most = 0
    for n in range(len(cuts) - 1):
        most = max(most, plan.row_start[cuts[n + 1]] - plan.row_start[cuts[n]])
    room, back = new_scratch(most, widest), _new_back(widest, len(moments.axis))
    before = np.empty((len(cuts) - 1, widest, 2 * LANES), np.float32)
    for i in range(worker, len(blocks.tissue), workers):
        _run_to_cuts(plan, blocks, i, x[:, :, i], room, cuts, before)
        _reverse_rows(
            plan, moments, blocks, i, x[:, :, i], x_bar[:, i], room, back, sums, maps, cuts, before, tables_wanted,
            maps_wanted, received,
        )  # fmt: skip
