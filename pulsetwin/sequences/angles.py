"""Directions of spokes and turns of interleaves: uniform, or golden so that any run of them covers k-space evenly."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array

ORDERS = ("uniform", "golden")
GOLDEN = (np.sqrt(5) - 1) / 2
_MEANS = (0.4655712318767680, 0.6823278038280193)  # golden means of two dimensions: 1 / x^2 and 1 / x of x^3 = x^2 + 1


def turns(count: int, order: str, whole: float) -> Array:
    """Return `count` angles within `whole` [rad]: pi for spokes through the middle, 2 pi for what starts there.

    Golden angles advance by `whole` times 0.618 (Winkelmann et al., IEEE Trans Med Imaging 2007, 26, 68;
    doi:10.1109/TMI.2006.885337).

    Returns
    -------
    Array
        float64 ``[count]`` [rad].
    """
    number = np.arange(count)
    return whole * (number * GOLDEN % 1 if order == "golden" else number / count)


def in_plane(count: int, order: str, whole: float) -> Array:
    """Return unit vectors in the plane of x and y, float64 ``[count, 3]``, see `turns`."""
    angle = turns(count, order, whole)
    return np.stack((np.cos(angle), np.sin(angle), np.zeros(count)), axis=1)


def in_space(count: int, order: str, *, half: bool) -> Array:
    """Return unit vectors that cover the sphere evenly, or the `half` of it with z above 0, float64 ``[count, 3]``.

    In uniform order they wind down from the pole in equal steps of z, a golden angle apart (a Fibonacci lattice); in
    golden order z and the azimuth follow the golden means of two dimensions (Chan et al., Magn Reson Med 2009, 61, 354;
    doi:10.1002/mrm.21837).
    """
    number = np.arange(count)
    if order == "golden":
        height, turn = number * _MEANS[0] % 1, number * _MEANS[1] % 1
    else:
        height, turn = 1 - (number + 0.5) / count, number * GOLDEN % 1
    z = height if half else 2 * height - 1
    across = np.sqrt(1 - z**2)
    return np.stack((across * np.cos(2 * np.pi * turn), across * np.sin(2 * np.pi * turn), z), axis=1)
