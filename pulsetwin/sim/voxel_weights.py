"""The transform of a voxel at k of states and samples, in loops over both; see `sim.voxel_transform`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

HIDDEN = 1e-9
"""Of the voxel's transform, below which a state has no signal."""


@numba.njit(cache=True, error_model="numpy")
def _factor(k: Any, edge: Any, box: Any) -> Any:  # pragma: no cover
    """Return a voxel's transform along an axis, and its derivative to k."""
    if edge == 0:
        return 1.0, 0.0
    if not box:
        x = 100 * (0.5 / edge - abs(k) + 0.5)
        value = 1 / (1 + np.exp(-x)) if x > -700 else 0.0
        return value, -np.sign(k) * 100 * value * (1 - value)
    x = np.pi * k * edge
    if abs(x) < 1e-4:
        return 1 - x * x / 6, -np.pi * edge * x / 3
    return np.sin(x) / x, np.pi * edge * (np.cos(x) - np.sin(x) / x) / x


@numba.njit(cache=True, error_model="numpy")
def visible(
    state: Any, readout: Any, bounds: Any, start: Any, sample: Any, size: Any, box: Any, slopes: Any
) -> Any:  # pragma: no cover
    """Return whether the transform at any sample, or its derivative over the edge if `slopes`, is above `HIDDEN`.

    Parameters
    ----------
    state, readout
        Pairs of them, ``[n]``; the samples of readout q are ``bounds[q]`` to ``bounds[q + 1]``.
    start, sample
        k of the states and of the samples, ``[state, 3 or more]`` and ``[sample, 3 or more]``.
    size, box
        Edges of the voxel, and whether it is a box, or else a sinc.
    """
    keep = np.zeros(len(state), np.bool_)
    values, rises = np.empty(3), np.empty(3)
    for n in range(len(state)):
        first = bounds[readout[n]]
        for e in range(first, bounds[readout[n] + 1]):
            weight, slope = 1.0, 0.0
            for j in range(3):
                if e == first or sample[e, j] != sample[e - 1, j]:
                    values[j], rises[j] = _factor(start[state[n], j] + sample[e, j], size[j], box)
                rise = abs(rises[j]) / size[j] if size[j] > 0 else 0.0
                slope = max(slope * abs(values[j]), weight * rise)
                weight *= abs(values[j])
            if weight > HIDDEN or (slopes and slope > HIDDEN):
                keep[n] = True
                break
    return keep


@numba.njit(cache=True, error_model="numpy")
def fill_weights(weights: Any, start: Any, first: Any, sample: Any, size: Any, box: Any) -> Any:  # pragma: no cover
    """Fill the transform and, if there is room, its derivatives to kx, ky, kz: ``[1 or 4, group, sample]``.

    Parameters
    ----------
    weights
        Where to.
    start, first, sample
        k of the groups, the number of each one's first sample, and k of the samples.
    size, box
        As for `visible`.
    """
    values, rises = np.empty(3), np.empty(3)
    for n in range(len(start)):
        for i in range(weights.shape[2]):
            e = first[n] + i
            for j in range(3):
                if i == 0 or sample[e, j] != sample[e - 1, j]:
                    values[j], rises[j] = _factor(start[n, j] + sample[e, j], size[j], box)
            weights[0, n, i] = values[0] * values[1] * values[2]
            if len(weights) > 1:
                weights[1, n, i] = rises[0] * values[1] * values[2]
                weights[2, n, i] = values[0] * rises[1] * values[2]
                weights[3, n, i] = values[0] * values[1] * rises[2]
