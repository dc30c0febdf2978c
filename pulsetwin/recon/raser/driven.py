"""What each mode of a RASER emits when a given signal drives it: linear in what the mode starts with.

With the signal S of all modes given, each of them obeys linear equations of its own,

``a' = (i w - 1/T2) a + n S / T2``, ``n' = -n / T1 - (kappa / T2) Re(conj(a) S)``,

so that ``S = sum_m u_m n_m(0) + v_m Re a_m(0) + w_m Im a_m(0)``. Amplitudes a and inversions n are in units of the
threshold. Relaxation and precession are exact, the drive is integrated by the classical Runge-Kutta method.

A start is ``[3, mode]``: inversions, real and imaginary parts of the amplitudes. Of pumped modes it is ``[4, mode]``:
the last row are sources, of which ``exp(-t / decay)`` is added to ``n'``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from pulsetwin.errors import ShapeError

_JIT = {"cache": True, "nogil": True, "fastmath": {"nsz", "arcp", "contract", "reassoc"}, "error_model": "numpy"}


class Parameters(NamedTuple):
    """T1 and T2* [s], and what the signal does to the inversion: 1 in units of the threshold, ``1 / |gain|^2`` else."""

    t1: float
    t2: float
    kappa: float

    def rates(self) -> np.ndarray:
        """Return 1 / T1, 1 / T2* [1/s] and kappa / T2*."""
        return np.array([1 / self.t1, 1 / self.t2, self.kappa / self.t2])


def responses(
    drive: np.ndarray, omega: np.ndarray, parameters: Parameters, step: float, decay: float | None = None
) -> np.ndarray:
    """Return how the modes go on, each from a start of 1: float64 ``[time, 3, start, mode]``.

    The first three are real and imaginary part of the amplitude, whose sums are the signal, and the inversion.

    Parameters
    ----------
    drive
        The signal at the times and in the middle between them, complex ``[2 time - 1]``.
    omega
        Angular frequencies of the modes [rad/s], ``[mode]``.
    parameters
        Of all modes.
    step
        From time to time [s].
    decay
        Of a pumping [s], for a fourth start, the source; None if there is no such thing.

    Raises
    ------
    ShapeError
        If there is not an odd number of samples of the drive, at least three.
    """
    rows = 3 if decay is None else 4
    units = np.broadcast_to(np.eye(rows)[:, :, None], (rows, rows, len(omega)))
    return _driven(drive, omega, parameters, step, units, decay)


def emitted(
    start: np.ndarray, drive: np.ndarray, omega: np.ndarray, parameters: Parameters, step: float,
    decay: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return what the modes emit together from a given start, float64 ``[time, 2]``; as `responses`."""
    return _driven(drive, omega, parameters, step, start[None], decay)[:, :2, 0].sum(-1)


def kicks(flow: np.ndarray, start: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Return which starts would follow as a kick of the drive does: ``[time, 2, start, mode]``, per second of it.

    A kick of the drive by ``e dt`` changes mode m at once by ``(n e / T2, -kappa Re(conj(a) e) / T2) dt``. What follows
    is what a change of its start by `kicks` would have brought.

    Parameters
    ----------
    flow
        Of the modes, from `responses`.
    start
        ``[3, mode]``, or ``[4, mode]`` if the flow has a fourth start.
    parameters
        Of all modes.
    """
    out = np.empty((len(flow), 2, 3, flow.shape[3]))
    _kicks(out, flow, np.ascontiguousarray(start), parameters.rates())
    return out


def _driven(
    drive: np.ndarray, omega: np.ndarray, parameters: Parameters, step: float, starts: np.ndarray, decay: float | None
) -> np.ndarray:
    if drive.ndim != 1 or len(drive) < 3 or len(drive) % 2 == 0:
        raise ShapeError(f"the drive is {drive.shape}: give the times and the middles between them, an odd number")
    out = np.empty((len(drive) // 2 + 1, 3, len(starts), len(omega)))
    state = np.ascontiguousarray(starts[:, [1, 2, 0]])
    pairs = np.ascontiguousarray(drive, np.complex128).view(np.float64).reshape(-1, 2)
    pump = np.exp(-0.5 * step / (decay or math.inf) * np.arange(len(drive)))
    source = np.zeros((len(starts), len(omega))) if decay is None else np.ascontiguousarray(starts[:, 3])
    _drive(out, state, source, pump, pairs, np.ascontiguousarray(omega, np.float64), parameters.rates(), step)
    return out


@numba.njit(**_JIT)
def _drive(out, state, source, pump, drive, omega, rates, step):  # pragma: no cover
    """Fill `out` from the states ``[start, 3, mode]`` at the first time, which move along; parts are as in `out`.

    `source` is ``[start, mode]``; what of it is pumped is given at the times of the drive.
    """
    keep, shrink = math.exp(-0.5 * rates[0] * step), math.exp(-0.5 * rates[1] * step)
    cosines, sines = shrink * np.cos(0.5 * step * omega), shrink * np.sin(0.5 * step * omega)
    out[0] = state.transpose(1, 0, 2)
    for time in range(1, len(out)):
        for start in range(len(state)):
            now = slice(2 * time - 2, 2 * time + 1)
            _advance(state[start], source[start], pump[now], drive[now], cosines, sines, keep, rates, step)
            for part in range(3):
                for m in range(len(omega)):
                    out[time, part, start, m] = state[start, part, m]


@numba.njit(**_JIT)
def _advance(state, source, pump, drive, cosines, sines, keep, rates, step):  # pragma: no cover
    """Move a state ``[3, mode]`` by a step, driven by samples ``[3, 2]`` at its begin, middle and end."""
    gain, loss = rates[1], rates[2]
    half, third, sixth = step / 2, step / 3, step / 6
    for m in range(len(cosines)):
        re, im, n, c, s = state[0, m], state[1, m], state[2, m], cosines[m], sines[m]
        k_re, k_im = gain * n * drive[0, 0], gain * n * drive[0, 1]
        k_n = pump[0] * source[m] - loss * (re * drive[0, 0] + im * drive[0, 1])
        y_re, y_im, y_n = c * re - s * im, c * im + s * re, keep * n
        k_re, k_im, k_n = c * k_re - s * k_im, c * k_im + s * k_re, keep * k_n
        sum_re, sum_im, sum_n = y_re + sixth * k_re, y_im + sixth * k_im, y_n + sixth * k_n
        for _ in range(2):
            re, im, n = y_re + half * k_re, y_im + half * k_im, y_n + half * k_n
            k_re, k_im = gain * n * drive[1, 0], gain * n * drive[1, 1]
            k_n = pump[1] * source[m] - loss * (re * drive[1, 0] + im * drive[1, 1])
            sum_re, sum_im, sum_n = sum_re + third * k_re, sum_im + third * k_im, sum_n + third * k_n
        re, im, n = y_re + step * k_re, y_im + step * k_im, keep * (y_n + step * k_n)
        re, im = c * re - s * im, c * im + s * re
        state[0, m] = c * sum_re - s * sum_im + sixth * gain * n * drive[2, 0]
        state[1, m] = c * sum_im + s * sum_re + sixth * gain * n * drive[2, 1]
        k_n = pump[2] * source[m] - loss * (re * drive[2, 0] + im * drive[2, 1])
        state[2, m] = keep * sum_n + sixth * k_n


@numba.njit(**_JIT)
def _kicks(out, flow, start, rates):  # pragma: no cover
    """Fill `out`: the kick of each mode at each time, turned back to the first time by Cramer's rule."""
    for time in range(len(flow)):
        for m in range(flow.shape[3]):
            f = flow[time, :, :, m]
            re, im, n = 0.0, 0.0, 0.0
            for s in range(len(start)):
                re += f[0, s] * start[s, m]
                im += f[1, s] * start[s, m]
                n += f[2, s] * start[s, m]
            back = np.empty((3, 3))  # cofactors: column of the inverse for a change of re, im, n
            for part in range(3):
                one, two = (part + 1) % 3, (part + 2) % 3
                for s in range(3):
                    p, q = (s + 1) % 3, (s + 2) % 3
                    back[part, s] = f[one, p] * f[two, q] - f[one, q] * f[two, p]
            scale = 1 / (f[0, 0] * back[0, 0] + f[0, 1] * back[0, 1] + f[0, 2] * back[0, 2])
            push, of_re, of_im = scale * rates[1] * n, -scale * rates[2] * re, -scale * rates[2] * im
            for s in range(3):
                out[time, 0, s, m] = push * back[0, s] + of_re * back[2, s]
                out[time, 1, s, m] = push * back[1, s] + of_im * back[2, s]
