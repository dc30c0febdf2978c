"""Least squares of a projection when nobody asks how its amplitudes start: these are averaged over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular


class Averaged(NamedTuple):
    """Chi squared ``v' H v - 2 r' v + c`` of v: the inversions of the modes, then the changes of the parameters.

    Attributes
    ----------
    curvature, right, constant
        H ``[mode + 3, mode + 3]``, r ``[mode + 3]`` and c.
    factor, coupling
        With which `starts_of` finds the amplitudes.
    root
        Of the covariance of the amplitudes.
    """

    curvature: np.ndarray
    right: np.ndarray
    constant: float
    factor: np.ndarray
    coupling: np.ndarray
    root: np.ndarray


def average(gram: np.ndarray, noise: float, root: np.ndarray) -> Averaged:
    """Return chi squared after the amplitudes at the start, normal with a known covariance, have been averaged over.

    Parameters
    ----------
    gram
        Products of the columns of `linearised.Linearised` and, last, of the data: ``[3 mode + 4, 3 mode + 4]``.
    noise
        Standard deviation of the data.
    root
        ``R`` of the covariance ``R R'`` that real and imaginary parts of the amplitudes have, each ``[mode, mode]``.
    """
    modes = len(root)
    hidden = slice(modes, 3 * modes)
    seen = np.r_[0:modes, 3 * modes : len(gram)]
    coupled = _by_parts(root.T, gram[hidden][:, seen]) / noise**2
    inner = _by_parts(root.T, _by_parts(root.T, gram[hidden, hidden]).T) / noise**2
    inner[np.diag_indices_from(inner)] += 1.0
    factor = np.linalg.cholesky(inner)
    coupling = solve_triangular(factor, coupled, lower=True, check_finite=False)
    left = gram[np.ix_(seen, seen)] / noise**2 - coupling.T @ coupling
    return Averaged(left[:-1, :-1], left[:-1, -1], float(left[-1, -1]), factor, coupling, root)


def starts_of(averaged: Averaged, values: np.ndarray) -> np.ndarray:
    """Return the likeliest amplitudes at the start, real then imaginary parts ``[2, mode]``.

    Parameters
    ----------
    averaged
        Of the projection.
    values
        Inversions and changes of the parameters, ``[mode + 3]``.
    """
    misfit = averaged.coupling @ np.append(-values, 1.0)
    solved = solve_triangular(averaged.factor, misfit, lower=True, trans=1, check_finite=False)
    return solved.reshape(2, -1) @ averaged.root.T


def _by_parts(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a matrix times the rows of real and of imaginary parts."""
    half = len(rows) // 2
    return np.concatenate([matrix @ rows[:half], matrix @ rows[half:]])
