"""What an inversion of RASER projections is given, and what it guesses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.pumping import Pumping


@dataclass(frozen=True, slots=True)
class Scan:
    """What stays.

    Attributes
    ----------
    data, noise, step
        Samples as rows ``[angle][2 time]``, their standard deviation, and from time to time [s].
    omega
        Nodes, angular frequencies that stand for all others [rad/s].
    places, strips, of_modes
        Of each angle, what a pixel is to the nodes ``[node, pixel]`` and to the modes ``[mode, pixel]``, and what a
        mode is to the nodes ``[node, mode]``.
    inside, gradient
        Pixels that there are, bool ``[y, x]``, and the differences between neighbours of these.
    prior, known
        Logarithms of the parameters, and standard deviations of what is known of them; the fourth, if there is one,
        is the decay of the pumping.
    start, weight
        As of `inversion.invert`.
    """

    data: list[np.ndarray]
    noise: float
    step: float
    omega: np.ndarray
    places: list[np.ndarray]
    strips: list[csr_array]
    of_modes: np.ndarray
    inside: np.ndarray
    gradient: csr_array
    prior: np.ndarray
    known: np.ndarray
    start: float
    weight: float


@dataclass(frozen=True, slots=True)
class Guess:
    """What is fitted: image ``[pixel]``, scales, starts ``[angle][2, mode]``, logarithms of the parameters, drives.

    Of pumped scans also the pumping of each angle.
    """

    image: np.ndarray
    scales: np.ndarray
    starts: list[np.ndarray]
    logs: np.ndarray
    drives: list[np.ndarray]
    pumping: list[Pumping] | None = None

    @property
    def parameters(self) -> Parameters:
        """T1, T2* and kappa."""
        return Parameters(*np.exp(self.logs[:3]))

    @property
    def decay(self) -> float | None:
        """Of the pumping [s], if there is any."""
        return None if self.pumping is None else float(np.exp(self.logs[3]))
