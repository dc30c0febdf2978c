"""Random images of shapes, as networks that undo distortions of RASER images are trained with (Becker et al. 2025).

Between 2 and 20 shapes of random opacity, four in five discs and the others polygons of 4 to 8 corners, are drawn over
each other, most with a line; every second image is blurred and three in ten are noisy. A mask leaves a part: a disc, a
square, a star, a scribble, or a ring, which stands for the publication's logos.

Shapes are drawn in fractions of the width, so that equal random numbers give the same object on any grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pulsetwin.errors import ShapeError

Array = NDArray[np.float64]
_MASKS = {"disc": 0.56, "square": 0.24, "ring": 0.1, "star": 0.05, "scribble": 0.05}
_GRAIN = 44  # cells of the noise along an edge, on any grid
_STROKES = 6


def random_image(rng: np.random.Generator, size: int = 44) -> Array:
    """Return an image of values from 0 to 1, its largest 1, ``[y, x]``.

    Parameters
    ----------
    rng
        Random numbers; what is drawn from it does not depend on `size`.
    size
        Pixels along an edge, 8 or more.

    Raises
    ------
    ShapeError
        If there are too few pixels.
    """
    if size < 8:
        raise ShapeError(f"size {size}: give at least 8 pixels")
    axis = (np.arange(size) + 0.5) / size - 0.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    image = np.zeros((size, size))
    for _ in range(rng.integers(2, 21)):
        opacity, value, inside = rng.random(), rng.random(), _shape(rng, x, y)
        image += opacity * inside * (value - image)
    if rng.random() < 0.8:
        image += rng.random() * (_along(x, y, rng.uniform(-0.5, 0.5, (2, 2)), rng.uniform(0.005, 0.03)) - image)
    width, blurred = rng.uniform(0.01, 0.04), rng.random() < 0.5
    grain, noisy = rng.uniform(0.02, 0.1) * rng.standard_normal((_GRAIN, _GRAIN)), rng.random() < 0.3
    if blurred:
        image = gaussian_filter(image, width * size)
    if noisy:
        cell = np.minimum((axis + 0.5) * _GRAIN, _GRAIN - 1).astype(int)
        image += grain[cell[:, None], cell]
    image = np.clip(image, 0, 1) * _mask(rng, x, y)
    return image / image.max() if image.max() > 0 else _mask_of("disc", rng, x, y)


def _shape(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Return where a disc or a polygon is."""
    centre, radius = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.04, 0.35)
    if rng.random() < 0.8:
        return np.hypot(x - centre[0], y - centre[1]) < radius
    corners = rng.integers(4, 9)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    away = radius * rng.uniform(0.5, 1.0, corners)
    return _polygon(x, y, centre + away[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))


def _mask(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Return the part of the image that there is: half of its width to all of it, off the centre by up to a quarter."""
    kind = rng.choice(list(_MASKS), p=list(_MASKS.values()))
    half = rng.uniform(0.25, 0.5)
    across, down = rng.uniform(-1, 1, 2) * min(0.25, 0.5 - half + 0.05)
    return _mask_of(str(kind), rng, (x - across) / half, (y - down) / half)


def _mask_of(kind: str, rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Return a mask in a field from -1 to 1."""
    away = np.hypot(x, y)
    if kind == "disc":
        return (away < 1).astype(float)
    if kind == "square":
        return (np.maximum(abs(x), abs(y)) < 1).astype(float)
    if kind == "ring":
        return ((away < 1) & (away > rng.uniform(0.3, 0.7))).astype(float)
    if kind == "star":
        tips = rng.integers(4, 8)
        angles = np.arange(2 * tips) * np.pi / tips + rng.uniform(0, np.pi)
        away = np.where(np.arange(2 * tips) % 2, rng.uniform(0.4, 0.6), 1.0)
        return _polygon(x, y, away[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(float)
    corners, width = rng.uniform(-0.9, 0.9, (_STROKES, 2)), rng.uniform(0.1, 0.25)
    lines = [_along(x, y, corners[number : number + 2], width) for number in range(_STROKES - 1)]
    return np.max(lines, axis=0).astype(float)


def _polygon(x: Array, y: Array, corners: Array) -> Array:
    """Return which places an odd number of the polygon's edges lies above."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        crosses = (x0 > x) != (x1 > x)
        inside ^= crosses & (y < y0 + (x - x0) * (y1 - y0) / (x1 - x0 if x1 != x0 else 1.0))
    return inside


def _along(x: Array, y: Array, ends: Array, width: float) -> Array:
    """Return which places are within half a width of the line between two ends ``[end, (x, y)]``."""
    start, along = ends[0], ends[1] - ends[0]
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along), 0, 1)
    return np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1]) < width / 2
