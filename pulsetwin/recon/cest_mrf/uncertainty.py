"""How certain estimates of CEST-MRF are: the Cramer-Rao bound from the exact Jacobian, and what given maps add to it.

With J the derivatives of the normalised signal by what is sought and B = (J^T J)^-1 J^T, the estimates' covariance is

    B (s^2 N + G D G^T) B^T,

where s is the noise relative to what the signal was divided by, N the covariance that the division makes of noise of
variance 1, G the derivatives by what was given, and D the variances of that. Where nothing is given and the signal is
of unit length or not divided, it is the bound ``s^2 (J^T J)^-1``.
"""

from __future__ import annotations

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.cest_mrf.problem import Known, Problem, slopes

_ALIKE = 1e-15  # eigenvalues of the correlation of derivatives that are rounding


def deviations(
    problem: Problem,
    found: Known,
    given: Known,
    *,
    noise: np.ndarray | float | None = None,
    data: np.ndarray | None = None,
    given_deviation: Known | None = None,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """Return the standard deviation of each estimate, ``[voxel]``; infinite where a parameter changes nothing.

    Parameters
    ----------
    problem
        What was measured.
    found
        Estimates, ``[voxel]``.
    given
        What was known in each voxel, ``[voxel]``.
    noise
        Standard deviation of the noise relative to what the signal was divided by; ``[voxel]`` or one for all.
    data
        Instead of `noise`: normalised ``[voxel, measurement]``. Then the noise is judged by what they hold that neither
        the estimates nor what was given uncertainly could change.
    given_deviation
        Standard deviations of some of what was given, ``[voxel]``, independent of one another.
    threads
        Of the simulation.

    Raises
    ------
    ProtocolError
        If neither or both of `noise` and `data` are given, a deviation is of nothing that is given, or there are no
        more measurements than unknowns to judge the noise by.
    """
    uncertain = dict(given_deviation or {})
    if (noise is None) == (data is None):
        raise ProtocolError("give either the noise, or the data to judge it by")
    if unknown := set(uncertain) - set(given):
        raise ProtocolError(f"{min(unknown)} has a deviation, but no value: give both")
    table = np.stack([np.asarray(one, np.float64) for one in (*found.values(), *given.values())], 1)
    signals, derivatives = slopes(problem, (*found, *given), table, (*found, *uncertain), threads)
    jacobian, by_given = derivatives[..., : len(found)], derivatives[..., len(found) :]
    back = _back(jacobian)
    shared = signals if problem.normalisation == "first" else np.zeros_like(signals)  # the first image's noise in all
    if data is not None:
        noise = _noise(problem.normalisation, data - signals, derivatives, signals)
    variance = (back**2).sum(2) + _through(back, shared) ** 2
    variance *= np.broadcast_to(np.asarray(noise, np.float64), len(table))[:, None] ** 2
    for number, deviation in enumerate(uncertain.values()):
        variance += (_through(back, by_given[..., number]) * np.asarray(deviation)[:, None]) ** 2
    variance[~jacobian.any(1)] = np.inf
    return dict(zip(found, np.sqrt(variance).T, strict=True))


def _back(jacobian: np.ndarray) -> np.ndarray:
    """Return ``B = (J^T J)^-1 J^T``, ``[voxel, parameter, measurement]``."""
    size = np.sqrt((jacobian**2).sum(1))
    scaled = (jacobian / np.where(size > 0, size, 1.0)[:, None]).swapaxes(1, 2)
    values, vectors = np.linalg.eigh(scaled @ scaled.swapaxes(1, 2))
    inverse = (vectors / np.maximum(values, _ALIKE)[:, None]) @ vectors.swapaxes(1, 2)
    return (inverse @ scaled) / np.where(size > 0, size, 1.0)[..., None]


def _through(back: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return by how much a change of the signals ``[voxel, measurement]`` moves the estimates."""
    return (back @ change[..., None])[..., 0]


def _noise(normalisation: str, left: np.ndarray, derivatives: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """Return the deviation of noise by what is left ``[voxel, measurement]`` across all derivatives, ``[voxel]``."""
    if normalisation == "first":  # image 0 is 1, and its noise moves the others along themselves
        left, derivatives = left[:, 1:], np.concatenate((derivatives, signals[..., None]), 2)[:, 1:]
    spare = left.shape[1] - derivatives.shape[2] - (normalisation == "l2")
    if spare < 1:
        raise ProtocolError(f"{signals.shape[1]} measurements leave nothing to judge the noise by: give the noise")
    size = np.linalg.norm(derivatives, axis=1, keepdims=True)
    basis, _ = np.linalg.qr(derivatives / np.where(size > 0, size, 1.0))
    left = left - (basis @ (basis.swapaxes(1, 2) @ left[..., None]))[..., 0]
    return np.sqrt((left**2).sum(1) / spare)
