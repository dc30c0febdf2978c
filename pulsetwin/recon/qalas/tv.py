"""QALAS maps that fit the signals of all voxels together, with few edges (total variation).

Minimised is ``1/2 sum |data - S(x)|^2 / noise^2 + weight sum c |grad x|`` over x, which is ln T1, ln T2, ln PD and
``IE + lost / T2``, in units of the deviation that noise allows them: so `weight` is a number near 1 at any noise. The
norm is over all of x and the three axes, since tissues differ in everything at the same place. From the fit on, S is
linearised (Gauss and Newton), and what is then convex is solved by primal and dual steps (Chambolle and Pock 2011,
doi:10.1007/s10851-010-0251-1). Total variation lowers contrasts; so, from one linearisation to the next, c falls to
``1 / (1 + |grad x|)``, and clear edges count little (Candes et al. 2008, doi:10.1007/s00041-008-9045-x).

Why not the inversion efficiency IE itself: magnetisation that is transverse for some time of an adiabatic pulse decays
by T2 meanwhile, so the efficiency has the edges of T2. That time, `lost`, is the same in all voxels, which tell it by
regression; what then remains of the efficiency has hardly any edges, and may be smoothed far more than T1 and T2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.qalas.fit import T1_RANGE, T2_RANGE, Efficiency, Fitted
from pulsetwin.recon.qalas.kernel import INNER
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import QalasPulses
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

WEIGHT = 1.25
"""What edges count for, by default."""
_SMOOTH_EFFICIENCY = 10.0  # what the efficiency is without its loss hardly changes: its edges count for more
_TYPICAL = 0.01, 0.99  # quantiles of 1 / T2 that tell what the efficiency loses
_LINEARISATIONS, _STEPS = 6, 100  # at most, and primal and dual steps of each
_SETTLED = 0.02  # median change, in deviations, that ends them
_LONGEST = 0.7  # change of x, of a linearisation
_PRIMAL = np.float32(0.5)  # length of a primal step
_BLOCK = 1 << 16  # voxels linearised at a time
Model = Callable[[Tensor, slice, float], tuple[Tensor, Tensor]]
"""From x ``[unknown, voxel]`` of rows of voxels and `lost` to signals ``[voxel, 5]`` and efficiency ``[voxel]``."""


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """The next and the previous voxel along each axis, -1 where there is none, int32 ``[voxel, 3]``, and their weight.

    Differences are over distances of 1, 1 being the shortest edge of a voxel: `weight` ``[3]`` is their inverse.
    """

    after: np.ndarray
    before: np.ndarray
    weight: np.ndarray


def smooth_fit(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    noise: np.ndarray,
    start: Fitted,
    *,
    mask: np.ndarray,
    edges: np.ndarray | None = None,
    weight: float = WEIGHT,
    ie: Efficiency,
    pulses: QalasPulses | None = None,
    offset: np.ndarray | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Return estimates of all voxels together.

    Parameters
    ----------
    data
        Signals with their signs, ``[voxel, 5]``.
    timing
        Times of a repetition.
    b1
        Relative transmit field, ``[voxel]``.
    noise
        Standard deviation of the signals, ``[voxel]``.
    start
        What `fit.fit` found.
    mask
        Where the voxels are, bool ``[z, y, x]``, in this order.
    edges
        Of a voxel along z, y and x, in any unit, ``[3]``; equal if None.
    weight
        What edges count for; 0 returns the fit.
    ie, pulses, offset
        As of `fit.fit`.
    progress
        Called with linearisations done, their greatest number and what is done.
    """
    model, free = _model(timing, b1, ie, pulses, offset)
    x, lost = _start(start)[: 4 if free else 3], 0.0
    fitted = x[-1].copy()
    near, dual = _neighbours(mask, np.ones(3) if edges is None else edges), np.zeros((len(data), 3, len(x)), np.float32)
    cost, unit = np.full(len(data), weight, np.float32), None
    for number in range(_LINEARISATIONS):
        if free and number:
            lost, before = _loss(x, fitted, timing.inversion_end - timing.inversion_start), lost
            x[3] += (lost - before) * np.exp(-x[1])
        told, slopes = _linearised(model, x, lost)
        slopes /= noise[:, None, None].astype(np.float32)
        if unit is None:
            unit = _deviations(slopes)
        here = (x / unit[:, None]).T.astype(np.float32)
        new = _convex_minimum(slopes * unit, (data - told) / noise[:, None], here, dual, near, cost)
        x = _bounded(x + np.clip((new - here).T * unit[:, None], -_LONGEST, _LONGEST), lost, ie)
        cost = (weight / (1 + _steepness(new, near))).astype(np.float32)
        progress(number + 1, _LINEARISATIONS, "total variation")
        if np.median(np.abs(new - here)) < _SETTLED:
            break
    progress(_LINEARISATIONS, _LINEARISATIONS, "total variation")
    return _found(model, data, x, lost)


def _model(
    timing: QalasTiming, b1: np.ndarray, ie: Efficiency, pulses: QalasPulses | None, offset: np.ndarray | None
) -> tuple[Model, bool]:
    """Return what x gives, and whether the efficiency is part of x."""
    field = torch.from_numpy(np.ascontiguousarray(b1, np.float64))
    shift = torch.zeros_like(field) if offset is None else torch.from_numpy(np.ascontiguousarray(offset, np.float64))
    free = pulses is None and isinstance(ie, str | tuple)
    known = None if free or callable(ie) else torch.from_numpy(np.broadcast_to(np.float64(ie), b1.shape).copy())

    def model(x: Tensor, rows: slice, lost: float) -> tuple[Tensor, Tensor]:
        t1, t2, pd = x[:3].exp()
        if pulses is not None:
            told = signals(timing, t1, t2, pd=pd, b1=field[rows], offset=shift[rows], pulses=pulses)
            return told, -pulses.inversion(t1, t2, field[rows], shift[rows])[0]
        efficiency = x[3] - lost / t2 if free else ie(t1, t2, field[rows]) if callable(ie) else known[rows]
        return signals(timing, t1, t2, pd=pd, ie=efficiency, b1=field[rows]), efficiency

    return model, free


def _start(start: Fitted) -> np.ndarray:
    """Return x at the fit, ``[4, voxel]``, and its median where there was no fit."""
    good = start.valid
    rows = np.stack((start.t1, start.t2, start.pd, start.ie))
    middle = np.median(rows[:, good], 1) if good.any() else np.array([1.0, 0.1, 1.0, 0.9])
    rows = np.where(np.isfinite(rows) & (rows[2] > 0), rows, middle[:, None])
    return np.concatenate((np.log(rows[:3]), rows[3:]))


def _bounded(x: np.ndarray, lost: float, ie: Efficiency) -> np.ndarray:
    """Return x within its ranges."""
    x = np.stack((x[0].clip(*np.log(T1_RANGE)), x[1].clip(*np.log(T2_RANGE)), *x[2:]))
    if len(x) > 3 and isinstance(ie, tuple):
        gone = lost * np.exp(-x[1])
        x[3] = (x[3] - gone).clip(*ie) + gone
    return x


def _loss(x: np.ndarray, efficiency: np.ndarray, longest: float) -> float:
    """Return for how long T2 relaxation takes part in the inversion, up to `longest` [s].

    That is the slope of the fit's efficiency, noisy but not smoothed, over 1 / T2 of x, smoothed: noise in what is
    explained does not change a slope, noise in what explains would.
    """
    rate = np.exp(-x[1])
    low, high = np.quantile(rate, _TYPICAL)
    some = (rate >= low) & (rate <= high)
    spread = rate[some].var()
    found = -np.cov(rate[some], efficiency[some], bias=True)[0, 1] / spread if spread else 0.0
    return float(np.clip(found, 0, longest))


def _linearised(model: Model, x: np.ndarray, lost: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the signals ``[voxel, 5]`` and their slopes ``[voxel, 5, unknown]`` at x."""
    told, slopes = np.empty((x.shape[1], 5)), np.empty((x.shape[1], 5, len(x)), np.float32)
    for begin in range(0, x.shape[1], _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        at = torch.from_numpy(np.ascontiguousarray(x[:, rows])).requires_grad_()
        value = model(at, rows, lost)[0]
        for k, contrast in enumerate(value.unbind(-1)):
            slopes[rows, k] = torch.autograd.grad(contrast.sum(), at, retain_graph=True)[0].numpy().T
        told[rows] = value.detach().numpy()
    return told, slopes


def _deviations(slopes: np.ndarray) -> np.ndarray:
    """Return the unit of each unknown: the median least deviation, ``[unknown]``."""
    some = slopes[:: max(len(slopes) // 20000, 1)].astype(np.float64)
    precision = np.einsum("vki,vkj->vij", some, some)
    size = np.trace(precision, axis1=1, axis2=2)[:, None, None]
    bound = np.linalg.inv(precision + 1e-9 * size * np.eye(slopes.shape[2]))
    unit = np.sqrt(np.median(np.diagonal(bound, axis1=1, axis2=2), 0))
    unit[3:] /= _SMOOTH_EFFICIENCY
    return unit.astype(np.float32)


def _neighbours(mask: np.ndarray, edges: np.ndarray) -> _Neighbours:
    number = np.full(mask.shape, -1, np.int32)
    number[mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    padded = np.pad(number, 1, constant_values=-1)
    inside = slice(1, -1)
    shifted = {}
    for step in (1, -1):
        moved = [np.roll(padded, -step, axis)[inside, inside, inside][mask] for axis in range(3)]
        shifted[step] = np.stack(moved, 1)
    return _Neighbours(shifted[1], shifted[-1], (edges.min() / edges).astype(np.float32))


def _steepness(x: np.ndarray, near: _Neighbours) -> np.ndarray:
    """Return ``|grad x|`` of each voxel."""
    total = np.zeros(len(x), np.float32)
    for axis in range(3):
        after = near.after[:, axis]
        here = np.nonzero(after >= 0)[0]
        total[here] += near.weight[axis] ** 2 * ((x[after[here]] - x[here]) ** 2).sum(1)
    return np.sqrt(total)


def _convex_minimum(
    slopes: np.ndarray, left: np.ndarray, here: np.ndarray, dual: np.ndarray, near: _Neighbours, cost: np.ndarray
) -> np.ndarray:
    """Return x ``[voxel, unknown]`` where what is linearised `here`, where it leaves `left`, is least; moves `dual`."""
    precision = np.einsum("vki,vkj->vij", slopes, slopes)
    pull = np.einsum("vki,vk->vi", slopes, left.astype(np.float32)) + np.einsum("vij,vj->vi", precision, here)
    inverse = np.linalg.inv(precision + np.eye(here.shape[1], dtype=np.float32) / _PRIMAL)
    dual_step = np.float32(1 / (4 * _PRIMAL * (near.weight**2).sum()))
    new = here.copy()
    _descend(new, dual, inverse, pull, near.after, near.before, near.weight, cost, _PRIMAL, dual_step, _STEPS)
    return new


@numba.njit(nogil=True, **INNER)
def _descend(x, dual, inverse, pull, after, before, weight, cost, primal_step, dual_step, steps):
    """Move x ``[voxel, unknown]`` and its dual ``[voxel, 3, unknown]`` to the minimum of what is convex, in place.

    That is ``1/2 x . precision x - pull . x + cost |grad x|``; `inverse` is that of the precision plus 1 / primal step.
    """
    ahead, moved = x.copy(), np.empty_like(x[0])
    for _ in range(steps):
        for v in range(len(x)):
            size = np.float32(0)
            for axis in range(3):
                there = after[v, axis]
                if there < 0:
                    continue
                for k in range(x.shape[1]):
                    dual[v, axis, k] += dual_step * weight[axis] * (ahead[there, k] - ahead[v, k])
                    size += dual[v, axis, k] ** 2
            if size > cost[v] ** 2:
                dual[v] *= cost[v] / np.sqrt(size)
        for v in range(len(x)):
            for k in range(x.shape[1]):
                moved[k] = pull[v, k] + x[v, k] / primal_step
                for axis in range(3):
                    moved[k] += weight[axis] * dual[v, axis, k]
                    if before[v, axis] >= 0:
                        moved[k] -= weight[axis] * dual[before[v, axis], axis, k]
            for k in range(x.shape[1]):
                total = np.float32(0)
                for j in range(x.shape[1]):
                    total += inverse[v, k, j] * moved[j]
                ahead[v, k] = 2 * total - x[v, k]
            for k in range(x.shape[1]):
                x[v, k] = 0.5 * (ahead[v, k] + x[v, k])


def _found(model: Model, data: np.ndarray, x: np.ndarray, lost: float) -> Fitted:
    """Return the estimates at x."""
    rows = [slice(begin, begin + _BLOCK) for begin in range(0, len(data), _BLOCK)]
    parts = [model(torch.from_numpy(np.ascontiguousarray(x[:, some])), some, lost) for some in rows]
    told, ie = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return Fitted(*np.exp(x[:3]), ie, ((data - told) ** 2).sum(1))
