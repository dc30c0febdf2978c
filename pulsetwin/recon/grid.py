"""Read Cartesian readouts part by part into a hybrid-space grid: image along x, k-space along y and z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.layout import Layout
from pulsetwin.recon.profiles import ProfileTransform, delayed, profile_transform

PART_BYTES = 64 << 20
"""Samples held at once while reading [byte]."""


@dataclass(frozen=True, slots=True)
class LinePhase:
    """A phase ``constant + slope * (x - x_centre)`` that each readout's profile is multiplied by.

    Parameters
    ----------
    constant
        Phase at the centre of the field of view [rad], ``[readout]``.
    slope
        Phase per voxel [rad], ``[readout]``.
    """

    constant: np.ndarray
    slope: np.ndarray

    def factor(self, part: slice, voxels: int) -> Tensor:
        """Return the unit factors of some readouts, complex128 ``[readout, 1, x]``."""
        x = np.arange(voxels) - voxels // 2
        return torch.from_numpy(np.exp(1j * (self.constant[part, None, None] + self.slope[part, None, None] * x)))


def profile_transforms(plan: Layout, delay: float = 0.0) -> list[ProfileTransform]:
    """Return the transform along x of each trajectory shape, for a gradient that lags by `delay` [s]."""
    trajectory, dwell = plan.readouts.trajectory, plan.readouts.dwell
    assert trajectory is not None
    transforms = []
    for index, shape in enumerate(trajectory.shapes):
        member = np.nonzero(trajectory.shape_index == index)[0]
        if not len(member):
            transforms.append(ProfileTransform(lambda samples: samples, np.ones(1)))
            continue
        position = shape[:, 0] + trajectory.offset[member[0], 0]
        transforms.append(profile_transform(delayed(position, delay / dwell[member[0]]), plan.fov[0], plan.shape[0]))
    return transforms


def profiles(
    plan: Layout,
    part: slice | np.ndarray,
    transforms: list[ProfileTransform],
    coil_matrix: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Return the profiles along x of some readouts, ``[readout, coil, x]``.

    Parameters
    ----------
    plan
        Where the readouts belong.
    part
        Which of them.
    transforms
        One per trajectory shape.
    coil_matrix
        Whitening and compression ``[virtual, coil]``, or None to keep the coils.
    dtype
        Complex type of the result.
    """
    samples = torch.as_tensor(np.ascontiguousarray(plan.readouts.samples[part]))
    samples = samples.to(dtype if coil_matrix is None else coil_matrix.dtype)
    if coil_matrix is not None:
        samples = samples.to(coil_matrix.device)
        samples = torch.matmul(coil_matrix, samples)
    index = plan.readouts.trajectory.shape_index[part]  # type: ignore[union-attr]
    shapes = np.unique(index)
    if len(shapes) == 1:
        return transforms[int(shapes[0])](samples)
    result = samples.new_empty((*samples.shape[:2], plan.shape[0]))
    for shape in shapes:
        member = torch.from_numpy(np.nonzero(index == shape)[0])
        result[member] = transforms[int(shape)](samples[member])
    return result


def grid(
    plan: Layout,
    *,
    coil_matrix: Tensor,
    delay: float = 0.0,
    phase: LinePhase | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Sort a Cartesian scan into hybrid space; lines acquired more than once are averaged.

    Memory is the result and one part of `PART_BYTES`, whatever the size of the scan.

    Parameters
    ----------
    plan
        Where each readout belongs.
    coil_matrix
        Whitening and compression ``[virtual, coil]``; its device and type are those of the result.
    delay
        Lag of the readout gradient [s].
    phase
        Phase to multiply each readout's profile by.
    progress
        Called with readouts done and in total.

    Returns
    -------
    Tensor
        ``[contrast, slice, kz, ky, virtual, x]``.
    """
    counts = plan.counts()
    hybrid = _summed(plan, plan.cell, counts.size, coil_matrix, delay, phase, progress)
    if plan.averages > 1:
        hybrid /= torch.from_numpy(counts).to(hybrid.device).reshape(-1, 1, 1).clamp(min=1)
    return hybrid.reshape(*counts.shape, *hybrid.shape[1:])


def gather(plan: Layout, *, coil_matrix: Tensor, progress: Progress = silent) -> Tensor:
    """Return the profiles of all readouts in their order, ``[readout, virtual, x]``; parameters as for `grid`."""
    rows = np.arange(len(plan.readouts))
    return _summed(plan, rows, len(rows), coil_matrix, 0.0, None, progress)


def _summed(
    plan: Layout, rows: np.ndarray, count: int, coil_matrix: Tensor, delay: float, phase: LinePhase | None,
    progress: Progress,
) -> Tensor:  # fmt: skip
    """Return the sums ``[row, virtual, x]`` of the readouts that go to each of `count` rows."""
    virtual, voxels = coil_matrix.shape[0], plan.shape[0]
    result = torch.zeros((count, virtual, voxels), dtype=coil_matrix.dtype, device=coil_matrix.device)
    index = torch.from_numpy(rows).to(result.device)
    transforms = profile_transforms(plan, delay)
    readouts, coils, samples = plan.readouts.samples.shape
    step = max(1, PART_BYTES // (coils * samples * 8))
    for start in range(0, readouts, step):
        part = slice(start, min(start + step, readouts))
        lines = profiles(plan, part, transforms, coil_matrix, result.dtype)
        if phase is not None:
            lines = lines * phase.factor(part, voxels).to(lines.device, lines.dtype)
        result.index_add_(0, index[part], lines)
        progress(part.stop, readouts, "reading")
    return result
