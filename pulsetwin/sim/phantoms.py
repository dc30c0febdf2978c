"""Phantoms to simulate with: a brain, test bottles and drawings, by function or by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_brain import brain as brain
from pulsetwin.sim.phantom_grid import resample
from pulsetwin.sim.phantom_nifti import load
from pulsetwin.sim.phantom_nist import nist as nist
from pulsetwin.sim.phantom_shapes import Ellipsoid, painted
from pulsetwin.sim.phantom_tissue import WATER, Tissue, mixed, voxel_size

Matrix = tuple[int, int, int]
Lengths = tuple[float, float, float]

_SLICE: Matrix = (1, 128, 128)
_FOV: Lengths = (0.22, 0.22, 0.005)

# Proton density, T1, T2 [s] of the parts of the Shepp-Logan head, then half axes and centre along x, y, z in halves of
# the field of view, and angle [degrees].
_HEAD = (
    (1.0, 0.35, 0.07, (0.69, 0.92, 0.81), (0.0, 0.0, 0.0), 0),
    (0.2, 0.85, 0.07, (0.6624, 0.874, 0.78), (0.0, -0.0184, 0.0), 0),
    (0.0, 1.0, 1.0, (0.11, 0.31, 0.22), (0.22, 0.0, 0.0), -18),
    (0.0, 1.0, 1.0, (0.16, 0.41, 0.28), (-0.22, 0.0, 0.0), 18),
    (0.3, 1.3, 0.1, (0.21, 0.25, 0.41), (0.0, 0.35, -0.15), 0),
    (0.3, 1.3, 0.1, (0.046, 0.046, 0.05), (0.0, 0.1, 0.25), 0),
    (0.3, 1.3, 0.1, (0.046, 0.046, 0.05), (0.0, -0.1, 0.25), 0),
    (0.3, 2.0, 0.2, (0.046, 0.023, 0.05), (-0.08, -0.605, 0.0), 0),
    (0.3, 2.0, 0.2, (0.023, 0.023, 0.02), (0.0, -0.606, 0.0), 0),
    (0.3, 2.0, 0.2, (0.023, 0.046, 0.02), (0.06, -0.605, 0.0), 0),
)


def shepp_logan(matrix: Matrix = _SLICE, fov: Lengths = _FOV, field_strength: float | None = None) -> Phantom:
    """Return the modified Shepp-Logan head, filling the field of view, with the usual proton densities.

    Densities are those of the modified phantom (Toft 1996): 1 in the skull, 0.2 in the brain, 0 in the ventricles and
    0.3 in the lesions, each drawn over those before it. T1 and T2 are of our choosing: 0.35 s and 70 ms; 0.85 s and
    70 ms; lesions 1.3 s and 100 ms or 2 s and 200 ms.

    Parameters
    ----------
    matrix
        Voxels along z, y, x. A single slice has the classic flat drawing, more have ellipsoids.
    fov
        Extent along x, y, z [m].
    field_strength
        Bend B0 and B1+ smoothly as at 1.5, 3 or 7 T; by default they are 0 Hz and 1.
    """
    shapes = []
    for density, t1, t2, axes, centre, angle in _HEAD:
        half = [length / 2 for length in fov]
        place = (centre[0] * half[0], centre[1] * half[1], 0.0 if matrix[0] == 1 else centre[2] * half[2])
        reach = (axes[0] * half[0], axes[1] * half[1], math.inf if matrix[0] == 1 else axes[2] * half[2])
        tissue = Tissue(density, t1, t2) if density else None
        shapes.append(Ellipsoid(place, reach, tissue, math.radians(angle)))
    return painted(matrix, fov, shapes, field_strength=field_strength)


def vials(
    matrix: Matrix = _SLICE,
    fov: Lengths = _FOV,
    field_strength: float | None = None,
    *,
    tissues: Sequence[Tissue] | None = None,
    background: Tissue | None = None,
) -> Phantom:
    """Return tubes along z on a ring, the first at +x and the others counter-clockwise from +x to +y.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m]; the ring's radius is 0.32 of the smaller of x and y.
    field_strength
        Bend B0 and B1+ smoothly as at 1.5, 3 or 7 T; by default they are 0 Hz and 1.
    tissues
        What fills them; by default 8 with T1 from 0.2 to 3 s and T2 from 20 to 400 ms, both in equal ratios.
    background
        What fills a bottle around them, 0.45 of the smaller field of view in radius; by default nothing.
    """
    if tissues is None:
        tissues = [Tissue(1.0, 0.2 * 15 ** (n / 7), 0.02 * 20 ** (n / 7), diffusion=2.0e-9) for n in range(8)]
    if not tissues:
        raise ProtocolError("vials: there are no tissues: give at least one")
    length = min(fov[:2])
    radius = length * min(0.10, 0.32 * 0.8 * math.sin(math.pi / max(len(tissues), 2)))
    shapes = []
    if background is not None:
        shapes.append(Ellipsoid((0.0, 0.0, 0.0), (0.45 * length, 0.45 * length, math.inf), background))
    for number, tissue in enumerate(tissues):
        angle = 2 * math.pi * number / len(tissues)
        centre = (0.32 * length * math.cos(angle), 0.32 * length * math.sin(angle), 0.0)
        shapes.append(Ellipsoid(centre, (radius, radius, math.inf), tissue))
    return painted(matrix, fov, shapes, field_strength=field_strength)


def tube(matrix: Matrix = _SLICE, fov: Lengths = _FOV, field_strength: float | None = None) -> Phantom:
    """Return a tube of water along z, its diameter 0.554 of the field of view: 4.1 mm in the 7.4 mm of RASER scans.

    It is off the centre by 0.05 and 0.03 of the field of view towards +x and +y, so that mirror images differ.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m].
    field_strength
        Bend B0 and B1+ smoothly as at 1.5, 3 or 7 T; by default they are 0 Hz and 1.
    """
    radius = 0.5 * 0.554 * min(fov[:2])
    shape = Ellipsoid((0.05 * fov[0], 0.03 * fov[1], 0.0), (radius, radius, math.inf), WATER)
    return painted(matrix, fov, [shape], field_strength=field_strength)


def single_voxel(
    tissue: Tissue = WATER, size: Lengths = (1e-3, 1e-3, 1e-3), *, b0: float = 0.0, b1: complex = 1.0
) -> Phantom:
    """Return one voxel at the origin.

    Parameters
    ----------
    tissue
        What fills it.
    size
        Its edges along x, y, z [m].
    b0
        Off-resonance [Hz].
    b1
        Relative transmit field.
    """
    grid = (1, 1, 1)
    row = torch.tensor(tissue.row, dtype=torch.float64).reshape(5, 1, 1, 1)
    b1_map = torch.full(grid, b1, dtype=torch.complex128)
    return mixed(row, voxel_size(grid, size), torch.full(grid, b0, dtype=torch.float64), b1_map)


def random_sparse(
    matrix: Matrix = (1, 32, 32), fov: Lengths = (0.2, 0.2, 0.008), *, blocks: int = 5, largest: int = 4, seed: int = 0
) -> Phantom:
    """Return a few rectangles of random size, place and properties, to train sequences that know no anatomy.

    Each has its own proton density (0.1 to 1.5), T1 (0.3 to 6 s, equal in ratio), T2 (10 ms to T1 or 3.8 s, equal in
    ratio), T2' (20 to 500 ms, equal in ratio), diffusion (0 to 3e-9 m^2/s), B0 (-60 to 60 Hz) and B1+ (0.8 to 1.2).
    Later ones cover those before them.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m].
    blocks
        Number of rectangles, at least 1.
    largest
        Longest edge [voxels].
    seed
        Of the random numbers; equal seeds give equal phantoms.
    """
    if blocks < 1 or largest < 1:
        raise ProtocolError(f"random_sparse: {blocks} blocks of up to {largest} voxels: give at least 1 of each")
    size = voxel_size(matrix, fov)
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    sums: Tensor = torch.zeros((5, *matrix), dtype=torch.float64)
    b0, b1 = torch.zeros(matrix, dtype=torch.float64), torch.ones(matrix, dtype=torch.float64)
    for _ in range(blocks):
        edges = [int(torch.randint(1, min(largest, n) + 1, (), generator=generator)) for n in matrix]
        first = [int(torch.randint(0, n - e + 1, (), generator=generator)) for n, e in zip(matrix, edges, strict=True)]
        block = tuple(slice(a, a + e) for a, e in zip(first, edges, strict=True))
        t1 = math.exp(uniform(math.log(0.3), math.log(6.0)))
        t2 = math.exp(uniform(math.log(0.01), math.log(min(t1, 3.8))))
        t2_prime = math.exp(uniform(math.log(0.02), math.log(0.5)))
        tissue = Tissue(uniform(0.1, 1.5), t1, t2, t2_prime, uniform(0.0, 3e-9))
        sums[(slice(None), *block)] = torch.tensor(tissue.row, dtype=torch.float64)[:, None, None, None]
        b0[block], b1[block] = uniform(-60.0, 60.0), uniform(0.8, 1.2)
    return mixed(sums, size, b0, b1)


_NAMED: dict[str, Callable[[Matrix, Lengths, float], Phantom]] = {
    "brain": brain,
    "nist": nist,
    "shepp-logan": shepp_logan,
    "tube": tube,
    "vials": vials,
}


def phantom_by_name(
    name: str, matrix: Matrix | None = None, fov: Lengths | None = None, field_strength: float = 3.0
) -> Phantom:
    """Return a phantom by its name, or from NIfTI.

    Parameters
    ----------
    name
        ``brain``, ``nist``, ``shepp-logan``, ``tube``, ``vials``, or the path of a folder or file for
        `phantom_nifti.load`.
    matrix
        Voxels along z, y, x; by default one slice of 128 x 128, or the file's own.
    fov
        Extent along x, y, z [m]; by default 220 mm and a slice of 5 mm, or the file's own.
    field_strength
        [T]; a file is what it is at any field.

    Raises
    ------
    ProtocolError
        If the name is neither known nor that of something that exists, or the field strength has no values.
    """
    if name in _NAMED:
        return _NAMED[name](matrix or _SLICE, fov or _FOV, field_strength)
    if not Path(name).exists() and not name.endswith((".nii", ".nii.gz")):
        known = ", ".join(_NAMED)
        raise ProtocolError(f"phantom {name!r} is not known: give {known}, or the path of a NIfTI file or folder")
    phantom = load(name)
    return phantom if matrix is None and fov is None else resample(phantom, matrix or phantom.grid, fov)
