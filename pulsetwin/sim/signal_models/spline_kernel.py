"""Values and slopes of a `spline_table.SplineTable`, one place at a time, for compiled code."""

from __future__ import annotations

import numba
import numpy as np

INNER = {"cache": True, "error_model": "numpy"}


@numba.njit(**INNER)
def spline_at(coefficients, count, first, step, where, axis, value, slope):
    """Write the values at a place, and their slopes along one of the axes.

    Parameters
    ----------
    coefficients
        Of the table, its axes flattened, ``[row, quantity]``.
    count, first, step
        Knots, first knot and distance of knots of each axis, ``[axis]``; at most three.
    where
        Coordinates, ``[axis]``; those beyond the knots count as the end.
    axis
        Of the slopes.
    value, slope
        What is written, ``[quantity]``.
    """
    value[:], slope[:] = 0.0, 0.0
    row, stride, axes = np.zeros(3, np.int64), np.zeros(3, np.int64), len(count)
    weight, bend, reach = np.ones((3, 4)), np.ones((3, 4)), np.ones(3, np.int64)
    size = 1
    for k in range(axes - 1, -1, -1):
        place = min(max((where[k] - first[k]) / step[k], 0.0), count[k] - 1.0)
        row[k], stride[k], reach[k] = int(place), size, 4
        size *= count[k] + 3
        t = place - row[k]
        u = 1.0 - t
        weight[k] = u**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (4 - 6 * u**2 + 3 * u**3) / 6, t**3 / 6
        bend[k] = weight[k]
        if k == axis:
            bend[k] = -(u**2) / 2, 1.5 * t**2 - 2 * t, 2 * u - 1.5 * u**2, t**2 / 2
            bend[k] /= step[k]
    for i in range(reach[0]):
        for j in range(reach[1]):
            for k in range(reach[2]):
                here = (row[0] + i) * stride[0] + (row[1] + j) * stride[1] + (row[2] + k) * stride[2]
                along, across = weight[0, i] * weight[1, j] * weight[2, k], bend[0, i] * bend[1, j] * bend[2, k]
                for q in range(len(value)):
                    value[q] += along * coefficients[here, q]
                    slope[q] += across * coefficients[here, q]
