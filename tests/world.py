"""Images beside phantoms, in world coordinates."""

from __future__ import annotations

import numpy as np

from pulsetwin.sim.phantom import Phantom


def centres(phantom: Phantom) -> np.ndarray:
    """Return the places of a phantom's voxels, RAS [mm], ``[z, y, x, 3]``."""
    axes = [1e3 * (np.arange(n) - n // 2) * size for n, size in zip(phantom.grid, phantom.size[::-1], strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1)


def at_voxels(image: np.ndarray, affine: np.ndarray, phantom: Phantom) -> np.ndarray:
    """Return the values of an image ``[z, y, x]`` at a phantom's voxels; beyond its edges it repeats.

    `affine` leads from voxel index (x, y, z) to RAS [mm], ``[4, 4]``; the centres of the phantom's voxels must be
    centres of the image's.
    """
    place = np.linalg.inv(affine)[:3] @ np.append(centres(phantom), np.ones((*phantom.grid, 1)), -1)[..., None]
    nearest = np.rint(place)
    np.testing.assert_allclose(place, nearest, atol=1e-3)
    x, y, z = np.moveaxis(nearest[..., 0].astype(int), -1, 0)
    depth, height, width = image.shape
    return image[z % depth, y % height, x % width]
