"""Pumping of few modes while a projection is measured: where and how strong it is, told by the data.

Nothing is pumped into most modes. So what is pumped into a mode in a second, its source, is normal with a variance of
its own, which grows likelier by expectation and maximisation (sparse Bayesian learning, Tipping 2001, J. Mach. Learn.
Res. 1, 211). It is not the likeliest: two heuristics change it. Each turn divides it by 1.5, so that it vanishes soon
where the data need no source, which it else does slowly; and it is smeared over the modes beside at last, as a source
that is found a mode aside, while the image is still wrong, could not move otherwise. Image and parameters are told
with the sources averaged over, as over amplitudes at the start.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve

from pulsetwin.recon.raser.starts import Averaged

WIDE = 0.05
"""Standard deviation of sources before the data tell, relative to the inversion of all modes [1/s]."""
_LEAST = 1e-3  # of thresholds a second, for standard deviations: one that is 0 would stay so
_FEW = 1.5  # variances shrink by as much where the data tell nothing, each turn
_TURNS = 10
_NEAR = 0.25, 0.5, 0.25  # a source may be a mode beside: else it stays where it first seemed to be


class Pumping(NamedTuple):
    """Sources of the modes, thresholds a second, and standard deviations before the projection is seen, ``[mode]``."""

    sources: np.ndarray
    spreads: np.ndarray


def pumping_at_first(told: Averaged, of_modes: np.ndarray, usual: float) -> Pumping:
    """Return the pumping of a projection of which only the usual inversion of a mode is known.

    Each inversion is normal about that, by as much: an image that is wrong would seem to be pumped.

    Parameters
    ----------
    told, of_modes
        As of `averaged_over`.
    usual
        In units of the threshold.
    """
    nodes, modes = of_modes.shape
    inversions, others = np.arange(nodes), np.arange(nodes, len(told.right))
    right = told.right - told.curvature[:, :nodes] @ of_modes.sum(1) * usual
    free = _without(told._replace(right=right), inversions, others, of_modes * usual)
    spreads = np.full(modes, WIDE * usual * modes)
    return _pumping(free.curvature[:nodes, :nodes], free.right[:nodes], of_modes, spreads)


def averaged_over(told: Averaged, of_modes: np.ndarray, spreads: np.ndarray) -> Averaged:
    """Return what a projection tells of the inversions and the parameters, sources averaged over.

    Parameters
    ----------
    told
        Of inversions and sources of the nodes, and of the parameters.
    of_modes
        What a mode is to the nodes, ``[node, mode]``.
    spreads
        See `Pumping`.
    """
    return _without(told, *_parts(told, len(of_modes)), of_modes * spreads)


def _without(told: Averaged, some: np.ndarray, others: np.ndarray, root: np.ndarray) -> Averaged:
    """Return what is told of others, averaged over some values of a covariance ``R R'``, given R."""
    own, shared = told.curvature[np.ix_(some, some)], told.curvature[np.ix_(some, others)]
    covariance = root @ root.T
    covariance[np.diag_indices_from(covariance)] += 1e-10 * np.trace(covariance)
    root = np.linalg.cholesky(covariance)
    inner = np.eye(len(root)) + root.T @ own @ root
    coupled = root.T @ np.column_stack([shared, told.right[some]])
    taken = coupled.T @ cho_solve((np.linalg.cholesky(inner), True), coupled)
    return told._replace(
        curvature=told.curvature[np.ix_(others, others)] - taken[:-1, :-1],
        right=told.right[others] - taken[:-1, -1],
        constant=told.constant - float(taken[-1, -1]),
    )


def pumping_of(told: Averaged, of_modes: np.ndarray, spreads: np.ndarray, values: np.ndarray) -> Pumping:
    """Return the pumping of a projection with likelier spreads, sources not negative but for what is uncertain of them.

    Parameters
    ----------
    told, of_modes
        As of `averaged_over`.
    spreads
        Where to begin.
    values
        Inversions of the nodes and changes of the parameters, ``[node + parameter]``.
    """
    sources, others = _parts(told, len(of_modes))
    curvature = told.curvature[np.ix_(sources, sources)]
    pull = told.right[sources] - told.curvature[np.ix_(sources, others)] @ values
    return _pumping(curvature, pull, of_modes, spreads)


def _pumping(curvature: np.ndarray, pull: np.ndarray, of_modes: np.ndarray, spreads: np.ndarray) -> Pumping:
    """Return the pumping with likelier spreads, smeared over the modes beside; see `likelier`."""
    spreads = likelier(curvature, pull, of_modes, spreads)
    spreads = np.sqrt(np.convolve(spreads**2, _NEAR, "same"))
    return Pumping(spreads**2 * (of_modes.T @ _left(curvature, of_modes, spreads, pull)), spreads)


def likelier(curvature: np.ndarray, pull: np.ndarray, of_modes: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return likelier standard deviations of the sources, by expectation and maximisation, and shrunk each turn.

    Parameters
    ----------
    curvature, pull
        Of chi squared / 2 by the sources of the nodes, ``[node, node]`` and, downhill, ``[node]``.
    of_modes, spreads
        As of `pumping_of`.
    """
    for _ in range(_TURNS):
        spreads = np.maximum(np.sqrt(_squares(curvature, pull, of_modes, spreads) / _FEW), _LEAST)
    return spreads


def gained(curvature: np.ndarray, pull: np.ndarray, wide: float) -> float:
    """Return by how much few sources of unknown spreads make the data likelier: the difference of logarithms.

    Parameters
    ----------
    curvature, pull
        As of `likelier`, a mode for each node.
    wide
        Standard deviation to begin with.
    """
    modes = np.eye(len(pull))
    spreads = likelier(curvature, pull, modes, np.full(len(pull), wide))
    inner = modes + spreads[:, None] * curvature * spreads
    factor = np.linalg.cholesky(inner)
    explained = np.linalg.solve(factor, spreads * pull)
    return 0.5 * float(explained @ explained) - float(np.log(np.diag(factor)).sum())


def _parts(told: Averaged, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the sources are, and where all else is."""
    return np.arange(nodes, 2 * nodes), np.r_[:nodes, 2 * nodes : len(told.right)]


def _squares(curvature: np.ndarray, pull: np.ndarray, of_modes: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return the mean squares of the sources, each of a mean that is not negative, ``[mode]``."""
    left = _left(curvature, of_modes, spreads, np.column_stack([curvature @ of_modes, pull]))
    mean = spreads**2 * (of_modes.T @ left[:, -1])
    share = 1 - spreads**2 * (of_modes * left[:, :-1]).sum(0)  # of the variance that remains
    return np.maximum(mean, 0) ** 2 + spreads**2 * np.maximum(share, 0)


def _left(curvature: np.ndarray, of_modes: np.ndarray, spreads: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``(1 + C K)^-1`` times `right`, with the curvature C and the covariance K of the nodes' sources."""
    within = curvature @ ((of_modes * spreads**2) @ of_modes.T)
    within[np.diag_indices_from(within)] += 1
    return np.linalg.solve(within, right)
