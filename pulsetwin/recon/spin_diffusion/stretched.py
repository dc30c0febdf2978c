"""Stretched exponentials: the smooth curve that the poster puts in place of what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.recon.levenberg import levenberg


@dataclass(frozen=True, slots=True)
class Stretched:
    """``f(t) = c (1 - exp(-(t / tau)^beta))``.

    Parameters
    ----------
    plateau
        c, in the unit of the data.
    tau
        [s].
    beta
        The exponent.
    rms
        Root mean square of what it leaves.
    """

    plateau: float
    tau: float
    beta: float
    rms: float

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Return the curve at times [s]."""
        return -self.plateau * np.expm1(-((times / self.tau) ** self.beta))


def fit_stretched(times: np.ndarray, values: np.ndarray) -> Stretched:
    """Return the stretched exponential closest to a curve ``[time]``, by least squares from several time constants."""
    scale = float(values[np.argmax(np.abs(values))]) or 1.0
    starts = np.array([[1.0, log, 0.0] for log in np.log(np.geomspace(times[0], times[-1], 7))]).T

    def curve(parameters: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plateau, log_tau, log_beta = (one[:, None] for one in parameters)
        beta, turn = np.exp(log_beta), np.log(times) - log_tau
        power = np.exp(beta * turn)
        grown, steep = -np.expm1(-power), plateau * power * np.exp(-power)
        return plateau * grown, np.stack((grown, -beta * steep, beta * turn * steep))

    low = np.array([-10, np.log(times[0]) - 7, -3.0])
    high = np.array([10, np.log(times[-1]) + 7, 3.0])
    found = levenberg(curve, np.tile(values / scale, (7, 1)), starts, low, high, reach=np.array([1.0, 1.0, 0.5]))
    best = int(np.argmin(found.misfit))
    plateau, log_tau, log_beta = found.values[:, best]
    rms = abs(scale) * float(np.sqrt(found.misfit[best] / len(times)))
    return Stretched(float(scale * plateau), float(np.exp(log_tau)), float(np.exp(log_beta)), rms)
