"""Radiological display: which way to turn a slice, and the patient's directions at its four edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
OBLIQUE = 0.35
# What the viewer sees at the right and at the top of the screen, as RAS axis and sign, for each plane.
SCREEN = {
    0: (("sagittal"), (1, -1), (2, 1)),
    1: (("coronal"), (0, -1), (2, 1)),
    2: (("axial"), (0, -1), (1, 1)),
}


@dataclass(frozen=True, slots=True)
class View:
    """How a slice ``[row, column]`` of an image is turned for display, and what its edges are called.

    Parameters
    ----------
    plane
        ``axial``, ``coronal`` or ``sagittal``: the nearest one.
    transpose, flip_rows, flip_columns
        Applied in this order by `turn`.
    left, right, top, bottom
        Directions of the patient such as ``R`` or, for an oblique edge, ``RA``.
    spacing
        Size of a displayed pixel, rows and columns [mm].
    """

    plane: str
    transpose: bool
    flip_rows: bool
    flip_columns: bool
    left: str
    right: str
    top: str
    bottom: str
    spacing: tuple[float, float]

    def turn(self, slices: np.ndarray) -> np.ndarray:
        """Return ``[..., row, column]`` as it is displayed, the first row on top."""
        turned = np.swapaxes(slices, -1, -2) if self.transpose else slices
        turned = turned[..., ::-1, :] if self.flip_rows else turned
        return turned[..., ::-1] if self.flip_columns else turned


def view(affine: np.ndarray, axes: tuple[int, int] = (1, 0)) -> View:
    """Return the radiological view of slices ``[row, column]``: the patient's right on the left of the screen.

    Axial slices have anterior on top, coronal and sagittal ones superior, sagittal ones anterior on the left.

    Parameters
    ----------
    affine
        Voxel index (x, y, z) to RAS [mm], ``[4, 4]``.
    axes
        Which of (x, y, z) runs along the rows' index and which along the columns' index.
    """
    rows, columns = affine[:3, axes[0]], affine[:3, axes[1]]
    plane, (right_axis, right_sign), (top_axis, top_sign) = SCREEN[int(np.argmax(np.abs(np.cross(rows, columns))))]
    transpose = bool(
        _share(rows, right_axis) + _share(columns, top_axis) > _share(columns, right_axis) + _share(rows, top_axis)
    )
    down, across = (columns, rows) if transpose else (rows, columns)
    flip_rows = bool(down[top_axis] * top_sign > 0)
    flip_columns = bool(across[right_axis] * right_sign < 0)
    up, right = (down if flip_rows else -down), (-across if flip_columns else across)
    spacing = (float(np.linalg.norm(down)), float(np.linalg.norm(across)))
    names = {"left": direction(-right), "right": direction(right), "top": direction(up), "bottom": direction(-up)}
    return View(plane, transpose, flip_rows, flip_columns, spacing=spacing, **names)


def direction(vector: np.ndarray) -> str:
    """Return the patient's direction a RAS vector points to: ``R``, or ``RA`` where it is oblique."""
    unit = np.asarray(vector) / np.linalg.norm(vector)
    order = np.argsort(-np.abs(unit), kind="stable")
    return "".join(LETTERS[i][int(unit[i] > 0)] for i in order if abs(unit[i]) >= OBLIQUE)


def _share(vector: np.ndarray, axis: int) -> float:
    """How far a vector lies along an axis, 0 to 1."""
    return float(abs(vector[axis]) / np.linalg.norm(vector))
