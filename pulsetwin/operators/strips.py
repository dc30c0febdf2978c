"""Projections of square pixels onto strips: the areas they share, as one sparse matrix."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from pulsetwin.errors import ShapeError

_TINY = 1e-9  # sine or cosine below which a side of the pixel is taken as parallel to the strip


def strip_areas(
    matrix: tuple[int, int], angles: np.ndarray, modes: int, *, per_pixel: float = 1.0, inside: np.ndarray | None = None
) -> csr_array:
    """Return the share of each pixel's area in each strip across a direction: ``[angle * mode, y * x]``.

    Strips are ``1 / per_pixel`` pixels wide, stacked along ``(cos a, sin a)`` and centred on the middle of the image.
    Each column of an angle sums to 1 where the strips cover the pixel: projections keep the integral. The transpose
    is exact.

    Parameters
    ----------
    matrix
        Pixels along y and x; pixel ``(n - 1) / 2`` is the middle.
    angles
        Directions of projection ``[angle]`` [rad], from x towards y.
    modes
        Strips of an angle.
    per_pixel
        Strips in a pixel's width, above 0.
    inside
        Pixels that there are, bool ``[y, x]``; the columns of the others are left out. All if None.

    Raises
    ------
    ShapeError
        If there are no pixels, no strips, no angles, or `inside` is of another shape.
    """
    if min(*matrix, modes) < 1 or np.ndim(angles) != 1 or not len(angles) or per_pixel <= 0:
        raise ShapeError(f"pixels {matrix}, {modes} strips at {np.shape(angles)} angles: give at least one of each")
    inside = np.ones(matrix, bool) if inside is None else inside
    if inside.shape != tuple(matrix):
        raise ShapeError(f"inside is {inside.shape}, pixels are {matrix}: give one value for each pixel")
    y, x = (place - (count - 1) / 2 for place, count in zip(np.nonzero(inside), matrix, strict=True))
    reach = int(np.ceil(np.sqrt(2) * per_pixel)) + 1
    rows, columns, shares = [], [], []
    for number, angle in enumerate(angles):
        cosine, sine = np.cos(angle), np.sin(angle)
        centre = per_pixel * (x * cosine + y * sine) + modes / 2  # in strips from the edge of the first
        first = np.floor(centre - reach / 2).astype(int)
        edges = first[:, None] + np.arange(reach + 2)
        share = np.diff(_area_below((edges - centre[:, None]) / per_pixel, abs(cosine), abs(sine)), axis=1)
        kept = (share > 0) & (edges[:, :-1] >= 0) & (edges[:, :-1] < modes)
        rows.append((number * modes + edges[:, :-1])[kept])
        columns.append(np.nonzero(kept)[0])
        shares.append(share[kept])
    where = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.concatenate(shares), where), shape=(len(angles) * modes, len(x)))


def _area_below(place: np.ndarray, one: float, other: float) -> np.ndarray:
    """Return the area of a unit square, its sides projecting to lengths `one` and `other`, below a place [pixel]."""
    if min(one, other) < _TINY:
        return np.clip(place + 0.5, 0.0, 1.0)
    corners = [(one + other) / 2, (one - other) / 2]
    ramps = [np.maximum(place + sign * corner, 0) ** 2 for corner in corners for sign in (1, -1)]
    return np.clip((ramps[0] - ramps[2] - ramps[3] + ramps[1]) / (2 * one * other), 0.0, 1.0)
