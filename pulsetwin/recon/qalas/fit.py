"""T1, T2, proton density and inversion efficiency of voxels by least squares, without a dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.qalas import kernel
from pulsetwin.recon.qalas.settle import SETTLED, SWEEPS, settle
from pulsetwin.sim.signal_models.qalas_pulses import R1_RANGE, QalasPulses, r1_nodes
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.sim.signal_models.spline_table import SplineTable

Efficiency = str | float | tuple[float, float] | np.ndarray | Callable[[Tensor, Tensor, Tensor], Tensor]
"""``"free"``, its bounds, its known value (of each voxel), or its value by T1, T2 and B1."""

T1_RANGE = (0.02, 8.0)
T2_RANGE = (1e-3, 5.0)
"""Between which relaxation times are searched [s]."""
EFFICIENCY_RANGE = (0.5, 1.0)
_GRID, _FIELDS = 28, 16  # values of T1 and of B1 at which the search begins
_SIGNS = np.array([[1, -1, 1, 1, 1], [1, 1, 1, 1, 1], [1, -1, -1, 1, 1]], float)
_CLEAR = 9.0  # by how many variances of the noise signs must explain the data better than the usual ones


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was found in each voxel; values at the ends of their ranges were found nowhere better.

    Parameters
    ----------
    t1, t2
        Relaxation times [s], ``[voxel]``.
    pd
        Proton density in units of the data, ``[voxel]``.
    ie
        Inversion efficiency, ``[voxel]``.
    misfit
        Sum of squares of the residual, ``[voxel]``.
    """

    t1: np.ndarray
    t2: np.ndarray
    pd: np.ndarray
    ie: np.ndarray
    misfit: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Where all values are finite and off the ends of their ranges, bool ``[voxel]``."""
        inside = (self.pd > 0) & (self.ie > 0) & np.isfinite(self.pd) & np.isfinite(self.misfit)
        for value, (low, high) in ((self.t1, T1_RANGE), (self.t2, T2_RANGE)):
            inside &= (value > low * (1 + 1e-6)) & (value < high * (1 - 1e-6))
        return inside

    def merged(self, other: Fitted, where: np.ndarray) -> Fitted:
        """Return a copy with the values of `other` in the voxels `where`, bool or int."""
        values = {}
        for field in fields(self):
            values[field.name] = getattr(self, field.name).copy()
            values[field.name][where] = getattr(other, field.name)
        return Fitted(**values)


def fit(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    *,
    ie: Efficiency = EFFICIENCY_RANGE,
    pulses: QalasPulses | None = None,
    offset: np.ndarray | None = None,
) -> Fitted:
    """Return the least-squares estimates, those of the greatest likelihood if noise is white and Gaussian.

    Parameters
    ----------
    data
        Signals with their signs, real ``[voxel, 5]``.
    timing
        Times of a repetition.
    b1
        Relative transmit field, ``[voxel]``.
    ie
        What is known of the inversion efficiency; not used with `pulses`.
    pulses
        What the real preparations do; ideal ones if None. With these, and where `ie` is a function, the estimates are
        those of the preparation's effect at the estimates themselves, found by repetition.
    offset
        Off-resonance [Hz], ``[voxel]``; 0 if None. Only `pulses` depend on it.
    """
    data, b1 = np.ascontiguousarray(data, np.float64), np.ascontiguousarray(b1, np.float64)
    if data.ndim != 2 or data.shape[1] != 5 or b1.shape != data.shape[:1]:
        raise ShapeError(f"QALAS: data {data.shape} with B1 {b1.shape}: give [voxel, 5] and [voxel]")
    shift = np.zeros_like(b1) if offset is None else np.ascontiguousarray(offset, np.float64)
    if pulses is not None:
        return _calibrated(data, timing, b1, shift, pulses)
    if callable(ie):
        return _looked_up(data, timing, b1, ie)
    if isinstance(ie, str):
        if ie != "free":
            raise ProtocolError(f"ie = {ie!r}: give 'free', bounds, values or a function of T1, T2 and B1")
        return _ideal(data, timing, b1, None)
    if not isinstance(ie, tuple):
        return _ideal(data, timing, b1, np.broadcast_to(np.asarray(ie, np.float64), b1.shape))
    found = _ideal(data, timing, b1, None)
    beyond = ~((found.ie >= ie[0]) & (found.ie <= ie[1]))
    nearest = np.clip(np.nan_to_num(found.ie[beyond], nan=ie[1]), *ie)
    return found.merged(_ideal(data[beyond], timing, b1[beyond], nearest), beyond)


def fit_magnitudes(
    data: np.ndarray, noise: float | None, estimate: Callable[[np.ndarray, np.ndarray], Fitted]
) -> tuple[Fitted, np.ndarray]:
    """Return estimates from magnitudes, and the signs that they imply, ``[voxel, 5]``.

    The second contrast is taken as negative and all others as positive, unless all positive, or the third negative too,
    explain the data clearly better: noise alone would turn signs in voxels where a signal is near 0.

    Parameters
    ----------
    data
        Magnitudes, ``[voxel, 5]``.
    noise
        Standard deviation; by default judged from the median residual.
    estimate
        From signals with signs ``[voxel, 5]`` and the rows of `data` that they are of to estimates.
    """
    best, signs = estimate(data * _SIGNS[0], np.arange(len(data))), np.broadcast_to(_SIGNS[0], data.shape).copy()
    if not len(data):
        return best, signs
    # the median of chi-square with one degree of freedom is 0.455
    margin = _CLEAR * (float(np.median(best.misfit)) / 0.455 if noise is None else noise**2)
    doubtful = np.nonzero(~(best.misfit <= margin))[0]
    for pattern in _SIGNS[1:]:
        other = estimate(data[doubtful] * pattern, doubtful)
        better = other.misfit + margin < best.misfit[doubtful]
        best = best.merged(Fitted(*(getattr(other, f.name)[better] for f in fields(other))), doubtful[better])
        signs[doubtful[better]] = pattern
    return best, signs


def _ideal(data: np.ndarray, timing: QalasTiming, b1: np.ndarray, ie: np.ndarray | None) -> Fitted:
    """Return the estimates for ideal preparations; the efficiency is found if `ie` is None."""
    inversion = np.zeros((len(data), 2))
    if ie is not None:
        inversion[:, 0] = -ie
    times, flips = plan(timing, timing)
    grid = _grid(b1, times, flips, timing.train_length)
    found = kernel.search(data, b1, inversion, ie is None, times, flips, timing.train_length, *grid)
    t1 = found[:, kernel.T1]
    stored = np.cos(0.5 * math.pi * b1) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = found[:, kernel.PREPARED] / found[:, kernel.BEFORE] - stored * np.exp(-timing.t2prep_te / t1)
        t2 = _t2(kept / (1 - stored), timing.t2prep_te)
    return Fitted(t1, t2, found[:, kernel.PD], found[:, kernel.EFFICIENCY], found[:, kernel.MISFIT])


def _t2(kept: np.ndarray, te: float) -> np.ndarray:
    """Return T2 [s] within its range, from what is left after `te` [s]."""
    least, most = (math.exp(-te / limit) for limit in T2_RANGE)
    return np.clip(-te / np.log(np.clip(kept, least, most)), *T2_RANGE)


def _grid(
    b1: np.ndarray, times: np.ndarray, flips: np.ndarray, train_length: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the grid of ln T1, what is spanned there at some B1, and first and step of these."""
    log_t1 = np.linspace(*np.log(T1_RANGE), _GRID)
    low, high = (float(b1.min()), float(b1.max())) if len(b1) else (1.0, 1.0)
    table = kernel.spanning(log_t1, np.linspace(low, high, _FIELDS), times, flips, train_length)
    return log_t1, table, low, max((high - low) / (_FIELDS - 1), 1e-6)


def plan(timing: QalasTiming, window: QalasTiming | QalasPulses) -> tuple[np.ndarray, np.ndarray]:
    """Return `times` [s] and `flips` [rad] of `kernel`, for preparations that are from when to when `window` says."""
    start, train = timing.train_starts, timing.train_duration
    waits = np.array([after - before - train for before, after in pairwise(start[1:])])
    waits[1:] = np.where(np.abs(waits[1:] - waits[0]) < 1e-12, waits[0], waits[1:])  # equal but for rounding
    before = timing.echo_spacing, start[0] - window.t2prep_end, window.inversion_start - start[0] - train
    after = start[1] - window.inversion_end, *waits, timing.repetition_time + window.t2prep_start - start[-1] - train
    return np.array([*before, *after]), np.array(timing.flip_angles)


def _calibrated(
    data: np.ndarray, timing: QalasTiming, b1: np.ndarray, offset: np.ndarray, pulses: QalasPulses
) -> Fitted:
    """Return the estimates for real pulses, whose effect depends on T1 and T2."""
    start, out = _ideal(data, timing, b1, None), np.empty((len(data), 5))
    tissue = np.nan_to_num(np.stack((start.t1, start.t2, start.pd), 1), nan=1.0)
    times, flips = plan(timing, pulses)
    grid = _grid(b1, times, flips, timing.train_length)
    tables = _arrays(pulses.table), _arrays(pulses.spoiling)
    settle(data, tissue, b1, offset, *tables, r1_nodes().numpy(), R1_RANGE, times, flips, timing.train_length, *grid,
           T2_RANGE, out)  # fmt: skip
    return Fitted(*out.T)


def _arrays(table: SplineTable | None) -> tuple[np.ndarray, ...]:
    """Return coefficients, count, first and step of a table, of three axes and all 0 if None."""
    if table is None:
        return np.zeros((64, CONTRASTS)), np.ones(3, np.int64), np.zeros(3), np.ones(3)
    coefficients = table.coefficients.numpy()
    return coefficients.reshape(-1, coefficients.shape[-1]), *(
        np.array(x) for x in (table.count, table.first, table.step)
    )


def _looked_up(
    data: np.ndarray, timing: QalasTiming, b1: np.ndarray, ie: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Fitted:
    """Return the estimates for an efficiency that depends on T1 and T2, repeated until these no longer change."""
    found, active = _ideal(data, timing, b1, None), np.arange(len(data))
    for _ in range(SWEEPS):
        before = found.t1[active], found.t2[active]
        known = ie(*(torch.from_numpy(np.ascontiguousarray(value)) for value in (*before, b1[active])))
        update = _ideal(data[active], timing, b1[active], known.numpy())
        found = found.merged(update, active)
        moved = [np.abs(new / old - 1) > SETTLED for new, old in zip((update.t1, update.t2), before, strict=True)]
        active = active[moved[0] | moved[1]]
        if not len(active):
            break
    return found
