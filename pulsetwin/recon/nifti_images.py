"""NIfTI files as images, maps and labels: arrays ``[x, y, z, contrast]`` become ``[contrast, z, y, x]``."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from pulsetwin.errors import FileError, MismatchError
from pulsetwin.volume import Images, Volume

_DAMAGE = (
    nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, EOFError, ValueError,
    KeyError, TypeError, OverflowError, zlib.error,
)  # fmt: skip
_APART = 1e-2  # of a voxel, by which grids may differ and still be the same
_NOT_RELATIVE = (0.2, 3.0)  # what the median of a relative map lies between


def read_images(paths: Sequence[str | Path]) -> Images:
    """Return the contrasts of one 4D file, or of several files in the given order, with what had to be assumed.

    Complex values stay complex; others are magnitudes, or have signs if some are negative. Integers are taken as
    proportional to the signal.

    Parameters
    ----------
    paths
        NIfTI files of one grid.

    Raises
    ------
    FileError
        If a file is damaged, or is no image of three or four dimensions.
    MismatchError
        If the grids differ.
    """
    parts = [_read(Path(path)) for path in paths]
    values, affine, _ = parts[0]
    for path, (other, place, _) in zip(paths[1:], parts[1:], strict=True):
        if not same_grid(other.shape[1:], place, values.shape[1:], affine):
            raise MismatchError(
                f"{path} is not on the grid of {paths[0]}: {_grid(other, place)}, not {_grid(values, affine)}; give "
                "images of one scan, not resampled"
            )
    joined = np.concatenate([one for one, _, _ in parts]) if len(parts) > 1 else values
    warnings = tuple(_assumed(joined, [header for _, _, header in parts]))
    return Images(joined, affine, ({},) * len(joined), warnings=warnings)


def read_relative(path: str | Path, nominal: float = 1.0) -> Volume:
    """Return a map whose values are divided by `nominal`, valid where they are finite and positive.

    Raises
    ------
    FileError
        If the file is damaged, not one real volume, or its median is not about `nominal`.
    """
    values, affine, _ = _read(Path(path))
    if len(values) != 1 or np.iscomplexobj(values):
        raise FileError(path, f"holds {len(values)} volumes of {values.dtype}", "give one real volume")
    scaled = values[0].astype(np.float64) / nominal
    valid = np.isfinite(scaled) & (scaled > 0)
    middle = float(np.median(scaled[valid])) if valid.any() else 0.0
    if not _NOT_RELATIVE[0] < middle < _NOT_RELATIVE[1]:
        raise FileError(
            path, f"its median is {middle * nominal:.4g}, that of a relative map would be about {nominal:g}",
            "tell with --b1-nominal which value means the nominal flip angle, as 800 in maps of Siemens' turbo-FLASH",
        )  # fmt: skip
    return Volume(scaled, "", affine, valid)


def read_shift(path: str | Path) -> Volume:
    """Return a map of the shift of water [ppm]; see `read_map`."""
    return read_map(path, "ppm")


def read_map(path: str | Path, unit: str) -> Volume:
    """Return a map in a `unit`, valid where it is finite and not exactly 0.

    Raises
    ------
    FileError
        If the file is damaged, or not one real volume.
    """
    values, affine, _ = _read(Path(path))
    if len(values) != 1 or np.iscomplexobj(values):
        raise FileError(path, f"holds {len(values)} volumes of {values.dtype}", "give one real volume")
    held = values[0].astype(np.float64)
    return Volume(held, unit, affine, np.isfinite(held) & (held != 0))


def read_labels(path: str | Path, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return whole numbers ``[z, y, x]`` on the grid of `affine` and `shape`.

    Raises
    ------
    FileError
        If the file is damaged, or not one volume of whole numbers.
    MismatchError
        If its grid is another.
    """
    values, place, _ = _read(Path(path))
    if len(values) != 1 or np.iscomplexobj(values) or not np.array_equal(values, np.round(values)):
        raise FileError(path, "is not one volume of whole numbers", "give a volume of labels, 0 where there is none")
    if not same_grid(values.shape[1:], place, shape, affine):
        raise MismatchError(f"{path} is {_grid(values, place)}, the images are {shape}: resample it to their grid")
    return values[0].astype(np.int64)


def same_grid(shape: tuple[int, ...], affine: np.ndarray, other: tuple[int, ...], place: np.ndarray) -> bool:
    """Return whether two grids ``[z, y, x]`` are one: no voxel is farther than 1 % of its size from its partner."""
    if shape != other:
        return False
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in shape[::-1]), [1], indexing="ij"), -1).reshape(-1, 4)
    apart = np.linalg.norm((corners @ (affine - place).T)[:, :3], axis=1).max()
    return bool(apart < _APART * np.linalg.norm(place[:3, :3], axis=0).min())


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, nibabel.Nifti1Header]:
    """Return the values ``[contrast, z, y, x]``, the affine [mm] and the header of a file."""
    try:
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj)
    except _DAMAGE as error:
        raise FileError(path, f"cannot be read as NIfTI ({error})", "give an intact .nii or .nii.gz file") from None
    if values.ndim not in (3, 4) or 0 in values.shape or values.dtype.kind not in "iufc":
        raise FileError(path, f"holds {values.dtype} {values.shape}", "give numbers of three or four dimensions")
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown") or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
        raise FileError(path, f"its affine is singular or in {unit}", "write voxel sizes and places in mm")
    return (values[..., None] if values.ndim == 3 else values).T, np.asarray(image.affine, np.float64), image.header


def _assumed(values: np.ndarray, headers: Sequence[nibabel.Nifti1Header]) -> list[str]:
    """Return a sentence for what is not plain in images."""
    said = []
    stored = sorted({str(header.get_data_dtype()) for header in headers})
    if all(header.get_data_dtype().kind in "iu" for header in headers):
        factors = [float(np.nan_to_num(header["scl_slope"], nan=1.0)) or 1.0 for header in headers]
        scaled = " by their factors in the headers" if any(factor != 1 for factor in factors) else ""
        said.append(
            f"The images are integers ({', '.join(stored)}), as from DICOM: taken as proportional to the signal"
            f"{scaled or ', by one factor for all contrasts'}; maps of the signal are in their units."
        )
    if not np.iscomplexobj(values) and not (values < 0).any():
        said.append(
            "The images are magnitudes: signs, where a method needs them, are those that explain each voxel best."
        )
    if any(not header["sform_code"] and not header["qform_code"] for header in headers):
        said.append("The images do not state where they lie: voxels are placed about their centre.")
    damaged = ~np.isfinite(values).all(0)
    if damaged.any():
        said.append(f"{int(damaged.sum())} voxels are not finite in some image: they are not mapped.")
    return said


def _grid(values: np.ndarray, affine: np.ndarray) -> str:
    """Return a grid in words."""
    size = " x ".join(f"{mm:.4g}" for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return f"{' x '.join(map(str, values.shape[:0:-1]))} voxels of {size} mm from {np.round(affine[:3, 3], 2).tolist()}"
