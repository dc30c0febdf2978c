"""Gradients of a phase distribution graph between two pulses: decay, and what transverse states emit.

The cotangent of a complex number is that of its real part plus i times that of its imaginary part.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.graph_kernel import (
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
    exponential,
    half_turn,
    turns_of,
)
from pulsetwin.sim.graph_sums import (
    add_places,
    add_positions,
    add_scaled,
    dot,
)


class Sums(NamedTuple):
    """Gradients of the floating-point members of `sim.graph_kernel.Plan`, one sum for each worker."""

    flip_angle: NDArray[np.float64]
    phase: NDArray[np.float64]
    shim: NDArray[np.complex128]
    row_time: NDArray[np.float64]
    b: NDArray[np.float64]
    shift: NDArray[np.float64]
    entry_place: NDArray[np.float64]
    entry_time: NDArray[np.float64]
    entry_b: NDArray[np.float64]


class Back(NamedTuple):
    """Room for a block's cotangents: of states at both sides of a pulse, of its factors, and single rows of lanes.

    `moment` and `moment_before` are those of the first moments of the k and tau of the paths that meet in each state,
    about those of the state, ``[4 * state, 2 * LANES]``. The moments are 0, but their gradients are not.
    """

    here: NDArray[np.float32]
    before: NDArray[np.float32]
    moment: NDArray[np.float32]
    moment_before: NDArray[np.float32]
    factor: NDArray[np.float32]
    wave: NDArray[np.float32]
    arrived: NDArray[np.float32]
    q: NDArray[np.float32]
    u: NDArray[np.float32]
    sum_q: NDArray[np.float32]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _evolve_adjoint(bar, q, decay, end):  # pragma: no cover
    """Fill `q`, the cotangent of the decay's logarithm, and take `bar` back from the repetition's end to its pulse."""
    for v in range(LANES):
        q[v] = bar[v] * end[v] + bar[LANES + v] * end[LANES + v]
    for v in range(LANES):
        bar[v] *= decay[v]
        bar[LANES + v] *= decay[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _moments_evolve_adjoint(moment, bar, decay, diffusion, slope):  # pragma: no cover
    """Take the cotangents of a state's moments, ``[4, 2 * LANES]``, back like `bar`, which they gain from first."""
    for j in range(4):
        row = moment[j]
        if j < 3 and slope[j] != ZERO:
            for v in range(LANES):
                row[v] -= slope[j] * diffusion[v] * bar[v]
                row[LANES + v] -= slope[j] * diffusion[v] * bar[LANES + v]
        for v in range(LANES):
            row[v] *= decay[v]
            row[LANES + v] *= decay[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def row_adjoint(plan, tissue, r, room, back, sums, rates, tables, maps):  # pragma: no cover
    """Take the cotangents ``back.here`` from the end of row `r`, which ``room.end`` holds, to its pulse."""
    begin, plus = plan.row_start[r], plan.plus_start[r]
    back.sum_q[:] = ZERO
    for v in range(LANES):
        room.end[0, v] -= ONE  # what regrows has the decay of what was there, with the other sign
    for s in range(begin, plan.row_start[r + 1]):
        if len(plan.shift):
            _moments_evolve_adjoint(
                back.moment[4 * (s - begin) : 4 * (s - begin) + 4], back.here[s - begin], room.decay[s - begin],
                tissue[DIFFUSION], plan.b_slope[s],
            )  # fmt: skip
        _evolve_adjoint(back.here[s - begin], back.q, room.decay[s - begin], room.end[s - begin])
        if tables or maps:
            add_scaled(back.sum_q[1 if s >= plus else 0], ONE, back.q)
        if s > begin and tables:
            sums.b[s] -= dot(back.q, tissue[DIFFUSION])
        if s > begin and maps:
            add_scaled(rates[DIFFUSION], -plan.b[s], back.q)
    if tables:
        sums.row_time[r] -= dot(back.sum_q[0], tissue[R1]) + dot(back.sum_q[1], tissue[R2])
    if maps:
        add_scaled(rates[R1], -plan.row_time[r], back.sum_q[0])
        add_scaled(rates[R2], -plan.row_time[r], back.sum_q[1])


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
def _moment_emit_adjoint(moment, arrived, place, decay, slope):  # pragma: no cover
    """Add to the cotangent of a moment, whose factor in the signal is ``-2 pi i place - slope decay``."""
    for v in range(LANES):
        turn, loss = CYCLE * np.float32(place[v]), slope * decay[v]
        moment[v] -= turn * arrived[LANES + v] + loss * arrived[v]
        moment[LANES + v] += turn * arrived[v] - loss * arrived[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _moments_emit_adjoint(plan, place, tissue, e, s, x_bar, block, back):  # pragma: no cover
    """Add what entry `e` brings to the cotangents of the moments of its state, number `s` of the row."""
    group = plan.entry_group[e]
    for j in range(3):
        row = back.moment[4 * s + j]
        _moment_emit_adjoint(row, back.arrived, place[j], tissue[DIFFUSION], plan.entry_slope[e, j])
    row = back.moment[4 * s + 3]
    _moment_emit_adjoint(row, back.arrived, place[3], tissue[R2_PRIME], plan.entry_side[e])
    for j in range(1, len(x_bar)):
        _emit_adjoint(back.moment[4 * s + j - 1], back.arrived, back.wave, x_bar[j, group, block], tissue[DENSITY])


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
    for v in range(LANES):
        u[v] = CYCLE * density[v] * (x_bar[v] * wave[LANES + v] - x_bar[LANES + v] * wave[v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _add_emitted(x, wave, density):  # pragma: no cover
    for v in range(LANES):
        x[v] += density[v] * wave[v]
        x[LANES + v] += density[v] * wave[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _times(a, b):  # pragma: no cover
    for v in range(LANES):
        a[v] *= b[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _entry_adjoint(plan, place, tissue, e, room, back, sums, place_bar, rates, tables, maps):  # pragma: no cover
    """Add the gradients of an entry's numbers and of the maps, given ``back.q`` and ``back.u``."""
    tau = np.float32(plan.entry_side[e] * plan.entry_place[e, 3])
    if maps:
        add_scaled(rates[DENSITY], ONE, back.q)
    _times(back.q, tissue[DENSITY])
    if tables:
        add_places(sums.entry_place[e], back.u, place)
        sums.entry_place[e, 3] -= plan.entry_side[e] * dot(back.q, tissue[R2_PRIME])
        sums.entry_time[e] -= dot(back.q, tissue[R2])
        sums.entry_b[e] -= dot(back.q, tissue[DIFFUSION])
    if maps:
        add_positions(place_bar, back.u, plan.entry_place[e])
        add_scaled(rates[R2], -plan.entry_time[e], back.q)
        add_scaled(rates[R2_PRIME], -tau, back.q)
        add_scaled(rates[DIFFUSION], -plan.entry_b[e], back.q)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def entries_adjoint(
    plan, place, tissue, r, x, x_bar, block, after, room, back, sums, place_bar, rates, tables, maps, received
):  # pragma: no cover
    """Add what the entries of row `r` bring to ``back.here``, the sums and the maps, and to `x` what they emit."""
    begin = plan.row_start[r]
    for e in range(plan.entry_start[r], plan.entry_start[r + 1]):
        turns_of(room.turn, place, plan.entry_place[e])
        tau = np.float32(plan.entry_side[e] * plan.entry_place[e, 3])
        _fill_wave(back.wave, room.turn, tissue, plan.entry_time[e], tau, plan.entry_b[e])
        s, group = plan.entry_state[e] - begin, plan.entry_group[e]
        _emit_adjoint(back.here[s], back.arrived, back.wave, x_bar[0, group, block], tissue[DENSITY])
        if len(plan.shift):
            _moments_emit_adjoint(plan, place, tissue, e, s, x_bar, block, back)
        _emitted(back, after[s], x_bar[0, group, block], tissue[DENSITY])
        if received:
            _add_emitted(x[group, block], back.wave, tissue[DENSITY])
        if tables or maps:
            _entry_adjoint(plan, place, tissue, e, room, back, sums, place_bar, rates, tables, maps)
