"""Images and maps as they travel: voxel values with an affine, a unit and a validity mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.rawdata import Geometry


def affine_ras(geometry: Geometry, matrix: tuple[int, int, int]) -> np.ndarray:
    """Return the affine from voxel index (x, y, z) to scanner RAS [mm], float64 ``[4, 4]``.

    Voxel ``n // 2`` of each in-plane axis lies on the centre of the field of view. Several slices are spaced by the
    distance of their centres, otherwise by the slice thickness.

    Parameters
    ----------
    geometry
        Field of view [m], rotation and slice centres.
    matrix
        Voxels along x, y, z of the image at hand.
    """
    step = geometry.rotation * (np.array(geometry.fov) / np.array(matrix))
    slices = len(geometry.centers)
    origin = geometry.centers[0]
    if slices > 1:
        step[:, 2] = (geometry.centers[-1] - geometry.centers[0]) / (slices - 1)
        centre_voxel = np.array([matrix[0] // 2, matrix[1] // 2, 0])
    else:
        if matrix[2] == 1:
            step[:, 2] = geometry.rotation[:, 2] * geometry.fov[2]
        centre_voxel = np.array(matrix) // 2
    affine = np.eye(4)
    affine[:3, :3] = 1e3 * step
    affine[:3, 3] = 1e3 * (origin - step @ centre_voxel)
    return affine


@dataclass(frozen=True, slots=True)
class Images:
    """Complex images ``[contrast, z, y, x]`` of one scan.

    Parameters
    ----------
    values
        Complex voxel values ``[contrast, z, y, x]``.
    affine
        Voxel index (x, y, z) to scanner RAS [mm], ``[4, 4]``.
    contrasts
        One dictionary per contrast: its labels (``ECO``, ``SET``, ``REP``, ...) and times.
    noise_std
        Standard deviation of the noise in the real (and in the imaginary) part of each voxel ``[z, y, x]``, in the
        units of `values`; ``abs(values) / noise_std`` is the signal-to-noise ratio. None if unknown.
    quality
        Figures such as the ghost level, each a plain number.
    warnings
        One sentence for each assumption or repair.
    extras
        Further magnitude volumes ``[z, y, x]`` worth a figure, such as ``uncorrected`` (before ghost correction).
    """

    values: np.ndarray
    affine: np.ndarray
    contrasts: tuple[dict[str, Any], ...]
    noise_std: np.ndarray | None = None
    quality: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or len(self.contrasts) != self.values.shape[0]:
            raise ShapeError(
                f"images are {self.values.shape} with {len(self.contrasts)} contrasts: give [contrast, z, y, x]"
            )

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z [mm]."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True)
class Volume:
    """A quantitative map: real values ``[z, y, x]`` with a unit.

    Parameters
    ----------
    values
        Voxel values ``[z, y, x]`` in `unit`.
    unit
        SI unit such as ``s`` or ``Hz``; empty for a ratio.
    affine
        Voxel index (x, y, z) to scanner RAS [mm], ``[4, 4]``.
    valid
        Where the values can be trusted, bool ``[z, y, x]``.
    """

    values: np.ndarray
    unit: str
    affine: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True, slots=True)
class Maps:
    """Quantitative maps of one scan.

    Parameters
    ----------
    volumes
        Name to map.
    warnings
        One sentence for each assumption.
    """

    volumes: dict[str, Volume]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Volume:
        return self.volumes[name]
