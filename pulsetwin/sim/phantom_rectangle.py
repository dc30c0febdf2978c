"""A rectangle whose tissue varies smoothly at random: training for maps that is like no anatomy."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_tissue import voxel_size

T1_RANGE = (0.3, 6.1)
"""Between which T1 is drawn [s]."""
_KNOTS = 4  # along an edge, between which properties are interpolated


def random_rectangle(
    matrix: tuple[int, int, int] = (1, 32, 32), fov: tuple[float, float, float] = (0.2, 0.2, 0.008), *, edge: int = 12,
    seed: int = 0,
) -> Phantom:  # fmt: skip
    """Return a square in the middle of the field of view.

    Proton density (0.3 to 1.5), T1 (0.3 to 6.1 s, equal in ratio), T2 (20 ms to T1 or 3.8 s, equal in ratio) and B0
    (-60 to 60 Hz) are drawn at 4 x 4 knots and interpolated linearly: their times as logarithms. T2' is infinite,
    nothing diffuses, and B1+ is 1. Ranges as in Loktyushin et al. 2021 (doi:10.1002/mrm.28727), but for densities and
    T2 that leave a signal.

    Parameters
    ----------
    matrix
        Voxels along z, y, x.
    fov
        Extent along x, y, z [m].
    edge
        Of the square [voxels].
    seed
        Of the random numbers.

    Raises
    ------
    ProtocolError
        If the square does not fit.
    """
    if not 1 <= edge <= min(matrix[1:]):
        raise ProtocolError(f"random_rectangle: an edge of {edge} voxels in a matrix of {matrix}: give one that fits")
    size = voxel_size(matrix, fov)
    generator = torch.Generator().manual_seed(seed)
    density, t1, t2, b0 = _smooth(torch.rand((4, _KNOTS, _KNOTS), generator=generator, dtype=torch.float64), edge)
    t1 = T1_RANGE[0] * (T1_RANGE[1] / T1_RANGE[0]) ** t1
    t2 = 0.02 * (t1.clamp_max(3.8) / 0.02) ** t2
    inside = [slice((n - edge) // 2, (n - edge) // 2 + edge) for n in matrix[1:]]

    def placed(values: Tensor) -> Tensor:
        whole = torch.zeros(matrix, dtype=torch.float64)
        whole[:, inside[0], inside[1]] = values
        return whole

    return Phantom(
        proton_density=placed(0.3 + 1.2 * density), t1=placed(t1), t2=placed(t2),
        t2_prime=torch.full(matrix, math.inf, dtype=torch.float64), diffusion=torch.zeros(matrix, dtype=torch.float64),
        b0=placed(120 * b0 - 60), b1=torch.ones((1, *matrix), dtype=torch.complex128),
        coils=torch.ones((1, *matrix), dtype=torch.complex128), size=size,
    )  # fmt: skip


def _smooth(knots: Tensor, edge: int) -> Tensor:
    """Return values at knots ``[value, knot, knot]``, interpolated to ``[value, edge, edge]``."""
    return interpolate(knots[None], (edge, edge), mode="bilinear", align_corners=True)[0]
