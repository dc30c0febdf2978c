"""Amplitudes of a phase distribution graph, a block of voxels at a time through all repetitions, in single precision.

A block is `LANES` voxels. Its states are rows ``[2 * LANES]``, real parts and then imaginary ones, so that those of one
repetition stay in the fast cache and every loop over lanes becomes vector instructions.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

LANES = 128  # 64 would be unrolled rather than made into vector instructions
FAST = {"contract", "nsz"}  # no reassociation: it would undo the rounding of `whole`
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
CYCLE = np.float32(2 * np.pi)
R1, R2, R2_PRIME, DIFFUSION, DENSITY = range(5)  # rows of `Blocks.tissue`
COS, TO_PLUS, SAME, FLIPPED, TO_Z = 0, 1, 3, 4, 6  # rows of the factors; TO_PLUS, FLIPPED and TO_Z are complex
FACTORS = 8
_ROUND32, _ROUND64 = np.float32(1.5 * 2**23), 1.5 * 2**52
_PER_LN2, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_LEAST, _SMALL, _SIXTH = np.float32(-87), np.float32(0.02), np.float32(1 / 6)
_E2, _E3, _E4 = np.float32(0.49999991), np.float32(0.1666642), np.float32(0.04166836)
_E5, _E6, _BIAS = np.float32(0.00837485), np.float32(0.00138293), np.int32(127)
_S1, _S3, _S5 = np.float32(3.14159265), np.float32(-5.16771276), np.float32(2.55016332)
_S7, _S9 = np.float32(-0.5992522), np.float32(0.0820504)
_S11 = np.float32(-0.00702839)
_C2, _C4, _C6 = np.float32(-4.93480214), np.float32(4.05870916), np.float32(-1.335212)
_C8, _C10 = np.float32(0.23493731), np.float32(-0.02439632)


class Plan(NamedTuple):
    """What all voxels share: `sim.graph.Graph`, `sim.graph_tables.Tables` and the pulses, as arrays.

    `shift` has no rows where no path's gradient is wanted; `flip_angle`, `phase` [rad] and `shim` ``[pulse, channel]``
    are those of the pulses, and `same_drive` says whether a pulse's shim is that of the pulse before.
    """

    row_start: NDArray[np.int64]
    plus_start: NDArray[np.int64]
    edge_start: NDArray[np.int64]
    edge_parent: NDArray[np.int64]
    edge_type: NDArray[np.int8]
    flip_angle: NDArray[np.float64]
    phase: NDArray[np.float64]
    shim: NDArray[np.complex128]
    same_drive: NDArray[np.bool_]
    row_time: NDArray[np.float32]
    b: NDArray[np.float32]
    b_slope: NDArray[np.float32]
    shift: NDArray[np.float64]
    entry_start: NDArray[np.int64]
    entry_state: NDArray[np.int64]
    entry_group: NDArray[np.int64]
    entry_place: NDArray[np.float64]
    entry_time: NDArray[np.float32]
    entry_b: NDArray[np.float32]
    entry_slope: NDArray[np.float32]
    entry_side: NDArray[np.float32]


class Blocks(NamedTuple):
    """Maps of blocks of voxels.

    `place` is x, y, z [m] and b0 [Hz], ``[block, 4, LANES]``; `tissue` R1, R2, R2' [1/s], D [m^2/s] and proton density,
    ``[block, 5, LANES]``; `b1` the relative transmit field, real and imaginary, ``[block, channel, 2, LANES]``.
    """

    place: NDArray[np.float64]
    tissue: NDArray[np.float32]
    b1: NDArray[np.float32]


class Scratch(NamedTuple):
    """Room for one block: states after their pulses, those at a repetition's end, its decays, and single rows."""

    after: NDArray[np.float32]
    end: NDArray[np.float32]
    decay: NDArray[np.float32]
    factor: NDArray[np.float32]
    drive: NDArray[np.float32]
    relaxed: NDArray[np.float32]
    turn: NDArray[np.float32]
    made: NDArray[np.float32]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def exponential(x):  # pragma: no cover
    """Return exp(x) to a relative 2e-7, not less than exp(-87)."""
    x = max(x, _LEAST)
    n = (x * _PER_LN2 + _ROUND32) - _ROUND32
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ONE + r * (ONE + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6)))))
    return p * np.int32((np.int32(n) + _BIAS) << np.int32(23)).view(np.float32)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def rounded(turns):  # pragma: no cover
    """Return turns less whole turns, within -0.5 to 0.5."""
    return turns - ((turns + _ROUND32) - _ROUND32)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def half_turn(turns):  # pragma: no cover
    """Return sine and cosine of ``pi turns`` for turns within -0.5 to 0.5."""
    u = turns * turns
    sine = turns * (_S1 + u * (_S3 + u * (_S5 + u * (_S7 + u * (_S9 + u * _S11)))))
    return sine, ONE + u * (_C2 + u * (_C4 + u * (_C6 + u * (_C8 + u * _C10))))


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def turns_of(turn, place, k):  # pragma: no cover
    """Fill `turn` with ``k r + tau b0`` less whole turns."""
    for v in range(LANES):
        t = k[0] * place[0, v] + k[1] * place[1, v] + k[2] * place[2, v] + k[3] * place[3, v]
        turn[v] = np.float32(t - ((t + _ROUND64) - _ROUND64))


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
def fill_factors(factor, drive, flip_angle, phase):  # pragma: no cover
    """Fill the factors of a pulse's edges, ``[FACTORS, LANES]``."""
    turns = np.float32(flip_angle / (2 * np.pi))
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        s, c = half_turn(rounded(turns * drive[0, v]))
        re, im = p_re * drive[1, v] - p_im * drive[2, v], p_re * drive[2, v] + p_im * drive[1, v]
        sine, half = TWO * s * c, s * s
        factor[COS, v] = ONE - TWO * half
        factor[TO_PLUS, v] = sine * im
        factor[TO_PLUS + 1, v] = -sine * re
        factor[SAME, v] = ONE - half
        factor[FLIPPED, v] = half * (re * re - im * im)
        factor[FLIPPED + 1, v] = half * TWO * re * im
        factor[TO_Z, v] = -HALF * sine * im
        factor[TO_Z + 1, v] = -HALF * sine * re


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def edge_factor(edge_type):  # pragma: no cover
    """Return row of an edge's factor, whether it is real, and the signs of its and the parent's imaginary part."""
    row = COS if edge_type == 0 else TO_PLUS if edge_type < 3 else edge_type if edge_type < 5 else TO_Z
    conj = ONE if edge_type == 0 or edge_type == 1 or edge_type == 3 or edge_type == 5 else -ONE
    return row, edge_type == 0 or edge_type == 3, -ONE if edge_type == 6 else ONE, conj


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def shifted(out, m, sign, turn):  # pragma: no cover
    """Fill `out` with ``(1 - 2 pi i turn) m``, or of the conjugate for `sign` -1."""
    for v in range(LANES):
        t, im = CYCLE * turn[v], sign * m[LANES + v]
        out[v] = m[v] + t * im
        out[LANES + v] = im - t * m[v]


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
def moves(shift):  # pragma: no cover
    """Return whether a shift of k and tau is other than 0."""
    return shift[0] != 0 or shift[1] != 0 or shift[2] != 0 or shift[3] != 0


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def play_pulse(plan, place, r, after, room):  # pragma: no cover
    """Fill the states `after` a pulse, of row `r`, from those at the end of the row before, ``room.end``."""
    begin, before = plan.row_start[r], plan.row_start[r - 1]
    for child in range(begin, plan.row_start[r + 1]):
        a = after[child - begin]
        a[:] = ZERO
        for e in range(plan.edge_start[child], plan.edge_start[child + 1]):
            m = room.end[plan.edge_parent[e] - before]
            row, real, f_sign, m_sign = edge_factor(plan.edge_type[e])
            if len(plan.shift) and moves(plan.shift[e]):
                turns_of(room.turn, place, plan.shift[e])
                shifted(room.made, m, m_sign, room.turn)
                add_edge(a, room.made, room.factor[row], room.factor[row + 1], real, f_sign, ONE)
            else:
                add_edge(a, m, room.factor[row], room.factor[row + 1], real, f_sign, m_sign)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def emit(x, a, tissue, turn, time, tau, b):  # pragma: no cover
    """Add a transverse state to the sum of its group at the reference sample."""
    for v in range(LANES):
        decay = time * tissue[R2, v] + tau * tissue[R2_PRIME, v] + b * tissue[DIFFUSION, v]
        size = exponential(-decay) * tissue[DENSITY, v]
        s, c = half_turn(turn[v])
        re, im = size * (ONE - TWO * s * s), -size * TWO * s * c
        x[v] += re * a[v] - im * a[LANES + v]
        x[LANES + v] += re * a[LANES + v] + im * a[v]


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
        decay[:] = relaxed
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
    begin, plus, most = plan.row_start[r], plan.plus_start[r], tissue[DIFFUSION].max()
    for s in range(begin, plan.row_start[r + 1]):
        relaxed = room.relaxed[1 if s >= plus else 0]
        evolve(
            room.end[s - begin], room.decay[s - begin if keep else 0], after[s - begin], relaxed, tissue[DIFFUSION],
            ZERO if s == begin else plan.b[s], most,
        )  # fmt: skip
    for v in range(LANES):
        room.end[0, v] += ONE - room.relaxed[0, v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def run_block(plan, place, tissue, b1, x, block, room, keep):  # pragma: no cover
    """Run a block through all rows, and add to the groups `x`, or keep all states in ``room.after`` instead."""
    room.end[0, :LANES] = ONE
    room.end[0, LANES:] = ZERO
    for r in range(1, len(plan.plus_start)):
        begin = plan.row_start[r]
        after = room.after[begin if keep else 0 :]
        if not plan.same_drive[r - 1]:
            fill_drive(room.drive, b1, plan.shim[r - 1])
        fill_factors(room.factor, room.drive, plan.flip_angle[r - 1], plan.phase[r - 1])
        play_pulse(plan, place, r, after, room)
        if not keep:
            for e in range(plan.entry_start[r], plan.entry_start[r + 1]):
                k = plan.entry_place[e]
                turns_of(room.turn, place, k)
                tau = np.float32(plan.entry_side[e] * k[3])
                a = after[plan.entry_state[e] - begin]
                emit(x[plan.entry_group[e], block], a, tissue, room.turn, plan.entry_time[e], tau, plan.entry_b[e])
        if r == 1 or plan.row_time[r] != plan.row_time[r - 1]:
            fill_relaxed(room.relaxed, tissue, plan.row_time[r])
        if r + 1 < len(plan.plus_start):
            evolve_row(plan, tissue, r, after, room, False)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def new_scratch(kept, widest):  # pragma: no cover
    """Return room for a block, with `kept` states after pulses and the `widest` row."""
    return Scratch(
        np.empty((kept, 2 * LANES), np.float32), np.empty((widest, 2 * LANES), np.float32),
        np.empty((widest, LANES), np.float32), np.empty((FACTORS, LANES), np.float32),
        np.empty((3, LANES), np.float32), np.empty((2, LANES), np.float32), np.empty(LANES, np.float32),
        np.empty(2 * LANES, np.float32),
    )  # fmt: skip


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", parallel=True)
def run_blocks(plan, blocks, x, widest, workers):  # pragma: no cover
    """Add the transverse magnetisation of all blocks to their groups, ``x[group, block, 2 * LANES]``."""
    for worker in numba.prange(workers):
        room = new_scratch(widest, widest)
        for block in range(worker, len(blocks.tissue), workers):
            run_block(plan, blocks.place[block], blocks.tissue[block], blocks.b1[block], x, block, room, False)
