"""Phantoms painted from ellipsoids, spheres and tubes, with partial volume at their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_fields import shim_residue, transmit_field
from pulsetwin.sim.phantom_tissue import Tissue, coordinates, mixed, nearest_field, voxel_size

_FINE = 5  # points along each axis of a voxel: a sphere 8 voxels wide has its volume within 0.3 percent


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid filled with one substance, or with an infinite third half axis a tube along z.

    Parameters
    ----------
    centre
        Along x, y, z [m].
    axes
        Half axes along its own x, y, z [m].
    tissue
        What fills it; None leaves it empty.
    angle
        By which it is turned around z, counter-clockwise [rad].
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    tissue: Tissue | None
    angle: float = 0.0


def painted(
    matrix: tuple[int, int, int],
    fov: tuple[float, float, float],
    shapes: Sequence[Ellipsoid],
    *,
    field_strength: float | None = None,
) -> Phantom:
    """Return a phantom of `shapes`, each painted over those before it.

    A voxel that a shape covers in part keeps the rest of what was there, in proportion; `phantom_tissue.mixed` says
    how properties combine.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m].
    shapes
        In order of painting.
    field_strength
        Bend B0 and B1+ smoothly as at 1.5, 3 or 7 T; by default they are 0 Hz and 1.
    """
    size = voxel_size(matrix, fov)
    at = coordinates(matrix, size)
    sums = torch.zeros((5, *matrix), dtype=torch.float64)
    for shape in shapes:
        box = _box(shape, matrix, size)
        row = torch.tensor(shape.tissue.row if shape.tissue else (0.0,) * 5, dtype=torch.float64)
        for plane in range(box[0].start, box[0].stop):  # planes at a time bound the memory
            part = (slice(plane, plane + 1), *box[1:])
            cover = _cover(shape, tuple(axis.flatten()[kept] for axis, kept in zip(at, part, strict=True)), size)
            sums[(slice(None), *part)] = (1 - cover) * sums[(slice(None), *part)] + cover * row[:, None, None, None]
    b0, b1 = torch.zeros(matrix, dtype=torch.float64), torch.ones(matrix, dtype=torch.float64)
    if field_strength is not None:
        b0, b1 = shim_residue(at, field_strength), transmit_field(at, nearest_field(field_strength))
    return mixed(sums, size, b0, b1)


def _box(
    shape: Ellipsoid, matrix: tuple[int, int, int], size: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    """Return the voxels along z, y, x among which those that `shape` touches are."""
    a, b, c = shape.axes
    cosine, sine = math.cos(shape.angle), math.sin(shape.angle)
    reach = math.hypot(a * cosine, b * sine), math.hypot(a * sine, b * cosine), c
    kept = []
    for axis, count in zip((2, 1, 0), matrix, strict=True):
        low, high = ((shape.centre[axis] + sign * reach[axis]) / size[axis] + count // 2 for sign in (-1, 1))
        first = min(max(low, -1.0), count)
        last = min(max(high, -1.0), count)
        kept.append(slice(max(math.floor(first + 0.5), 0), min(math.ceil(last + 0.5), count)))
    return kept[0], kept[1], kept[2]


def _cover(shape: Ellipsoid, at: tuple[Tensor, ...], size: tuple[float, float, float]) -> Tensor:
    """Return the share that `shape` covers of the voxels at the positions `at` along z, y, x, by points within each."""
    fine = (torch.arange(_FINE, dtype=torch.float64) + 0.5) / _FINE - 0.5
    z, y, x = ((axis[:, None] + fine * size[2 - i]).flatten() - shape.centre[2 - i] for i, axis in enumerate(at))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    cosine, sine = math.cos(shape.angle), math.sin(shape.angle)
    a, b, c = shape.axes
    inside = ((x * cosine + y * sine) / a) ** 2 + ((y * cosine - x * sine) / b) ** 2 + (z / c) ** 2 <= 1
    counts = [len(axis) for axis in at]
    parts = inside.reshape(counts[0], _FINE, counts[1], _FINE, counts[2], _FINE)
    return parts.to(torch.float64).mean((1, 3, 5))
