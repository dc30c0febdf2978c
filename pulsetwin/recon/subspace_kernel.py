"""The normal operator of subspace SENSE beside its Fourier transforms: each array is passed through once."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, Any]


@numba.njit(nogil=True, cache=True, fastmath=True)
def spread(maps: Array, image: Array, out: Array) -> None:
    """Set coil images, ``out[x, k, c, r] = maps[x, c, r] image[x, k, r]``."""
    columns, terms, coils, points = out.shape
    for x in range(columns):
        for k in range(terms):
            for c in range(coils):
                for r in range(points):
                    out[x, k, c, r] = maps[x, c, r] * image[x, k, r]


@numba.njit(nogil=True, cache=True, fastmath=True)
def mix(data: Array, kernel: Array, sampled: Array) -> None:
    """Replace ``data[x, k, c, r]`` by ``sum_j kernel[r, k, j] data[x, j, c, r]``, or 0 where not ``sampled[r]``."""
    columns, terms, coils, points = data.shape
    old = np.empty(terms, data.dtype)
    for x in range(columns):
        for c in range(coils):
            for r in range(points):
                if not sampled[r]:
                    for k in range(terms):
                        data[x, k, c, r] = 0
                    continue
                for j in range(terms):
                    old[j] = data[x, j, c, r]
                for k in range(terms):
                    total = kernel[r, k, 0] * old[0]
                    for j in range(1, terms):
                        total += kernel[r, k, j] * old[j]
                    data[x, k, c, r] = total


@numba.njit(nogil=True, cache=True, fastmath=True)
def gathered(maps: Array, coil_images: Array, image: Array, regularisation: Array, out: Array) -> None:
    """Set ``out[x, k, r] = regularisation[k] image[x, k, r] + sum_c conj(maps[x, c, r]) coil_images[x, k, c, r]``."""
    columns, terms, coils, points = coil_images.shape
    for x in range(columns):
        for k in range(terms):
            for r in range(points):
                out[x, k, r] = regularisation[k] * image[x, k, r]
            for c in range(coils):
                for r in range(points):
                    out[x, k, r] += np.conj(maps[x, c, r]) * coil_images[x, k, c, r]
