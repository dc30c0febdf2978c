"""Gradients of a phase distribution graph between two pulses: decay, dephasing, and what transverse states emit.

The cotangent of a complex number is that of its real part plus i times that of its imaginary part. Moments and times
of a repetition act in two ways. They turn its transverse states, whichever paths meet in them: the cotangents of the
states are enough. And they move k and tau of the paths, and so the voxel's transform, T2' and diffusion at later times:
this takes the first moments of the paths' k and tau in each state, which are 0 but not their gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.graph_kernel import add_to_sums
from pulsetwin.sim.graph_lanes import (
    CYCLE,
    DENSITY,
    DIFFUSION,
    FAST,
    LANES,
    ONE,
    R1,
    R2,
    R2_PRIME,
    TWO,
    ZERO,
    add_places,
    add_positions,
    add_scaled,
    clear,
    dot,
    exponential,
    half_turn,
    total,
    turns_of,
)

TIME, B = 4, 5  # columns of `Sums.entry`


class Moments(NamedTuple):
    """The components of k and tau whose first moments are needed, most often few.

    `axis` is 0 to 2 for k and 3 for tau; `order` is that of the shares in the sums, 0 for none; the slopes
    are those of what multiplies the diffusion coefficient, or R2' for tau, ``[state, axis]`` and ``[entry, axis]``.
    """

    axis: NDArray[np.int64]
    order: NDArray[np.int64]
    slope: NDArray[np.float32]
    entry_slope: NDArray[np.float32]


class Sums(NamedTuple):
    """Gradients of what all voxels share, summed over the blocks of one worker.

    `row` are those of k and time at the end of each repetition, ``[pulse + 1, 4]``, `b` of each state's b, `entry` of
    each entry's k and tau, time and b, ``[entry, 6]``. `state` is that of a relative change of each state's amplitude
    after its pulse, or empty.
    """

    flip_angle: NDArray[np.float64]
    phase: NDArray[np.float64]
    shim: NDArray[np.complex128]
    row: NDArray[np.float64]
    b: NDArray[np.float64]
    entry: NDArray[np.float64]
    state: NDArray[np.float64]


class Back(NamedTuple):
    """Room for a block's cotangents: of states, of the factors of a pulse, and single rows of lanes.

    `bars` are those of states, ``[2, state, 2 * LANES]`` where row `r` has index ``r & 1``, `moments` those of their
    first moments, ``[2, state * axis, 2 * LANES]``; `decayed` sums ``[2, LANES]`` over longitudinal and transverse
    states, `moved` ``[axis, LANES]`` over transverse ones.
    """

    bars: NDArray[np.float32]
    moments: NDArray[np.float32]
    factor: NDArray[np.float32]
    spin: NDArray[np.float32]
    wave: NDArray[np.float32]
    arrived: NDArray[np.float32]
    shared: NDArray[np.float32]
    steep: NDArray[np.float32]
    q: NDArray[np.float32]
    u: NDArray[np.float32]
    decayed: NDArray[np.float32]
    moved: NDArray[np.float32]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _evolve_adjoint(bar, q, sum_q, decay, end):  # pragma: no cover
    """Fill `q`, the cotangent of the decay's logarithm, and take `bar` back from the repetition's end to its pulse."""
    for v in range(LANES):
        q[v] = bar[v] * end[v] + bar[LANES + v] * end[LANES + v]
        sum_q[v] += q[v]
    for v in range(LANES):
        bar[v] *= decay[v]
        bar[LANES + v] *= decay[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_turned(u, bar, m):  # pragma: no cover
    """Add the cotangent of the turns by which `m` is turned."""
    for v in range(LANES):
        u[v] += CYCLE * (bar[v] * m[LANES + v] - bar[LANES + v] * m[v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_aligned(q, bar, m):  # pragma: no cover
    for v in range(LANES):
        q[v] += bar[v] * m[v] + bar[LANES + v] * m[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _moment_evolve_adjoint(moment, bar, decay, diffusion, slope):  # pragma: no cover
    """Take the cotangent of a state's moment back like `bar`, which it gains from first."""
    if slope != ZERO:
        for v in range(LANES):
            moment[v] -= slope * diffusion[v] * bar[v]
            moment[LANES + v] -= slope * diffusion[v] * bar[LANES + v]
    for v in range(LANES):
        moment[v] *= decay[v]
        moment[LANES + v] *= decay[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def row_adjoint(plan, moments, place, tissue, r, room, back, sums, rates, tables, maps):  # pragma: no cover
    """Take the cotangents of states from the end of row `r`, which ``room.end`` holds, to its pulse."""
    begin, plus, count = plan.row_start[r], plan.plus_start[r], len(moments.axis)
    here, all_moments = back.bars[r & 1], back.moments[r & 1]
    clear(back.decayed, 2)
    clear(back.moved, count)
    for v in range(LANES):
        back.u[v] = ZERO
    for v in range(LANES):
        room.end[0, v] -= ONE  # what regrows has the decay of what was there, with the other sign
    for s in range(begin, plan.row_start[r + 1]):
        bar, decay, end = here[s - begin], room.decay[s - begin], room.end[s - begin]
        for j in range(count):
            moment = all_moments[count * (s - begin) + j]
            if s >= plus:
                _add_aligned(back.moved[j], moment, end)
            _moment_evolve_adjoint(moment, bar, decay, tissue[DIFFUSION], moments.slope[s, j])
        if s >= plus and tables:
            _add_turned(back.u, bar, end)
        _evolve_adjoint(bar, back.q, back.decayed[1 if s >= plus else 0], decay, end)
        if s > begin and tables:
            sums.b[s] -= dot(back.q, tissue[DIFFUSION])
        if s > begin and maps:
            add_scaled(rates[DIFFUSION], -plan.b[s], back.q)
    if tables:
        add_places(sums.row[r], back.u, place)
        sums.row[r, 3] -= dot(back.decayed[0], tissue[R1]) + dot(back.decayed[1], tissue[R2])
        for j in range(count):
            sums.row[r, moments.axis[j]] += total(back.moved[j])
    if maps:
        add_scaled(rates[R1], -plan.row_time[r], back.decayed[0])
        add_scaled(rates[R2], -plan.row_time[r], back.decayed[1])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _fill_wave(wave, turn, tissue, time, tau, b):  # pragma: no cover
    for v in range(LANES):
        decay = time * tissue[R2, v] + tau * tissue[R2_PRIME, v] + b * tissue[DIFFUSION, v]
        s, c = half_turn(turn[v])
        size = exponential(-decay)
        wave[v] = size * (ONE - TWO * s * s)
        wave[LANES + v] = -size * TWO * s * c


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _emit_adjoint(bar, arrived, wave, x_bar, density):  # pragma: no cover
    """Fill `arrived` with what a group's cotangent brings to that of a state, and add it to `bar`."""
    for v in range(LANES):
        re, im = density[v] * x_bar[v], density[v] * x_bar[LANES + v]
        arrived[v] = re * wave[v] + im * wave[LANES + v]
        arrived[LANES + v] = im * wave[v] - re * wave[LANES + v]
    for v in range(LANES):
        bar[v] += arrived[v]
        bar[LANES + v] += arrived[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _moment_emit_adjoint(moment, arrived, rate, slope):  # pragma: no cover
    """Add to the cotangent of a moment, whose factor in the signal is ``-slope rate``."""
    for v in range(LANES):
        moment[v] -= slope * rate[v] * arrived[v]
        moment[LANES + v] -= slope * rate[v] * arrived[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _emitted(back, a, x_bar, density):  # pragma: no cover
    """Fill ``back.wave`` with what a state emits, and `q` and `u` with cotangents of its logarithm and its turns."""
    wave, q, u = back.wave, back.q, back.u
    for v in range(LANES):
        re = wave[v] * a[v] - wave[LANES + v] * a[LANES + v]
        im = wave[v] * a[LANES + v] + wave[LANES + v] * a[v]
        wave[v] = re
        wave[LANES + v] = im
    for v in range(LANES):
        q[v] = x_bar[v] * wave[v] + x_bar[LANES + v] * wave[LANES + v]
        u[v] = CYCLE * density[v] * (x_bar[v] * wave[LANES + v] - x_bar[LANES + v] * wave[v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _weigh(out, wave, density):  # pragma: no cover
    for v in range(LANES):
        out[v] = density[v] * wave[v]
        out[LANES + v] = density[v] * wave[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _gather(bar, x_bar, plan, group, order):  # pragma: no cover
    """Fill `bar`, the cotangent of a group, from those of its sums."""
    row, first = plan.group_row[group], plan.group_first[group]
    for v in range(2 * LANES):
        bar[v] = ZERO
    for i in range(plan.group_count[group]):
        share, one = plan.share[order, first + i], x_bar[row + i]
        for v in range(2 * LANES):
            bar[v] += share * one[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _times(a, b):  # pragma: no cover
    for v in range(LANES):
        a[v] *= b[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _entry_adjoint(plan, place, tissue, e, tau, back, sums, place_bar, rates, tables, maps):  # pragma: no cover
    """Add the gradients of an entry's numbers and of the maps, given ``back.q`` and ``back.u``."""
    if maps:
        add_scaled(rates[DENSITY], ONE, back.q)
    _times(back.q, tissue[DENSITY])
    if tables:
        add_places(sums.entry[e], back.u, place)
        sums.entry[e, 3] -= plan.entry_side[e] * dot(back.q, tissue[R2_PRIME])
        sums.entry[e, TIME] -= dot(back.q, tissue[R2])
        sums.entry[e, B] -= dot(back.q, tissue[DIFFUSION])
    if maps:
        add_positions(place_bar, back.u, plan.entry_place[e])
        add_scaled(rates[R2], -plan.entry_time[e], back.q)
        add_scaled(rates[R2_PRIME], -tau, back.q)
        add_scaled(rates[DIFFUSION], -plan.entry_b[e], back.q)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def entries_adjoint(
    plan, moments, place, tissue, r, x, x_bar, after, room, back, sums, place_bar, rates, tables, maps, received
):  # pragma: no cover
    """Add what the entries of row `r` bring to the states, the sums and the maps, and to `x` what they emit."""
    begin, count = plan.row_start[r], len(moments.axis)
    here, all_moments = back.bars[r & 1], back.moments[r & 1]
    for e in range(plan.entry_start[r], plan.entry_start[r + 1]):
        turns_of(room.turn, place, plan.entry_place[e])
        tau = np.float32(plan.entry_side[e] * plan.entry_place[e, 3])
        _fill_wave(back.wave, room.turn, tissue, plan.entry_time[e], tau, plan.entry_b[e])
        s, group = plan.entry_state[e] - begin, plan.entry_group[e]
        _gather(back.shared, x_bar, plan, group, 0)
        _emit_adjoint(here[s], back.arrived, back.wave, back.shared, tissue[DENSITY])
        for j in range(count):
            moment = all_moments[count * s + j]
            rate = tissue[R2_PRIME if moments.axis[j] == 3 else DIFFUSION]
            _moment_emit_adjoint(moment, back.arrived, rate, moments.entry_slope[e, j])
        for j in range(count):  # after those that need what arrived by order 0
            if moments.order[j] > 0:
                _gather(back.steep, x_bar, plan, group, moments.order[j])
                _emit_adjoint(all_moments[count * s + j], back.arrived, back.wave, back.steep, tissue[DENSITY])
        if not (tables or maps or received):
            continue
        _emitted(back, after[s], back.shared, tissue[DENSITY])
        if received:
            _weigh(back.arrived, back.wave, tissue[DENSITY])
            add_to_sums(x, back.arrived, plan, group)
        if tables or maps:
            _entry_adjoint(plan, place, tissue, e, tau, back, sums, place_bar, rates, tables, maps)
