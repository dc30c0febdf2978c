"""Modes of an object under a gradient: strips across the direction of projection, and their frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.raser.modes import play

Array = NDArray[np.float64]


def strip_frequencies(modes: int, width: float) -> Array:
    """Return the frequencies of strips that are `width` [Hz] wide, the farthest along the gradient last ``[mode]``.

    That is the lowest: the signal is ``exp(-2 pi i k r)``.
    """
    return -width * (np.arange(modes) - (modes - 1) / 2)


def random_start(inversion: Array, share: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Return amplitudes from which modes start, of normally distributed size and any phase, of the shape of inversions.

    Parameters
    ----------
    inversion
        In units of the threshold.
    share
        Standard deviation of the size, relative to the inversion.
    rng
        Random numbers.
    """
    size = share * inversion * abs(rng.standard_normal(inversion.shape))
    return size * np.exp(2j * np.pi * rng.random(inversion.shape))


def emitted(
    profiles: Array,
    totals: Array,
    frequency: Array,
    rng: np.random.Generator,
    *,
    t1: float,
    t2: float,
    share: float,
    dwell: float,
    samples: int,
    tolerance: float = 1e-6,
    **pump: Array | float,
) -> NDArray[np.complex128]:
    """Return the signal of projections with random starts, ``[projection, sample]``.

    Parameters
    ----------
    profiles
        Of the inversion, 0 or more, ``[projection, mode]``; their scale does not matter.
    totals
        Inversion of each projection in units of the threshold, ``[projection]``.
    frequency
        [Hz], ``[mode]`` or ``[projection, mode]``.
    rng, share
        As of `random_start`.
    t1, t2, dwell, samples, tolerance, pump
        As of `modes.play`.

    Raises
    ------
    ProtocolError
        If a projection is empty, or as `modes.play`.
    """
    sums = profiles.sum(1)
    if not (sums > 0).all():
        raise ProtocolError("a projection has no spins: there is nothing to emit")
    inversion = profiles * (totals / sums)[:, None]
    start = random_start(inversion, share, rng)
    signal = play(inversion, frequency, start, t1=t1, t2=t2, dwell=dwell, samples=samples, tolerance=tolerance, **pump)
    return signal.numpy()
