"""The brain of the ICBM152 template as a phantom."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_fields import air_field, shim_residue, transmit_field
from pulsetwin.sim.phantom_grid import overlap
from pulsetwin.sim.phantom_tissue import brain_tissues, coordinates, mixed, nearest_field, voxel_size

# Frontal and sphenoid sinuses and both ear canals: centre in MNI space [m], radius [m].
_AIR = (
    ((0.0, 0.062, -0.030), 0.014), ((0.0, 0.020, -0.048), 0.014),
    ((-0.060, -0.025, -0.045), 0.009), ((0.060, -0.025, -0.045), 0.009),
)  # fmt: skip
_ISOCENTRE = (0.0, -0.017, 0.010)


def brain(
    matrix: tuple[int, int, int] = (1, 128, 128),
    fov: tuple[float, float, float] = (0.22, 0.22, 0.005),
    field_strength: float = 3.0,
    *,
    isocentre: tuple[float, float, float] = _ISOCENTRE,
    fields: bool = True,
) -> Phantom:
    """Return a brain with partial volume, from the ICBM152 2009a template (Fonov et al. 2009).

    x points to the patient's right, y to anterior and z to superior.
    Tissue fractions of the template, on 1 mm, are averaged over each voxel by area; `phantom_tissue.mixed` says how
    their properties combine, `phantom_tissue.brain_tissues` what these are. There is no skull, scalp or fat.

    Parameters
    ----------
    matrix
        Voxels along z, y, x; the default is one axial slice through the ventricles.
    fov
        Extent along x, y, z [m]: of one slice, the last is its thickness.
    field_strength
        1.5, 3 or 7 [T].
    isocentre
        Point of MNI space that lies at the origin, along x, y, z [m].
    fields
        Whether B0 bends around the sinuses and ear canals (hundreds of Hz at 3 T near them, where a real shim would
        leave less) and B1+ is bright at the centre; otherwise 0 Hz and 1.

    Raises
    ------
    ProtocolError
        For another field strength.
    ShapeError
        If `matrix` or `fov` are not of three axes.
    """
    size, field = voxel_size(matrix, fov), nearest_field(field_strength)
    tissues = brain_tissues(field)
    rows = torch.tensor([tissues[name].row for name in ("grey", "white", "fluid")], dtype=torch.float64)
    sums = torch.einsum("tr,tzyx->rzyx", rows, _fractions(matrix, size, isocentre))
    at = coordinates(matrix, size)
    b0, b1 = torch.zeros(matrix, dtype=torch.float64), torch.ones(matrix, dtype=torch.float64)
    if fields:
        shift = [(tuple(c - o for c, o in zip(centre, isocentre, strict=True)), radius) for centre, radius in _AIR]
        b0 = air_field(at, shift, field_strength) + shim_residue(at, field_strength)
        b1 = transmit_field(at, field)
    return mixed(sums, size, b0, b1)


def _fractions(
    matrix: tuple[int, int, int], size: tuple[float, float, float], isocentre: tuple[float, float, float]
) -> Tensor:
    """Return the fractions of grey matter, white matter and fluid in each voxel, ``[3, z, y, x]``."""
    template, first = _template()
    result = template
    for axis in range(3):  # z, y, x
        count, edge = template.shape[axis + 1], size[2 - axis]
        start = first[2 - axis] - isocentre[2 - axis] - 0.5e-3
        weights = overlap(start, 1e-3, count, -(matrix[axis] // 2 + 0.5) * edge, edge, matrix[axis])
        used = torch.nonzero(weights.any(0))[:, 0]
        if not len(used):
            return torch.zeros((3, *matrix), dtype=torch.float64)
        kept = slice(int(used[0]), int(used[-1]) + 1)
        result, weights = result[:, kept], weights[:, kept]
        result = torch.tensordot(result, weights, ([1], [1]))  # the next axis comes to the front, this one to the end
    return result.contiguous()


@cache
def _template() -> tuple[Tensor, tuple[float, float, float]]:
    """Return the template ``[3, z, y, x]``, float64, and its first voxel's centre in MNI space along x, y, z [m]."""
    with resources.files("pulsetwin.sim").joinpath("data/brain_tissue.npz").open("rb") as file, np.load(file) as data:
        grey, fluid, total = (data[name].T.astype(np.float64) / 20 for name in ("gm", "csf", "total"))
        x, y, z = (1e-3 * data["affine"][:3, 3]).tolist()
    fractions = np.ascontiguousarray(np.stack((grey, (total - grey - fluid).clip(0), fluid)))
    return torch.from_numpy(fractions), (x, y, z)
