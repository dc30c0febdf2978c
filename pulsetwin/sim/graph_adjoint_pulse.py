"""Gradients of a phase distribution graph at a pulse: its edges, their factors, and angle, phase, field and rotation.

The cotangent of a complex number is that of its real part plus i times that of its imaginary part.
"""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_kernel import edge_factor
from pulsetwin.sim.graph_lanes import (
    COS,
    FACTORS,
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
    add_scaled,
    clear,
    dot,
    half_turn,
    rounded,
    total,
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
def pulse_adjoint(plan, r, room, back, moments):  # pragma: no cover
    """Fill the cotangents of the states before the pulse of row `r` from those after it, and ``back.factor``."""
    begin, before, table = plan.row_start[r], plan.row_start[r - 1], plan.table[r - 1]
    here, there = back.bars[r & 1], back.bars[(r - 1) & 1]
    moment, moment_there = back.moments[r & 1], back.moments[(r - 1) & 1]
    clear(there, begin - before)
    clear(moment_there, moments * (begin - before))
    clear(back.factor, FACTORS)
    for child in range(begin, plan.row_start[r + 1]):
        bar, c = here[child - begin], moments * (child - begin)
        for e in range(plan.edge_start[child], plan.edge_start[child + 1]):
            p = plan.edge_parent[e] - before
            row, real, f_sign, m_sign = edge_factor(plan.edge_type[e], table)
            f_re, f_im = room.factor[row], room.factor[row + 1]
            _factor_adjoint(back.factor[row], back.factor[row + 1], bar, room.end[p], real, f_sign, m_sign)
            _parent_adjoint(there[p], bar, f_re, f_im, real, f_sign, m_sign, ONE)
            for j in range(moments):  # k and tau change their sign where the parent is conjugated
                parent = moment_there[moments * p + j]
                _parent_adjoint(parent, moment[c + j], f_re, f_im, real, f_sign, m_sign, m_sign)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _spin_adjoint(bar, factor, spin):  # pragma: no cover
    """Fill the cotangents of the Cayley-Klein parameters ``[4, LANES]``, given those of the factors."""
    for v in range(LANES):
        a, b, c, d = spin[0, v], spin[1, v], spin[2, v], spin[3, v]
        z, p, q = factor[COS, v], factor[TO_PLUS, v], factor[TO_PLUS + 1, v]
        s, t = factor[SAME, v], factor[SAME + 1, v]
        f, g = factor[FLIPPED, v], factor[FLIPPED + 1, v]
        x, y = factor[TO_Z, v], factor[TO_Z + 1, v]
        bar[0, v] = TWO * (z * a + p * c + q * d + s * a - t * b) - x * c + y * d
        bar[1, v] = TWO * (z * b + p * d - q * c - s * b - t * a) + x * d + y * c
        bar[2, v] = TWO * (-z * c + p * a - q * b - f * c - g * d) - x * a + y * b
        bar[3, v] = TWO * (-z * d + p * b + q * a + f * d - g * c) + x * b + y * a


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _angles_adjoint(q, u, bar, drive, flip_angle, phase):  # pragma: no cover
    """Fill `q` and `u` with the cotangents of each voxel's flip angle and phase, given those of `spin`."""
    turns = np.float32(flip_angle / (2 * np.pi))
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        s, c = half_turn(rounded(turns * drive[0, v]))
        re, im = p_re * drive[1, v] - p_im * drive[2, v], p_re * drive[2, v] + p_im * drive[1, v]
        q[v] = HALF * (c * (bar[2, v] * im - bar[3, v] * re) - s * bar[0, v])
        u[v] = s * (bar[2, v] * re + bar[3, v] * im)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _drive_adjoint(b1_bar, shim_bar, wave, q, u, drive, b1, shim, flip_angle):  # pragma: no cover
    """Add the gradients of transmit fields and shim, given those of angle and phase, `q` and `u`."""
    for v in range(LANES):
        along = np.float32(flip_angle) * q[v]
        across = u[v] / drive[0, v] if drive[0, v] > ZERO else ZERO
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


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _rotation_adjoint(rotation_bar, u, bar, spin, phase):  # pragma: no cover
    """Add the gradients of a finite pulse's rotation at phase 0, and fill `u` with the cotangent of the phase."""
    p_re, p_im = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for v in range(LANES):
        rotation_bar[0, v] += bar[0, v]
        rotation_bar[1, v] += bar[1, v]
        rotation_bar[2, v] += p_re * bar[2, v] + p_im * bar[3, v]
        rotation_bar[3, v] += p_re * bar[3, v] - p_im * bar[2, v]
        u[v] = bar[3, v] * spin[2, v] - bar[2, v] * spin[3, v]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def angles_adjoint(plan, p, b1, b1_bar, rotation_bar, room, back, sums):  # pragma: no cover
    """Add the gradients of pulse `p`, given those of its factors in ``back.factor``."""
    bar, table = back.spin, plan.table[p]
    _spin_adjoint(bar, back.factor, room.spin)
    if table >= 0:
        _rotation_adjoint(rotation_bar[table], back.u, bar, room.spin, plan.phase[p])
    else:
        flip_angle = plan.flip_angle[p]
        _angles_adjoint(back.q, back.u, bar, room.drive, flip_angle, plan.phase[p])
        sums.flip_angle[p] += dot(back.q, room.drive[0])
        _drive_adjoint(b1_bar, sums.shim[p], back.wave, back.q, back.u, room.drive, b1, plan.shim[p], flip_angle)
    sums.phase[p] += total(back.u)
