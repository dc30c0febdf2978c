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
from scipy.interpolate import make_interp_spline
from scipy.linalg.lapack import dtrtri

from pulsetwin.recon.raser.driven import Parameters, emitted, kicks, responses

_BLOCK = 64  # rows of a block of times: the fewer, the less is done within them
_NUDGE = 1e-4  # of a parameter's logarithm, for slopes


class Linearised(NamedTuple):
    """A projection about a drive.

    Attributes
    ----------
    columns
        ``(1 - K)^-1`` times L and its slopes by the logarithms of the parameters, ``[2 time, 3 mode + 3]``; of pumped
        modes ``[2 time, 4 mode + 4]``, the last slope that by the decay.
    rest
        ``(1 - K)^-1 S - S``, ``[2 time]``: the signal is `columns` times what is wanted, less this.
    """

    columns: np.ndarray
    rest: np.ndarray


def linearised(
    drive: np.ndarray, omega: np.ndarray, parameters: Parameters, step: float, start: np.ndarray,
    decay: float | None = None,
) -> Linearised:  # fmt: skip
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
        Inversions, real and imaginary parts of the amplitudes, ``[3, mode]``, and the sources of pumped modes.
    decay
        Of the pumping [s]; None if there is no such thing.
    """
    flow = responses(drive, omega, parameters, step, decay)
    rows, wide = 2 * len(flow), start.size
    signal = as_rows(drive[::2])
    shared = [*parameters, *([] if decay is None else [decay])]
    columns = np.empty((rows, wide + len(shared) + 1))
    columns[:, :wide] = emits = np.ascontiguousarray(flow[:, :2]).reshape(rows, -1)
    worth = step * kicks(flow, start, parameters).reshape(rows, -1)
    now = emits @ start.ravel()
    for number in range(len(shared)):
        nudged = [value * np.exp(_NUDGE * (number == n)) for n, value in enumerate(shared)]
        then = emitted(start, drive, omega, Parameters(*nudged[:3]), step, *nudged[3:])
        columns[:, wide + number] = (then.ravel() - now) / _NUDGE
    columns[:, -1] = signal
    _feed_back(columns, np.ascontiguousarray(emits[:, : worth.shape[1]]), worth)
    return Linearised(columns[:, :-1], columns[:, -1] - signal)


def as_rows(signal: np.ndarray) -> np.ndarray:
    """Return complex ``[time]`` as float64 ``[2 time]``, real and imaginary part in turn."""
    return np.ascontiguousarray(signal, np.complex128).view(np.float64)


def as_complex(pairs: np.ndarray) -> np.ndarray:
    """Return float64 ``[2 time]`` or ``[time, 2]`` as complex ``[time]``."""
    return np.ascontiguousarray(pairs).reshape(-1).view(np.complex128)


def between(signal: np.ndarray) -> np.ndarray:
    """Return a smooth signal, ``[2 time]`` as rows, at its times and in the middle between them, complex.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a sample is not a number: equations were solved that have no solution.
    """
    if not np.isfinite(signal).all():
        raise np.linalg.LinAlgError("the signal runs away")
    pairs = signal.reshape(-1, 2)
    times = np.arange(len(pairs))
    return as_complex(make_interp_spline(times, pairs, k=7)(np.arange(2 * len(pairs) - 1) / 2))


def _feed_back(columns: np.ndarray, emits: np.ndarray, worth: np.ndarray) -> None:
    """Multiply columns by ``(1 - K)^-1``, block after block of times.

    A kick acts from its time on, by the start that it is worth; the integral over kicks is a sum of trapezoids. Little
    is done under Python's lock, for projections are worked on side by side: triangles are inverted, not solved.
    """
    worth[:2] *= 0.5
    before = np.zeros((emits.shape[1], columns.shape[1]))
    more, one = np.empty_like(before), np.eye(_BLOCK)
    later = np.tril(1 - 0.5 * np.kron(np.eye(_BLOCK // 2), np.ones((2, 2))))
    for first in range(0, len(columns), _BLOCK):
        block = slice(first, first + _BLOCK)
        here = emits[block] @ before
        here += columns[block]
        now = slice(len(here))
        within = one[now, now] - later[now, now] * (emits[block] @ worth[block].T)
        np.matmul(dtrtri(within, lower=1)[0], here, out=columns[block])
        before += np.matmul(worth[block].T, columns[block], out=more)
