"""Whether times lie on a raster, within the rounding of a file's nanoseconds."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array

TIME = 0.6e-9
"""What times in files may be off by [s]."""


def off_raster(time: Array, raster: float) -> Array:
    """Return whether each time [s] misses the raster [s]."""
    return np.abs(time - np.round(time / raster) * raster) > TIME
