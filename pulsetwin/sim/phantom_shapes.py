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

_CUT = 1 << 15  # voxels whose points are counted at a time, to bound the memory
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
        z, y, x = (axis.flatten()[kept] for axis, kept in zip(at, box, strict=True))
        cover = _cover(shape, (z[:, None, None], y[None, :, None], x[None, None, :]), size)
        sums[(slice(None), *box)] = (1 - cover) * sums[(slice(None), *box)] + cover * row[:, None, None, None]
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


def _cover(shape: Ellipsoid, at: tuple[Tensor, Tensor, Tensor], size: tuple[float, float, float]) -> Tensor:
    """Return the share that `shape` covers of the voxels at z, y, x, counting points within those that it cuts."""
    distance = _distance(shape, *at)
    reach = _reach(shape, size)
    cover = (distance < 1).to(torch.float64)
    cut = torch.nonzero((distance - 1).abs() < reach, as_tuple=True)
    fine = (torch.arange(_FINE, dtype=torch.float64) + 0.5) / _FINE - 0.5
    grid = torch.meshgrid(fine, fine, fine, indexing="ij")
    steps = [axis.flatten() * edge for axis, edge in zip(grid, size[::-1], strict=True)]
    parts = zip(*(indices.split(_CUT) for indices in cut), strict=True)
    for part in parts:
        centres = (axis.flatten()[indices] for axis, indices in zip(at, part, strict=True))
        points = (centre[:, None] + step for centre, step in zip(centres, steps, strict=True))
        cover[part] = (_distance(shape, *points) <= 1).to(torch.float64).mean(1)
    return cover


def _distance(shape: Ellipsoid, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the distance of points from the centre of `shape`, 1 at its surface."""
    x, y, z = x - shape.centre[0], y - shape.centre[1], z - shape.centre[2]
    cosine, sine = math.cos(shape.angle), math.sin(shape.angle)
    a, b, c = shape.axes
    return (((x * cosine + y * sine) / a) ** 2 + ((y * cosine - x * sine) / b) ** 2 + (z / c) ** 2).sqrt()


def _reach(shape: Ellipsoid, size: tuple[float, float, float]) -> float:
    """Return by how much `_distance` can differ between the centre of a voxel and any point in it, at most."""
    x, y, z = (edge / 2 for edge in size)
    cosine, sine = abs(math.cos(shape.angle)), abs(math.sin(shape.angle))
    a, b, c = shape.axes
    return math.hypot((x * cosine + y * sine) / a, (x * sine + y * cosine) / b, z / c)
