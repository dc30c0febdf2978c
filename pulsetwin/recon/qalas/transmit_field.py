"""The transmit field on the grid of the images."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform, distance_transform_edt

from pulsetwin.errors import MismatchError
from pulsetwin.volume import Volume

_LEAST = 1e-3  # share of known voxels by which an interpolated value is known


def on_grid(field: Volume, affine: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a map on another grid, and where it was interpolated rather than continued, both ``[z, y, x]``.

    Values are interpolated linearly between valid voxels only; beyond these the nearest value counts.

    Parameters
    ----------
    field
        The map, on its own grid.
    affine
        Voxel index (x, y, z) of the wanted grid to scanner RAS [mm], ``[4, 4]``.
    shape
        Of the wanted grid, z, y, x.

    Raises
    ------
    MismatchError
        If the two grids do not overlap, or the map is nowhere valid.
    """
    valid = field.valid & np.isfinite(field.values)
    matrix = np.linalg.inv(field.affine) @ affine
    turn = {"matrix": matrix[2::-1, 2::-1], "offset": matrix[2::-1, 3], "output_shape": shape, "order": 1}
    known = np.where(valid, field.values, 0.0).astype(np.float64)
    weight = affine_transform(valid.astype(np.float64), mode="grid-constant", **turn)
    inside = weight > _LEAST
    if not inside.any():
        raise MismatchError(
            "the B1 map does not overlap the images: pass the map of this subject, in this session's coordinates"
        )
    values = affine_transform(known, mode="grid-constant", **turn)[inside] / weight[inside]
    result = np.empty(shape)
    result[inside] = values
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return result[tuple(nearest)], inside
