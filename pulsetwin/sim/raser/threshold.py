"""When a sample of inverted spins emits by itself: the threshold of a resonator."""

from __future__ import annotations

import math

from scipy.constants import hbar, mu_0

from pulsetwin.errors import ProtocolError

PROTON = 267.5221900e6
"""Gyromagnetic ratio of the proton [rad/s/T]; CODATA 2018."""


def coupling_rate(quality: float, volume: float, gamma: float = PROTON) -> float:
    """Return the rate at which a spin is coupled to the others, ``mu0 hbar gamma^2 Q / (4 V)`` [1/s per spin].

    Parameters
    ----------
    quality
        Quality factor of the resonator.
    volume
        Volume of its coil [m^3].
    gamma
        Gyromagnetic ratio [rad/s/T].

    Raises
    ------
    ProtocolError
        If a value is not above 0.
    """
    for name, value in (("quality", quality), ("volume", volume), ("gamma", gamma)):
        if not 0 < value < math.inf:
            raise ProtocolError(f"{name} {value:g}: give a value above 0")
    return mu_0 * hbar * gamma**2 * quality / (4 * volume)


def threshold_inversion(quality: float, volume: float, t2: float, gamma: float = PROTON) -> float:
    """Return the difference of populations [spins] above which the emission grows faster than T2* [s] lets it decay.

    The sample's own, divided by this, is `modes.play`'s sum of inversions (Becker et al. 2025, eq. 1 and 2).

    Raises
    ------
    ProtocolError
        If a value is not above 0.
    """
    if not 0 < t2 < math.inf:
        raise ProtocolError(f"t2 {t2:g}: give a time above 0 [s]")
    return 1 / (coupling_rate(quality, volume, gamma) * t2)


def resonator_time(quality: float, field: float, gamma: float = PROTON) -> float:
    """Return the time ``Q / (gamma B0)`` [s] in which the resonator follows; `modes.play` takes it for 0.

    Times of the spins, of which T2* over the inversion in units of the threshold is the least, have to be much longer.

    Parameters
    ----------
    quality
        Quality factor.
    field
        B0 [T].
    gamma
        Gyromagnetic ratio [rad/s/T].
    """
    return quality / (gamma * field)
