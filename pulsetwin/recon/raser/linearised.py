"""One RASER projection, made linear: what its modes' starts and the shared parameters change in the signal.

Let L(S) p be what modes emit that start with p and are driven by S (see `driven`). The signal of all modes solves
``S = L(S) p``. Linear about any S that need not solve it, such as the measured signal,

``dS = (1 - K)^-1 (L p - S)``,

with the feedback K: what a change of the drive makes of the signal. So a least-squares fit of ``S + dS`` to the data is
linear in p. Repeated about its own result it is Newton's method on the nonlinear equations, but nothing is integrated
from a wrong start to the end. Noise of a measured signal that drives is accounted for by K, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from pulsetwin.recon.raser.driven import Parameters, emitted, kicks, responses

_NUDGE = 1e-4  # of a parameter's logarithm, for slopes


class Linearised(NamedTuple):
    """A projection about a drive.

    Attributes
    ----------
    columns
        ``(1 - K)^-1`` times L and its slopes by the logarithms of the parameters, ``[2 time, 3 mode + 3]``.
    rest
        ``(1 - K)^-1 S - S``, ``[2 time]``: the signal is `columns` times what is wanted, less this.
    """

    columns: np.ndarray
    rest: np.ndarray


def linearised(
    drive: np.ndarray, omega: np.ndarray, parameters: Parameters, step: float, start: np.ndarray
) -> Linearised:
    """Return a projection linear about a drive, a start and parameters.

    Parameters
    ----------
    drive
        Signal at the times and in the middle between them, complex ``[2 time - 1]``.
    omega
        Angular frequencies of the modes [rad/s], ``[mode]``.
    parameters
        Of all modes.
    step
        From time to time [s].
    start
        Inversions, real and imaginary parts of the amplitudes, ``[3, mode]``.
    """
    flow = responses(drive, omega, parameters, step)
    rows, modes = 2 * len(flow), len(omega)
    signal = as_rows(drive[::2])
    columns = np.empty((rows, 3 * modes + 4), order="F")
    columns[:, : 3 * modes] = flow[:, :2].reshape(rows, -1)
    feedback = _feedback(columns[:, : 3 * modes], kicks(flow, start, parameters).reshape(rows, -1), step)
    now = columns[:, : 3 * modes] @ start.ravel()
    for number in range(3):
        nudged = Parameters(*(value * np.exp(_NUDGE * (number == n)) for n, value in enumerate(parameters)))
        columns[:, 3 * modes + number] = (emitted(start, drive, omega, nudged, step).ravel() - now) / _NUDGE
    columns[:, -1] = signal
    columns = solve_triangular(feedback, columns, lower=True, overwrite_b=True, check_finite=False)
    return Linearised(columns[:, :-1], columns[:, -1] - signal)


def as_rows(signal: np.ndarray) -> np.ndarray:
    """Return complex ``[time]`` as float64 ``[2 time]``, real and imaginary part in turn."""
    return np.ascontiguousarray(signal, np.complex128).view(np.float64)


def as_complex(pairs: np.ndarray) -> np.ndarray:
    """Return float64 ``[2 time]`` or ``[time, 2]`` as complex ``[time]``."""
    return np.ascontiguousarray(pairs).reshape(-1).view(np.complex128)


def _feedback(flow: np.ndarray, starts: np.ndarray, step: float) -> np.ndarray:
    """Return 1 - K as a matrix of the times ``[2 time, 2 time]``, of which the lower triangle counts.

    A kick acts from its time on; the integral over kicks is a sum of trapezoids.
    """
    matrix = flow @ (-step * starts).T
    matrix[:, :2] *= 0.5
    even = np.arange(0, len(matrix), 2)
    for row in (0, 1):
        for column in (0, 1):
            matrix[even + row, even + column] *= 0.5
    matrix[np.diag_indices_from(matrix)] += 1.0
    return matrix
