"""Gradients of a phase distribution graph at a pulse: its edges, their factors, and angle, phase and field.

The cotangent of a complex number is that of its real part plus i times that of its imaginary part.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_kernel import (
    COS,
    FAST,
    FLIPPED,
    HALF,
    LANES,
    ONE,
    SAME,
    TO_PLUS,
    TO_Z,
    TWO,
    ZERO,
    add_edge,
    edge_factor,
    half_turn,
    moves,
    rounded,
)
from pulsetwin.sim.graph_sums import (
    add_scaled,
    dot,
)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _factor_adjoint(f_re, f_im, bar, m, real, f_sign, m_sign):  # pragma: no cover
    """Add to the cotangent of an edge's factor."""
    if real:
        for v in range(LANES):
            f_re[v] += bar[v] * m[v] + m_sign * bar[LANES + v] * m[LANES + v]
    else:
        for v in range(LANES):
            im = m_sign * m[LANES + v]
            f_re[v] += bar[v] * m[v] + bar[LANES + v] * im
            f_im[v] += f_sign * (bar[LANES + v] * m[v] - bar[v] * im)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _parent_adjoint(parent, bar, f_re, f_im, real, f_sign, m_sign, scale):  # pragma: no cover
    """Add `scale` times the cotangent `bar` of an edge's child to that of its parent."""
    if real:
        for v in range(LANES):
            parent[v] += scale * f_re[v] * bar[v]
            parent[LANES + v] += scale * f_re[v] * bar[LANES + v]
    else:
        for v in range(LANES):
            re, im = scale * f_re[v], scale * f_sign * f_im[v]
            parent[v] += re * bar[v] + im * bar[LANES + v]
            parent[LANES + v] += m_sign * (re * bar[LANES + v] - im * bar[v])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _moments_adjoint(plan, e, child, p, m, bar, wanted, room, back, sums):  # pragma: no cover
    """Add the gradients of an edge's shift where `wanted`, and those of the moments of its parent `p`.

    Returns the cotangent of what the edge brings: `bar`, and what comes through the moments if the shift is not 0.
    """
    row, real, f_sign, m_sign = edge_factor(plan.edge_type[e])
    f_re, f_im = room.factor[row], room.factor[row + 1]
    if wanted:
        room.made[:] = ZERO
        add_edge(room.made, m, f_re, f_im, real, f_sign, m_sign)
    for j in range(4):
        moment, parent = back.moment[4 * child + j], back.moment_before[4 * p + j]
        if wanted:
            sums.shift[e, j] += dot(moment, room.made) + dot(moment[LANES:], room.made[LANES:])
        _parent_adjoint(parent, moment, f_re, f_im, real, f_sign, m_sign, m_sign)
    if not moves(plan.shift[e]):
        return bar
    room.made[:] = bar
    for j in range(4):
        shift = np.float32(plan.shift[e, j])
        add_scaled(room.made, shift, back.moment[4 * child + j])
        add_scaled(room.made[LANES:], shift, back.moment[4 * child + j, LANES:])
    return room.made


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def pulse_adjoint(plan, r, room, back, sums):  # pragma: no cover
    """Fill ``back.before`` with the cotangents of the states before the pulse of row `r`, and ``back.factor``.

    A state's first edge is where its place comes from: its shift is 0 whatever the timeline, unless the state is Z0.
    """
    begin, before = plan.row_start[r], plan.row_start[r - 1]
    back.before[: begin - before] = ZERO
    if len(plan.shift):
        back.moment_before[: 4 * (begin - before)] = ZERO
    back.factor[:] = ZERO
    for child in range(begin, plan.row_start[r + 1]):
        first = plan.edge_start[child]
        for e in range(first, plan.edge_start[child + 1]):
            p, bar = plan.edge_parent[e] - before, back.here[child - begin]
            m = room.end[p]
            if len(plan.shift):
                wanted = e > first or child == begin
                bar = _moments_adjoint(plan, e, child - begin, p, m, bar, wanted, room, back, sums)
            row, real, f_sign, m_sign = edge_factor(plan.edge_type[e])
            _factor_adjoint(back.factor[row], back.factor[row + 1], bar, m, real, f_sign, m_sign)
            f_re, f_im = room.factor[row], room.factor[row + 1]
            _parent_adjoint(back.before[p], bar, f_re, f_im, real, f_sign, m_sign, ONE)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def angles_adjoint(q, u, bar, drive, flip_angle, phase):  # pragma: no cover
    """Fill `q` and `u` with the cotangents of each voxel's flip angle and phase, given those of the factors."""
    turns = np.float32(flip_angle / (2 * np.pi))
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        s, c = half_turn(rounded(turns * drive[0, v]))
        re, im = p_re * drive[1, v] - p_im * drive[2, v], p_re * drive[2, v] + p_im * drive[1, v]
        half_sine, half = s * c, s * s
        cosine, double_re, double_im = ONE - TWO * half, re * re - im * im, TWO * re * im
        to_plus, to_plus_im, to_z, to_z_im = bar[TO_PLUS, v], bar[TO_PLUS + 1, v], bar[TO_Z, v], bar[TO_Z + 1, v]
        flipped, flipped_im = bar[FLIPPED, v], bar[FLIPPED + 1, v]
        q[v] = half_sine * (double_re * flipped + double_im * flipped_im - TWO * bar[COS, v] - bar[SAME, v])
        q[v] += cosine * (im * to_plus - re * to_plus_im - HALF * (im * to_z + re * to_z_im))
        u[v] = half_sine * (TWO * (re * to_plus + im * to_plus_im) - re * to_z + im * to_z_im)
        u[v] += TWO * half * (double_re * flipped_im - double_im * flipped)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def drive_adjoint(b1_bar, shim_bar, wave, back, drive, b1, shim, flip_angle):  # pragma: no cover
    """Add the gradients of transmit fields and shim, given those of angle and phase in ``back.q`` and ``back.u``."""
    for v in range(LANES):
        along = np.float32(flip_angle) * back.q[v]
        across = back.u[v] / drive[0, v] if drive[0, v] > ZERO else ZERO
        wave[v] = drive[1, v] * along - drive[2, v] * across
        wave[LANES + v] = drive[2, v] * along + drive[1, v] * across
    re, im = wave[:LANES], wave[LANES:]
    for c in range(len(shim)):
        w_re, w_im = np.float32(shim[c].real), np.float32(shim[c].imag)
        add_scaled(b1_bar[c, 0], w_re, re)
        add_scaled(b1_bar[c, 0], w_im, im)
        add_scaled(b1_bar[c, 1], w_re, im)
        add_scaled(b1_bar[c, 1], -w_im, re)
        shim_bar[c] += dot(re, b1[c, 0]) + dot(im, b1[c, 1]) + 1j * (dot(im, b1[c, 0]) - dot(re, b1[c, 1]))
