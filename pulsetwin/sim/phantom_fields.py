"""Smooth static and transmit fields, the way a head or a bottle of water bends them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA = 42.577478518e6  # proton [Hz/T]
_AIR = 9.4e-6  # susceptibility of air less that of water
_CENTRE_EDGE = {1.5: (1.03, 0.95), 3.0: (1.15, 0.80), 7.0: (1.25, 0.50)}


def air_field(
    coordinates: tuple[Tensor, Tensor, Tensor], spheres: Sequence[tuple[tuple[float, float, float], float]],
    field_strength: float,
) -> Tensor:  # fmt: skip
    """Return the off-resonance [Hz] around spheres of air in water, ``[z, y, x]``, with B0 along z.

    ``gamma B0 chi / 3 (a / r)^3 (3 cos^2 theta - 1)`` outside a sphere of radius a. Inside it, where nothing is, the
    value at its surface is kept in place of the singularity.

    Parameters
    ----------
    coordinates
        Along z, y, x [m], as from `phantom_tissue.coordinates`.
    spheres
        Centre along x, y, z [m] and radius [m] of each.
    field_strength
        [T].
    """
    z, y, x = coordinates
    total = torch.zeros(torch.broadcast_shapes(z.shape, y.shape, x.shape), dtype=torch.float64)
    for (cx, cy, cz), radius in spheres:
        squared = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2).clamp_min(1e-12)
        cosine = (z - cz) ** 2 / squared
        total += radius**3 / squared.clamp_min(radius**2) ** 1.5 * (3 * cosine - 1)
    return total * (_GAMMA * field_strength * _AIR / 3)


def shim_residue(coordinates: tuple[Tensor, Tensor, Tensor], field_strength: float) -> Tensor:
    """Return what a shim of first order leaves, a fixed quadratic field of 0.05 ppm at 0.1 m [Hz], ``[z, y, x]``."""
    z, y, x = (axis / 0.1 for axis in coordinates)
    shape = (x**2 - y**2) + 0.6 * (2 * z**2 - x**2 - y**2) + 0.5 * x * z - 0.4 * y * z + 0.3 * x * y
    return 0.05e-6 * _GAMMA * field_strength * shape


def transmit_field(coordinates: tuple[Tensor, Tensor, Tensor], field_strength: float, radius: float = 0.1) -> Tensor:
    """Return a relative transmit field that is bright at the centre, the more so the higher B0, real ``[z, y, x]``.

    ``edge + (centre - edge) exp(-ln 10 rho^2)``: `centre` at the origin and within a tenth of `edge` at `radius`, with
    a slope of 3 percent from side to side and half of the fall along z. 1.03 and 0.95 at 1.5 T, 1.15 and 0.80 at 3 T,
    1.25 and 0.50 at 7 T. Without phase, which a receiver could not tell from that of the coils.
    """
    z, y, x = (axis / radius for axis in coordinates)
    centre, edge = _CENTRE_EDGE[field_strength]
    fall = torch.exp(-2.302585093 * (x**2 + y**2 + 0.5 * z**2))
    return (edge + (centre - edge) * fall) * (1 + 0.03 * x.clamp(-1, 1))
