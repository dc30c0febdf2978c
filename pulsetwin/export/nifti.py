"""NIfTI-1 files: arrays ``[contrast, z, y, x]`` of ours become ``[x, y, z, contrast]`` with the scanner's affine."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import ShapeError
from pulsetwin.volume import Images


def write_nifti(
    path: str | Path, values: np.ndarray, affine: np.ndarray, *, spacing: float = 0.0, force: bool = False
) -> None:
    """Write real values as float32 NIfTI, atomically.

    Both qform and sform carry `affine` with code 1 (scanner coordinates); units are mm and s.

    Parameters
    ----------
    path
        File ending in ``.nii`` or ``.nii.gz``.
    values
        Real ``[z, y, x]`` or ``[contrast, z, y, x]``, written as ``[x, y, z]`` or ``[x, y, z, contrast]``.
    affine
        Voxel index (x, y, z) to scanner RAS [mm], ``[4, 4]``.
    spacing
        Time between contrasts [s]; 0 where contrasts are not a time series.
    force
        Whether to replace an existing file.
    """
    if values.ndim not in (3, 4) or np.iscomplexobj(values):
        raise ShapeError(f"values are {values.dtype} {values.shape}: give real [z, y, x] or [contrast, z, y, x]")
    image = nibabel.Nifti1Image(np.asarray(values, np.float32).T, np.asarray(affine, np.float64))
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], spacing))
    with atomic_file(path, force=force) as temporary:
        nibabel.save(image, temporary)


def write_magnitude(path: str | Path, images: Images, *, force: bool = False) -> None:
    """Write the magnitude of `images` as NIfTI ``[x, y, z, contrast]``, in the units of `images`."""
    write_nifti(path, np.abs(images.values), images.affine, force=force)


def write_snr(path: str | Path, images: Images, *, force: bool = False) -> None:
    """Write the SNR map of `images` (see `snr`) as NIfTI ``[x, y, z, contrast]``."""
    write_nifti(path, snr(images), images.affine, force=force)


def write_complex(path: str | Path, images: Images, *, force: bool = False) -> None:
    """Write the complex values ``[contrast, z, y, x]`` as a NumPy file, as they are."""
    with atomic_file(path, force=force) as temporary, temporary.open("wb") as file:
        np.save(file, images.values, allow_pickle=False)


def snr(images: Images) -> np.ndarray:
    """Return the signal-to-noise ratio ``|m| / sigma`` of each voxel, float32 ``[contrast, z, y, x]``.

    ``sigma`` is `Images.noise_std`, the standard deviation of the noise of the real part, so that the ratio is the one
    that repeated scans would give (Kellman and McVeigh 2005, https://doi.org/10.1002/mrm.20713). Voxels of unknown
    noise (sigma = 0) get 0.

    Raises
    ------
    ShapeError
        If the noise of `images` is unknown, or of another shape.
    """
    if images.noise_std is None or images.noise_std.shape != images.values.shape[1:]:
        found = None if images.noise_std is None else images.noise_std.shape
        raise ShapeError(f"noise_std is {found} for images {images.values.shape}: give noise of the same grid")
    known = images.noise_std > 0
    return np.where(known, np.abs(images.values) / np.where(known, images.noise_std, 1), 0).astype(np.float32)
