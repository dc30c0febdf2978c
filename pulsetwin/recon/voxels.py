"""Voxels of images that are worth a fit, as rows of numbers, and what was found in them as maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.nifti_images import same_grid
from pulsetwin.volume import Images, Volume

_DIM = 0.05  # part of the bright voxels' signal below which a voxel counts as empty


@dataclass(frozen=True, slots=True)
class Voxels:
    """The voxels of a scan that are not empty, and finite in all images.

    Parameters
    ----------
    data
        float64 ``[voxel, image]``.
    signed
        Whether `data` have signs; they are magnitudes if not.
    where
        Their places, bool ``[z, y, x]``.
    affine
        Voxel index (x, y, z) to scanner RAS [mm], ``[4, 4]``.
    """

    data: np.ndarray
    signed: bool
    where: np.ndarray
    affine: np.ndarray

    def volumes(self, found: Mapping[str, tuple[np.ndarray, str]], valid: np.ndarray) -> dict[str, Volume]:
        """Return maps of values ``[voxel]`` and their unit by name, which are 0 where not `valid`, ``[voxel]``."""
        good = np.zeros(self.where.shape, bool)
        good[self.where] = valid
        maps = {}
        for name, (values, unit) in found.items():
            volume = np.zeros(self.where.shape, np.float32)
            volume[good] = stored(values)[valid]
            maps[name] = Volume(volume, unit, self.affine, good)
        return maps

    def of(self, volume: Volume, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of another map here, and where it is valid, ``[voxel]``.

        Raises
        ------
        ProtocolError
            If it is not on the grid of the images.
        """
        if not same_grid(volume.values.shape, volume.affine, self.where.shape, self.affine):
            raise ProtocolError(
                f"{name} is {volume.values.shape}, the images are {self.where.shape}, or it lies elsewhere: resample "
                "it to the grid of the images"
            )
        return volume.values[self.where].astype(np.float64), volume.valid[self.where]


def voxels(images: Images, positive: int | None = None) -> Voxels:
    """Return the voxels of images.

    Parameters
    ----------
    images
        Complex, with signs, or magnitudes.
    positive
        The image that is positive, by which the signs of complex ones are told: one phase fits all images up to their
        signs. Complex images become magnitudes if None.

    Raises
    ------
    ProtocolError
        If no voxel is finite and not empty.
    """
    values = np.asarray(images.values)
    strength = np.sqrt(np.mean(np.abs(values.astype(np.complex128 if np.iscomplexobj(values) else float)) ** 2, 0))
    finite = np.isfinite(strength)
    bright = np.percentile(strength[finite], 99) if finite.any() else 0.0
    where = finite & (strength > _DIM * bright)
    if not where.any():
        raise ProtocolError("no voxel to map: the images are empty or not finite; give images with signal")
    data = values[:, where].T
    if not np.iscomplexobj(data):
        data = data.astype(np.float64)
        signed = bool((data < -_DIM * bright).any())  # resampled magnitudes may be a little below 0
        return Voxels(data, signed, where, images.affine)
    if positive is None:
        return Voxels(np.abs(data).astype(np.float64), False, where, images.affine)
    return Voxels(with_signs(data, positive), True, where, images.affine)


def stored(values: np.ndarray) -> np.ndarray:
    """Return values as float32, 0 where they are not finite or too large for it."""
    with np.errstate(over="ignore"):
        single = np.asarray(values).astype(np.float32)
    return np.where(np.isfinite(single), single, np.float32(0))


def with_signs(data: np.ndarray, positive: int) -> np.ndarray:
    """Return complex values ``[voxel, image]`` as real ones with signs.

    One phase fits all images up to their signs: half that of the sum of squares. Image `positive` is positive.
    """
    data = data.astype(np.complex128)
    common = np.exp(-0.5j * np.angle((data**2).sum(1)))
    turned: np.ndarray = (data * common[:, None]).real
    return turned * np.where(turned[:, [positive]] < 0, -1.0, 1.0)
