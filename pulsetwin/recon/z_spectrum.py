"""Z-spectra: correction of a shift of B0 by interpolation, and the asymmetry of the magnetisation transfer ratio."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from pulsetwin.errors import ProtocolError, ShapeError

_BLOCK = 8192
_DIGITS = 4  # of ppm, in which offsets that are written as different may be meant as one


def shifted(z: np.ndarray, offsets: np.ndarray, shift: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return Z at offsets from the water of each voxel, by a cubic spline through what was measured, ``[voxel, k]``.

    Not a number beyond the measured offsets: nothing is extrapolated.

    Parameters
    ----------
    z
        ``[voxel, image]``; images of one offset are averaged.
    offsets
        From the scanner's frequency [ppm], ``[image]``, in any order.
    shift
        Of water from the scanner's frequency [ppm], ``[voxel]``.
    wanted
        Offsets from water [ppm], ``[k]``.

    Raises
    ------
    ShapeError
        If the shapes do not agree, or there are fewer than four offsets.
    """
    if z.ndim != 2 or z.shape != (len(shift), len(offsets)):
        raise ShapeError(f"Z is {z.shape} for {len(shift)} shifts and {len(offsets)} offsets: give [voxel, image]")
    knots, place = _distinct(offsets)
    if len(knots) < 4:
        raise ShapeError(f"Z-spectra of {len(knots)} offsets cannot be interpolated: give at least 4")
    average = np.zeros((len(offsets), len(knots)))
    average[np.arange(len(offsets)), place] = 1 / np.bincount(place)[place]
    result = np.empty((len(z), len(wanted)))
    for first in range(0, len(z), _BLOCK):
        rows = slice(first, first + _BLOCK)
        parts = CubicSpline(knots, z[rows] @ average, axis=1).c  # [power, interval, voxel]
        at = wanted + shift[rows, None]
        interval = np.clip(np.searchsorted(knots, at, "right") - 1, 0, len(knots) - 2)
        along, here = at - knots[interval], np.arange(len(at))[:, None]
        value = parts[0, interval, here]
        for part in parts[1:]:
            value = value * along + part[interval, here]
        result[rows] = np.where((at >= knots[0] - 1e-9) & (at <= knots[-1] + 1e-9), value, np.nan)
    return result


def asymmetry(
    z: np.ndarray, offsets: np.ndarray, shift: np.ndarray, span: tuple[float, float]
) -> np.ndarray:  # fmt: skip
    """Return MTRasym ``Z(-w) - Z(w)``, its mean over offsets w from water between two, ``[voxel]``.

    Parameters
    ----------
    z, offsets, shift
        As in `shifted`.
    span
        Lowest and highest w [ppm], positive; one offset if they are equal.

    Raises
    ------
    ProtocolError
        If they are not positive, out of order, or beyond all offsets on one side.
    """
    low, high = span
    if not 0 < low <= high:
        raise ProtocolError(f"MTRasym from {low:g} to {high:g} ppm: give positive offsets, the lower one first")
    if offsets.min() > -high or offsets.max() < high:
        raise ProtocolError(
            f"MTRasym at {high:g} ppm: the images have offsets from {offsets.min():g} to {offsets.max():g} ppm: give "
            "one that both sides of water have"
        )
    step = np.diff(_distinct(offsets)[0]).min()
    wanted = np.linspace(low, high, 1 + int(np.ceil((high - low) / step - 1e-9)))
    return (shifted(z, offsets, shift, -wanted) - shifted(z, offsets, shift, wanted)).mean(1)


def _distinct(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different ones of offsets [ppm], and which of them each is."""
    return np.unique(np.round(offsets, _DIGITS), return_inverse=True)
