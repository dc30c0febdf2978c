"""Voxels of images that are worth a fit, as rows of numbers, and what was found in them as maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.nifti_images import same_grid
from pulsetwin.volume import Images, Volume

_DIM = 0.05  # part of the bright voxels' signal below which a voxel counts as empty
_LARGEST_SHIFT = 3.0  # that fields have, and beyond which a map is probably not in ppm [ppm]


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
        """Return maps of values ``[voxel]`` and their unit by name.

        They are 0 where not `valid`, ``[voxel]``; one that is not finite there is 0 and not valid itself.
        """
        maps = {}
        for name, (values, unit) in found.items():
            volume, good = np.zeros(self.where.shape, np.float32), np.zeros(self.where.shape, bool)
            good[self.where] = valid & np.isfinite(_single(values))
            volume[self.where] = np.where(valid, stored(values), 0)
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


def water_shift(found: Voxels, b0: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift of water of a map [ppm], and where it is valid, ``[voxel]``.

    Raises
    ------
    ProtocolError
        If it is not on the grid of the images, or too large to be in ppm.
    """
    shift, known = found.of(b0, "B0")
    if known.any() and np.percentile(np.abs(shift[known]), 95) > _LARGEST_SHIFT:
        raise ProtocolError(f"B0: shifts reach {np.abs(shift[known]).max():.3g} ppm: give a map in ppm, not in Hz")
    return shift, known


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
    single = _single(values)
    return np.where(np.isfinite(single), single, np.float32(0))


def _single(values: np.ndarray) -> np.ndarray:
    """Return values as float32, infinite where they are too large for it."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def with_signs(data: np.ndarray, positive: int) -> np.ndarray:
    """Return complex values ``[voxel, image]`` as real ones with signs.

    One phase fits all images up to their signs: half that of the sum of squares. Image `positive` is positive.
    """
    data = data.astype(np.complex128)
    common = np.exp(-0.5j * np.angle((data**2).sum(1)))
    turned: np.ndarray = (data * common[:, None]).real
    return turned * np.where(turned[:, [positive]] < 0, -1.0, 1.0)
