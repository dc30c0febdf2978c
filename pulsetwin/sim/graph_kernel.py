"""Amplitudes of a phase distribution graph, a block of voxels at a time through all repetitions, in single precision.

A block is `LANES` voxels. Its states are rows ``[2 * LANES]``, real parts and then imaginary ones, so that those of one
repetition stay in the fast cache and every loop over lanes becomes vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_lanes import (
    COS,
    DENSITY,
    DIFFUSION,
    FAST,
    FLIPPED,
    HALF,
    LANES,
    ONE,
    R1,
    R2,
    R2_PRIME,
    SAME,
    TO_PLUS,
    TO_Z,
    TWO,
    ZERO,
    exponential,
    half_turn,
    rounded,
    turns_of,
)
from pulsetwin.sim.graph_plan import new_scratch

_SMALL, _SIXTH = np.float32(0.02), np.float32(1 / 6)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_drive(drive, b1, shim):  # pragma: no cover
    """Fill `drive` with the strength of the transmit field and the cosine and sine of its phase, ``[3, LANES]``."""
    for v in range(LANES):
        re, im = ZERO, ZERO
        for c in range(len(shim)):
            w_re, w_im = np.float32(shim[c].real), np.float32(shim[c].imag)
            re += w_re * b1[c, 0, v] - w_im * b1[c, 1, v]
            im += w_re * b1[c, 1, v] + w_im * b1[c, 0, v]
        strength = np.sqrt(re * re + im * im)
        drive[0, v] = strength
        drive[1, v] = re / strength if strength > ZERO else ONE
        drive[2, v] = im / strength if strength > ZERO else ZERO


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_spin(spin, drive, flip_angle, phase):  # pragma: no cover
    """Fill `spin` for an instantaneous pulse: ``cos(a/2)`` and ``-i sin(a/2) exp(ip)``."""
    turns = np.float32(flip_angle / (2 * np.pi))
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        s, c = half_turn(rounded(turns * drive[0, v]))
        spin[0, v] = c
        spin[1, v] = ZERO
        spin[2, v] = s * (p_re * drive[2, v] + p_im * drive[1, v])
        spin[3, v] = -s * (p_re * drive[1, v] - p_im * drive[2, v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def turn_spin(spin, rotation, phase):  # pragma: no cover
    """Fill `spin` for a finite pulse of a phase from its rotation at phase 0."""
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        spin[0, v] = rotation[0, v]
        spin[1, v] = rotation[1, v]
        spin[2, v] = p_re * rotation[2, v] - p_im * rotation[3, v]
        spin[3, v] = p_re * rotation[3, v] + p_im * rotation[2, v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_factors(factor, spin):  # pragma: no cover
    """Fill the factors of a pulse's edges, ``[FACTORS, LANES]``."""
    for v in range(LANES):
        a, b, c, d = spin[0, v], spin[1, v], spin[2, v], spin[3, v]
        factor[COS, v] = a * a + b * b - c * c - d * d
        factor[TO_PLUS, v] = TWO * (a * c + b * d)
        factor[TO_PLUS + 1, v] = TWO * (a * d - b * c)
        factor[SAME, v] = a * a - b * b
        factor[SAME + 1, v] = -TWO * a * b
        factor[FLIPPED, v] = d * d - c * c
        factor[FLIPPED + 1, v] = -TWO * c * d
        factor[TO_Z, v] = b * d - a * c
        factor[TO_Z + 1, v] = a * d + b * c


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_pulse(plan, p, b1, rotation, room):  # pragma: no cover
    """Fill ``room.spin`` and ``room.factor`` for pulse `p`."""
    if plan.table[p] >= 0:
        turn_spin(room.spin, rotation[plan.table[p]], plan.phase[p])
    else:
        fill_drive(room.drive, b1, plan.shim[p])
        fill_spin(room.spin, room.drive, plan.flip_angle[p], plan.phase[p])
    fill_factors(room.factor, room.spin)


@numba.njit(cache=True)
def edge_factor(edge_type, table):  # pragma: no cover
    """Return row of an edge's factor, whether it is real, and the signs of its and the parent's imaginary part."""
    row = 0 if edge_type == 0 else 1 if edge_type < 3 else 3 if edge_type == 3 else 5 if edge_type == 4 else 7
    conj = ONE if edge_type == 0 or edge_type == 1 or edge_type == 3 or edge_type == 5 else -ONE
    real = edge_type == 0 or (edge_type == 3 and table < 0)
    return row, real, -ONE if edge_type == 6 else ONE, conj


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def add_edge(a, m, f_re, f_im, real, f_sign, m_sign):  # pragma: no cover
    """Add factor times parent `m` to the child `a`."""
    if real:
        for v in range(LANES):
            a[v] += f_re[v] * m[v]
            a[LANES + v] += f_re[v] * m[LANES + v]
    else:
        for v in range(LANES):
            fi, mi = f_sign * f_im[v], m_sign * m[LANES + v]
            a[v] += f_re[v] * m[v] - fi * mi
            a[LANES + v] += f_re[v] * mi + fi * m[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def play_pulse(plan, r, after, room):  # pragma: no cover
    """Fill the states `after` a pulse, of row `r`, from those at the end of the row before, ``room.end``."""
    begin, before, table = plan.row_start[r], plan.row_start[r - 1], plan.table[r - 1]
    for child in range(begin, plan.row_start[r + 1]):
        a = after[child - begin]
        for v in range(2 * LANES):
            a[v] = ZERO
        for e in range(plan.edge_start[child], plan.edge_start[child + 1]):
            m = room.end[plan.edge_parent[e] - before]
            row, real, f_sign, m_sign = edge_factor(plan.edge_type[e], table)
            add_edge(a, m, room.factor[row], room.factor[row + 1], real, f_sign, m_sign)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def emit(wave, a, tissue, turn, time, tau, b):  # pragma: no cover
    """Fill `wave` with what a transverse state is at the reference sample."""
    for v in range(LANES):
        decay = time * tissue[R2, v] + tau * tissue[R2_PRIME, v] + b * tissue[DIFFUSION, v]
        size = exponential(-decay) * tissue[DENSITY, v]
        s, c = half_turn(turn[v])
        re, im = size * (ONE - TWO * s * s), -size * TWO * s * c
        wave[v] = re * a[v] - im * a[LANES + v]
        wave[LANES + v] = re * a[LANES + v] + im * a[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def add_to_sums(x, wave, plan, group):  # pragma: no cover
    """Add what a state of a group emits to the group's sums ``x[order, row, 2 * LANES]``."""
    row, first = plan.group_row[group], plan.group_first[group]
    for order in range(len(x)):
        for i in range(plan.group_count[group]):
            share, total = plan.share[order, first + i], x[order, row + i]
            for v in range(2 * LANES):
                total[v] += share * wave[v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def fill_relaxed(relaxed, tissue, time):  # pragma: no cover
    """Fill exp(-T/T1) and exp(-T/T2), ``[2, LANES]``."""
    for v in range(LANES):
        relaxed[0, v] = exponential(-time * tissue[R1, v])
        relaxed[1, v] = exponential(-time * tissue[R2, v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def evolve(end, decay, a, relaxed, diffusion, b, most):  # pragma: no cover
    """Fill a state at the `end` of a repetition and its `decay`, from the amplitude `a` after the pulse.

    `most` is the largest diffusion coefficient of the block: for small b D, a few terms of the series are enough.
    """
    if b == ZERO:
        for v in range(LANES):
            decay[v] = relaxed[v]
    elif b * most < _SMALL:
        for v in range(LANES):
            x = b * diffusion[v]
            decay[v] = relaxed[v] * (ONE - x * (ONE - x * (HALF - x * _SIXTH)))
    else:
        for v in range(LANES):
            decay[v] = relaxed[v] * exponential(-b * diffusion[v])
    for v in range(LANES):
        end[v] = decay[v] * a[v]
        end[LANES + v] = decay[v] * a[LANES + v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def evolve_row(plan, tissue, r, after, room, keep):  # pragma: no cover
    """Fill ``room.end`` with the states at the end of row `r`, and their decays (one after the other, unless kept)."""
    begin, plus, most = plan.row_start[r], plan.plus_start[r], ZERO
    for v in range(LANES):
        most = max(most, tissue[DIFFUSION, v])
    for s in range(begin, plan.row_start[r + 1]):
        relaxed = room.relaxed[1 if s >= plus else 0]
        evolve(
            room.end[s - begin], room.decay[s - begin if keep else 0], after[s - begin], relaxed, tissue[DIFFUSION],
            ZERO if s == begin else plan.b[s], most,
        )  # fmt: skip
    for v in range(LANES):
        room.end[0, v] += ONE - room.relaxed[0, v]


@numba.njit(cache=True)
def rest(end):  # pragma: no cover
    """Fill the state of equilibrium."""
    for v in range(LANES):
        end[v] = ONE
        end[LANES + v] = ZERO


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def run_rows(plan, place, tissue, b1, rotation, x, room, first, last, keep, emits):  # pragma: no cover
    """Take ``room.end`` from before row `first` to the end of row `last` (but that of the very last).

    Keeps all states after their pulses in ``room.after``, from its beginning on, if `keep`; adds what they emit to the
    sums `x` if `emits`.
    """
    base = plan.row_start[first]
    for r in range(first, last + 1):
        begin = plan.row_start[r]
        after = room.after[begin - base if keep else 0 :]
        fill_pulse(plan, r - 1, b1, rotation, room)
        play_pulse(plan, r, after, room)
        if emits:
            for e in range(plan.entry_start[r], plan.entry_start[r + 1]):
                k = plan.entry_place[e]
                turns_of(room.turn, place, k)
                tau = np.float32(plan.entry_side[e] * k[3])
                a = after[plan.entry_state[e] - begin]
                emit(room.wave, a, tissue, room.turn, plan.entry_time[e], tau, plan.entry_b[e])
                add_to_sums(x, room.wave, plan, plan.entry_group[e])
        if r == first or plan.row_time[r] != plan.row_time[r - 1]:
            fill_relaxed(room.relaxed, tissue, plan.row_time[r])
        if r + 1 < len(plan.plus_start):
            evolve_row(plan, tissue, r, after, room, False)


@numba.njit(cache=True, nogil=True)
def run_blocks(plan, blocks, x, widest, worker, workers):  # pragma: no cover
    """Add the transverse magnetisation of a worker's blocks to the sums, ``x[1, row, block, 2 * LANES]``."""
    room, last = new_scratch(widest, widest), len(plan.plus_start) - 1
    for i in range(worker, len(blocks.tissue), workers):
        rest(room.end[0])
        run_rows(
            plan, blocks.place[i], blocks.tissue[i], blocks.b1[i], blocks.rotation[i], x[:, :, i], room, 1, last, False,
            True,
        )  # fmt: skip
