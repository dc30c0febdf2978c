"""Where each Cartesian readout belongs: which contrast, which slice, which k-space cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.rawdata import RawData, Readouts

CONTRAST_LABELS = ("ECO", "SET", "REP", "PHS")
"""Labels that tell contrasts apart; AVG, SEG and ACQ do not, and SLC counts slices."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The sorted positions of Cartesian readouts (along x) in a grid of contrasts, slices and k-space cells.

    Parameters
    ----------
    readouts
        The imaging readouts that are sorted here.
    shape
        Grid cells along x, y, z; x is the final number of voxels, without oversampling.
    fov
        Field of view along x, y, z [m].
    contrasts
        Labels of each contrast.
    slices
        Number of slices: 1 for 3D scans.
    contrast, slice_index, ky, kz
        Where each readout goes, int ``[readout]``.
    shift
        Offset of the y and z positions from the cells' centres, as a fraction of a cell.
    averages
        Highest number of readouts in one cell.
    """

    readouts: Readouts
    shape: tuple[int, int, int]
    fov: tuple[float, float, float]
    contrasts: tuple[dict[str, Any], ...]
    slices: int
    contrast: np.ndarray
    slice_index: np.ndarray
    ky: np.ndarray
    kz: np.ndarray
    shift: tuple[float, float]
    averages: int

    @property
    def cell(self) -> np.ndarray:
        """Flat index of each readout in ``[contrast, slice, kz, ky]``, int64 ``[readout]``."""
        _, ny, nz = self.shape
        image = self.contrast.astype(np.int64) * self.slices + self.slice_index
        return (image * nz + self.kz) * ny + self.ky

    def counts(self) -> np.ndarray:
        """Return how many readouts fell into each cell, int ``[contrast, slice, kz, ky]``."""
        _, ny, nz = self.shape
        size = len(self.contrasts) * self.slices * nz * ny
        return np.bincount(self.cell, minlength=size).reshape(len(self.contrasts), self.slices, nz, ny)


def is_cartesian(readouts: Readouts, fov: tuple[float, float, float], tolerance: float = 0.05) -> bool:
    """Tell whether every readout runs along x and starts on a lattice in y and z.

    Parameters
    ----------
    readouts
        Readouts with a trajectory.
    fov
        Field of view along x, y, z [m].
    tolerance
        Largest deviation, in units of ``1 / fov``.
    """
    if readouts.trajectory is None:
        return False
    shapes = readouts.trajectory.shapes[np.unique(readouts.trajectory.shape_index)]  # not those of a noise scan
    across = np.abs(shapes[:, :, 1:]) * np.array(fov[1:])
    if across.max(initial=0.0) > tolerance:
        return False
    along = shapes[:, :, 0]
    if np.ptp(along, axis=1).min(initial=np.inf) * fov[0] < 1:
        return False
    return all(_lattice(readouts.trajectory.offset[:, axis] * fov[axis])[2] < tolerance for axis in (1, 2))


def layout(raw: RawData, readouts: Readouts) -> tuple[Layout, list[str]]:
    """Sort Cartesian readouts by their trajectory and labels; return the layout and what had to be assumed.

    Parameters
    ----------
    raw
        The scan, for its geometry.
    readouts
        Imaging readouts of one length, with a Cartesian trajectory.

    Raises
    ------
    ProtocolError
        If the trajectory leaves the nominal matrix by more than rounding.
    """
    warnings: list[str] = []
    slices = int(readouts.label("SLC").max(initial=0)) + 1
    fov = raw.geometry.fov
    offset = readouts.trajectory.offset  # type: ignore[union-attr]
    ky, shift_y, _ = _lattice(offset[:, 1] * fov[1])
    kz, shift_z, _ = _lattice(offset[:, 2] * fov[2])
    if slices > 1 or raw.geometry.matrix[2] == 1:
        kz, shift_z = np.zeros_like(kz), 0.0
    shape = (_columns(readouts, raw), _lines(ky, raw, 1), _lines(kz, raw, 2))
    ky, kz = ((cells + n // 2) % n for cells, n in ((ky, shape[1]), (kz, shape[2])))
    contrasts, contrast = contrasts_of(readouts)
    sorted_ = Layout(
        readouts, shape, fov, contrasts, slices, contrast, readouts.label("SLC"), ky, kz, (shift_y, shift_z), 1
    )
    return _split_repeats(sorted_, warnings), warnings


def _lattice(position: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Split positions in cells into integers, one common fraction in [-0.5, 0.5), and the largest deviation."""
    turn = np.exp(2j * np.pi * position).mean()
    shift = float(np.angle(turn)) / (2 * np.pi)
    if shift > 0.499:
        shift -= 1.0
    cells = np.round(position - shift).astype(np.int64)
    deviation = float(np.abs(position - shift - cells).max(initial=0.0))
    return cells, shift, deviation


def _columns(readouts: Readouts, raw: RawData) -> int:
    """Voxels along x: the nominal matrix, or what the readout's extent resolves."""
    if raw.geometry.matrix[0] > 1:
        return raw.geometry.matrix[0]
    along = readouts.trajectory.shapes[:, :, 0]  # type: ignore[union-attr]
    return max(round(float(np.ptp(along, axis=1).max()) * raw.geometry.fov[0] + 0.5), 1)


def _lines(cells: np.ndarray, raw: RawData, axis: int) -> int:
    """Cells along y or z: the nominal matrix, else what the trajectory spans; ``+n/2`` and ``-n/2`` are one cell."""
    nominal = raw.geometry.matrix[axis]
    low, high = int(cells.min(initial=0)), int(cells.max(initial=0))
    if nominal > 1 and max(-low, high) <= nominal // 2 and high - low < nominal:
        return nominal
    if nominal > 1:
        raise ProtocolError(
            f"the trajectory runs from line {low} to {high} along {'xyz'[axis]} but the matrix is {nominal}: "
            "check that the .seq belongs to this scan and that its FOV definition is right"
        )
    return high - low + 1 if abs(low + high) <= 1 else max(-2 * low, 2 * high + 2)


def contrasts_of(readouts: Readouts) -> tuple[tuple[dict[str, Any], ...], np.ndarray]:
    """Index the distinct combinations of contrast labels, in label order."""
    table = np.stack([readouts.label(name) for name in CONTRAST_LABELS], axis=1)
    rows, index = np.unique(table, axis=0, return_inverse=True)
    varying = [i for i in range(len(CONTRAST_LABELS)) if np.ptp(rows[:, i])]
    contrasts = tuple({CONTRAST_LABELS[i]: int(row[i]) for i in varying} for row in rows)
    return contrasts, index.reshape(-1)


def _split_repeats(plan: Layout, warnings: list[str]) -> Layout:
    """Tell averages from unlabelled repetitions where a cell was acquired more than once."""
    counts = plan.counts()
    most = int(counts.max(initial=0))
    if most <= 1:
        return plan
    acquired = counts[counts > 0]
    labelled = bool(np.ptp(plan.readouts.label("AVG")))
    if labelled or acquired.min() != most or len(plan.contrasts) > 1:
        if not labelled:
            warnings.append(f"some k-space lines were acquired up to {most} times without an AVG label: averaged")
        return replace(plan, averages=most)
    warnings.append(f"every k-space line was acquired {most} times without labels: taken as {most} repetitions")
    repeat = _occurrence(plan.cell)
    return replace(plan, contrasts=tuple({"REP": i} for i in range(most)), contrast=repeat)


def _occurrence(cell: np.ndarray) -> np.ndarray:
    """Count, for each entry, how many equal ones came before it."""
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    first = np.concatenate([[0], np.nonzero(np.diff(ordered))[0] + 1])
    run = np.repeat(first, np.diff(np.concatenate([first, [len(cell)]])))
    result = np.empty(len(cell), np.int64)
    result[order] = np.arange(len(cell)) - run
    return result
