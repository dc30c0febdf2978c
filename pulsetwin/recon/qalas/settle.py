"""Least squares over the signals of QALAS for real pulses, whose effect depends on the very T1 and T2 that are sought.

For a known effect of the inversion, and a known rest of imperfect spoiling, `kernel` finds T1 and the density; what is
then left after the T2 preparation tells T2, by steps of Newton. Both are repeated until they agree.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.recon.qalas.kernel import (
    BEFORE,
    EFFICIENCY,
    INNER,
    MISFIT,
    PD,
    PREPARED,
    T1,
    best_start,
    finish,
    refine,
    set_angles,
)
from pulsetwin.sim.signal_models.spline_kernel import spline_at

SWEEPS, SETTLED = 20, 1e-7
"""Repetitions at most, and the relative change of T1 and T2 that ends them."""
LONGEST = 0.7
"""Step of ln T2 at most."""


@numba.njit(nogil=True, **INNER)
def settle(
    data, tissue, b1, offset, pulses, spoiling, nodes, r1_range, times, flips, train_length, log_t1, spanned,
    b1_first, b1_step, t2_range, out,
):  # fmt: skip
    """Write T1, T2 [s], proton density, inversion efficiency and the sum of squares of the residual.

    Parameters
    ----------
    data
        Signals with their signs, ``[voxel, 5]``.
    tissue
        T1, T2 [s] and density at which the search begins, ``[voxel, 3]``.
    b1, offset
        Relative transmit field and off-resonance [Hz], ``[voxel]``.
    pulses, spoiling
        Tables of `QalasPulses`, each as coefficients, count, first and step, see `spline_at`.
    nodes, r1_range
        Of R1, `qalas_pulses.r1_nodes` and `R1_RANGE` [1/s].
    times, flips, train_length, log_t1
        As of `kernel.search`.
    spanned, b1_first, b1_step
        Its `table`, and where that begins.
    t2_range
        Least and largest T2 [s].
    out
        ``[voxel, 5]``.
    """
    angles, basis, trial = np.empty((3, 5)), np.empty((4, 5)), np.empty((4, 5))
    maps, bends, effect, slope = np.empty(4 * len(nodes)), np.empty(4 * len(nodes)), np.empty(4), np.empty(4)
    left, unused, x, row = np.empty(5), np.empty(5), np.empty(5), np.empty(6)
    where, place = np.empty(len(pulses[1])), np.empty(3)
    for voxel in range(len(data)):
        t1, t2, pd = tissue[voxel]
        set_angles(angles, flips, b1[voxel], train_length)
        column = min(max(round((b1[voxel] - b1_first) / b1_step), 0), len(spanned) - 1)
        ln_t1 = log_t1[best_start(data[voxel], spanned[column])]
        for _ in range(SWEEPS):
            where[0], where[1] = math.log(t2), b1[voxel]
            if len(where) == 3:
                where[2] = offset[voxel]
            spline_at(pulses[0], pulses[1], pulses[2], pulses[3], where, 0, maps, bends)
            _at_rate(effect, slope, maps, bends, nodes, r1_range, 1 / t1)
            place[0], place[1], place[2] = math.log(t1), where[0], b1[voxel]
            spline_at(spoiling[0], spoiling[1], spoiling[2], spoiling[3], place, 0, left, unused)
            for k in range(5):
                x[k] = data[voxel, k] - pd * left[k]
            a, b = effect[2], effect[3]
            ln_t1, (pd, m, misfit) = refine(x, ln_t1, log_t1, False, angles, times, train_length, a, b, basis, trial)
            finish(row, x, ln_t1, pd, m, misfit, False, angles, times, train_length, a, b, basis)
            rise = max(slope[0] * row[BEFORE] + slope[1], 1e-6)
            step = (row[PREPARED] - effect[0] * row[BEFORE] - effect[1]) / rise
            new = min(max(t2 * math.exp(min(max(step, -LONGEST), LONGEST)), t2_range[0]), t2_range[1])
            same = abs(row[T1] / t1 - 1) < SETTLED and abs(new / t2 - 1) < SETTLED
            t1, t2 = row[T1], new
            if same or not math.isfinite(t1 * t2):
                break
        out[voxel, 0], out[voxel, 1], out[voxel, 2] = t1, t2, row[PD]
        out[voxel, 3], out[voxel, 4] = row[EFFICIENCY], row[MISFIT]


@numba.njit(**INNER)
def _at_rate(effect, slope, maps, bends, nodes, r1_range, r1):
    """Write ``a``, ``b`` of both preparations and their slopes at a rate [1/s], by the polynomial through the nodes."""
    r1 = min(max(r1, r1_range[0]), r1_range[1])
    effect[:], slope[:] = 0.0, 0.0
    for n in range(len(nodes)):
        weight = 1.0
        for other in range(len(nodes)):
            if other != n:
                weight *= (r1 - nodes[other]) / (nodes[n] - nodes[other])
        for k in range(4):
            effect[k] += weight * maps[4 * n + k]
            slope[k] += weight * bends[4 * n + k]
