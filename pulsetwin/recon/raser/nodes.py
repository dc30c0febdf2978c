"""Few frequencies that stand for an object's continuum of them, as the points of a quadrature do.

What a mode emits is a smooth function of its frequency: within a time T no faster than ``exp(i w T)``, and phases of
long ago have faded with T2*. So a few frequencies, ``1 / 2 T`` apart, emit together what any number of modes do if they
start with the right sums of what these start with. Weights of a sum may be negative.
"""

from __future__ import annotations

import math

import numpy as np

_FADED = 7.0  # T2* after which a phase is forgotten
_CLOSER = 1.05  # than the sampling theorem asks, and as many nodes more
_MORE = 4
_LAGS = 200
_RIDGE = 1e-9


def nodes(reach: float, seconds: float, t2: float) -> np.ndarray:
    """Return angular frequencies from ``-reach`` to ``reach`` that stand for all between them [rad/s], ``[node]``.

    Parameters
    ----------
    reach
        Highest frequency of the object [Hz].
    seconds
        How long the signal is [s].
    t2
        T2* [s], about.
    """
    count = math.ceil(_CLOSER * 4 * reach * min(seconds, _FADED * t2)) + _MORE
    return 2 * math.pi * np.linspace(-reach, reach, count)


def weights(omega: np.ndarray, modes: np.ndarray, seconds: float, t2: float) -> np.ndarray:
    """Return with which weights nodes stand for modes, ``[node, mode]``.

    They are those with which the phases ``exp(i w t)`` differ least over all lags t, squared and faded with T2*.

    Parameters
    ----------
    omega
        From `nodes`.
    modes
        Angular frequencies within the reach of the nodes [rad/s], ``[mode]``.
    seconds, t2
        As of `nodes`.
    """
    lags = (np.arange(_LAGS) + 0.5) / _LAGS * min(seconds, _FADED * t2)
    faded = np.exp(-lags / t2)
    own, theirs = (
        np.concatenate([faded * f(np.outer(one, lags)) for f in (np.cos, np.sin)], 1) for one in (omega, modes)
    )
    normal = own @ own.T
    normal[np.diag_indices_from(normal)] *= 1 + _RIDGE
    return np.linalg.solve(normal, own @ theirs.T)
