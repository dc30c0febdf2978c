"""Gradients of a phase distribution graph: each block's repetitions in reverse, in single precision.

The states after every pulse are made again in the block; nothing else is kept.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_adjoint_pulse import angles_adjoint, drive_adjoint, pulse_adjoint
from pulsetwin.sim.graph_adjoint_rows import Back, Sums, entries_adjoint, row_adjoint
from pulsetwin.sim.graph_kernel import (
    FACTORS,
    FAST,
    LANES,
    ONE,
    ZERO,
    evolve_row,
    fill_drive,
    fill_factors,
    fill_relaxed,
    new_scratch,
    run_block,
)
from pulsetwin.sim.graph_sums import (
    dot,
    total,
)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _before_row(plan, tissue, r, room):  # pragma: no cover
    """Fill ``room.end`` with the states before the pulse of row `r`, and their decays."""
    if r == 1:
        room.end[0, :LANES] = ONE
        room.end[0, LANES:] = ZERO
        return
    if plan.row_time[r] != plan.row_time[r - 1] or r + 1 == len(plan.plus_start):
        fill_relaxed(room.relaxed, tissue, plan.row_time[r - 1])
    evolve_row(plan, tissue, r - 1, room.after[plan.row_start[r - 1] :], room, True)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _reverse_block(
    plan, place, tissue, b1, x, x_bar, block, room, back, sums, maps, tables_wanted, maps_wanted, received
):  # pragma: no cover
    """Run a block in reverse, after `run_block` has kept its states in ``room.after``."""
    place_bar, rates, b1_bar = maps.place[block], maps.tissue[block], maps.b1[block]
    last = len(plan.plus_start) - 1
    back.here[:] = ZERO
    back.moment[:] = ZERO
    for r in range(last, 0, -1):
        after = room.after[plan.row_start[r] :]
        if r < last:
            row_adjoint(plan, tissue, r, room, back, sums, rates, tables_wanted, maps_wanted)
        entries_adjoint(
            plan, place, tissue, r, x, x_bar, block, after, room, back, sums, place_bar, rates, tables_wanted,
            maps_wanted, received,
        )  # fmt: skip
        _before_row(plan, tissue, r, room)
        flip_angle, phase, shim = plan.flip_angle[r - 1], plan.phase[r - 1], plan.shim[r - 1]
        if r < last and not plan.same_drive[r]:
            fill_drive(room.drive, b1, shim)
        fill_factors(room.factor, room.drive, flip_angle, phase)
        pulse_adjoint(plan, r, room, back, sums)
        angles_adjoint(back.q, back.u, back.factor, room.drive, flip_angle, phase)
        sums.flip_angle[r - 1] += dot(back.q, room.drive[0])
        sums.phase[r - 1] += total(back.u)
        drive_adjoint(b1_bar, sums.shim[r - 1], back.wave, back, room.drive, b1, shim, flip_angle)
        count = plan.row_start[r] - plan.row_start[r - 1]
        back.here[:count] = back.before[:count]
        if len(plan.shift):
            back.moment[: 4 * count] = back.moment_before[: 4 * count]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", parallel=True)
def reverse_blocks(plan, blocks, x, x_bar, sums, maps, widest, wanted):  # pragma: no cover
    """Add the gradients of all blocks.

    Parameters
    ----------
    plan, blocks
        What was simulated.
    x
        Where to add what `run_blocks` does.
    x_bar
        Cotangents of the groups, ``[order, group, block, 2 * LANES]``, order 0 first, and then, if there are shifts and
        the voxels have an extent, those of the groups' moments of kx, ky, kz.
    sums
        Gradients of what all voxels share, each with an axis of workers first.
    maps
        Gradients of `blocks`.
    widest
        Most states in a row.
    wanted
        Whether the gradients of the tables, of the maps but b1, and `x` are.
    """
    workers = len(sums.flip_angle)
    for worker in numba.prange(workers):
        room = new_scratch(len(plan.edge_start) - 1, widest)
        moments = 4 * widest if len(plan.shift) else 0
        back = Back(
            np.empty((widest, 2 * LANES), np.float32), np.empty((widest, 2 * LANES), np.float32),
            np.empty((moments, 2 * LANES), np.float32), np.empty((moments, 2 * LANES), np.float32),
            np.empty((FACTORS, LANES), np.float32), np.empty(2 * LANES, np.float32), np.empty(2 * LANES, np.float32),
            np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty((2, LANES), np.float32),
        )  # fmt: skip
        mine = Sums(
            sums.flip_angle[worker], sums.phase[worker], sums.shim[worker], sums.row_time[worker], sums.b[worker],
            sums.shift[worker], sums.entry_place[worker], sums.entry_time[worker], sums.entry_b[worker],
        )  # fmt: skip
        for block in range(worker, len(blocks.tissue), workers):
            place, tissue, b1 = blocks.place[block], blocks.tissue[block], blocks.b1[block]
            run_block(plan, place, tissue, b1, x, block, room, True)
            _reverse_block(
                plan, place, tissue, b1, x, x_bar, block, room, back, mine, maps, wanted[0], wanted[1], wanted[2]
            )
