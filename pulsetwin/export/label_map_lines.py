"""Where readouts lie in k-space: the directions in which they move, and how labels depend on the others."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array
from pulsetwin.sequences.readouts import PlayedReadouts

_OFF_AXIS = 1e-3
_FEW = 0.1
_CHUNK = 2048
_ROUNDS = 50
_EXACT, _GOOD = 1e-6, 5e-4
_STILL = 0.1


def middles(played: PlayedReadouts) -> tuple[Array, Array, Array]:
    """Return for each ADC event where its middle sample lies, and how its samples spread.

    Returns
    -------
    middle
        k of sample ``n // 2`` [1/m], ``[event, 3]``.
    scatter
        Mean of the products of k about its mean, divided by their sum over x, y, z; zeros where k stands still,
        ``[event, 3, 3]``.
    motion
        From the first sample to the last [1/m], ``[event, 3]``.
    """
    count = len(played)
    middle, scatter, motion = np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros((count, 3))
    for length in np.unique(played.num_samples):
        same = np.nonzero(played.num_samples == length)[0]
        for events in np.split(same, range(_CHUNK, len(same), _CHUNK)):
            path = played.trajectory(events)
            about = path.shapes - path.shapes.mean(1, keepdims=True)
            products = about.swapaxes(1, 2) @ about
            total = np.trace(products, axis1=1, axis2=2)[:, None, None]
            products = np.divide(products, total, out=np.zeros_like(products), where=total > 1e-9)
            middle[events] = path.offset
            scatter[events] = products[path.shape_index]
            motion[events] = (path.shapes[:, -1] - path.shapes[:, 0])[path.shape_index]
    return middle, scatter, motion


def complement(scatter: Array) -> tuple[Array, Array | None, Array]:
    """Return the directions across the readouts, the one along them if they are parallel, and which are not alike.

    Readouts that stand still leave three directions across, parallel lines two, those of a plane one, others none. A
    minority may differ.

    Parameters
    ----------
    scatter
        Of the readouts, see `middles`, ``[readout, 3, 3]``.

    Returns
    -------
    across
        Unit vectors, ``[direction, 3]``.
    direction
        Unit vector ``[3]``, or None.
    aside
        Which readouts move across nevertheless, bool ``[readout]``.
    """
    _, axes = np.linalg.eigh(scatter.sum(0))
    axes = axes.T
    for across in (axes, axes[:2], axes[:1]):
        aside = np.einsum("di,nij,dj->n", across, scatter, across, optimize=True) > _OFF_AXIS
        if np.mean(aside) <= _FEW:
            return across, axes[2] if len(across) == 2 else None, aside
    return np.zeros((0, 3)), None, np.zeros(len(scatter), bool)


def moving(offset: Array) -> Array:
    """Return the directions in which `offset` [1/m] ``[readout, direction]`` differs, unit vectors along the rows."""
    _, extent, axes = np.linalg.svd(offset - offset.mean(0), full_matrices=False)
    return axes[extent > _STILL * np.sqrt(len(offset))]


def fit(label: Array, offset: Array) -> tuple[float, Array]:
    """Return the centre of the best ``label = centre + offset . v``, and how far each label is from it [steps].

    A minority of wrong labels does not move it: first the sum of magnitudes is made the least, by least squares whose
    weights are the inverse of the last misfits, then the nearer half is fitted.

    Parameters
    ----------
    label
        ``[readout]``.
    offset
        [1/m], ``[readout, direction]``.
    """
    scale = np.maximum(np.abs(offset).max(0, initial=0.0), 1e-12)
    terms = np.column_stack((np.ones(len(label)), offset / scale))
    values = label.astype(np.float64)
    weight, floor = np.ones(len(label)), float(np.ptp(values)) + 1.0
    for _ in range(_ROUNDS):
        found = _least_squares(terms, values, weight)
        rest = values - terms @ found
        if np.abs(rest).max() < _GOOD:
            return float(found[0]), rest
        floor = max(floor / 2, _EXACT)
        weight = 1 / np.maximum(np.abs(rest), floor)
    near = np.abs(rest) <= 3 * np.median(np.abs(rest)) + _EXACT
    found = _least_squares(terms, values, near.astype(np.float64))
    return float(found[0]), values - terms @ found


def _least_squares(terms: Array, values: Array, weight: Array) -> Array:
    weighted = terms * weight[:, None]
    return np.linalg.pinv(weighted.T @ terms, rcond=1e-12) @ (weighted.T @ values)
