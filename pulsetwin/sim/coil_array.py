"""Receive arrays: circular loops on a cylinder, by the law of Biot and Savart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.special import ellipe, ellipk
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_tissue import coordinates

MAX_CHANNELS = 32
_WIRE = 0.02  # distance from the wire, in loop radii, below which the field is held: a conductor has a thickness


def loop_field(points: Tensor, centre: Tensor, normal: Tensor, radius: float) -> Tensor:
    """Return the magnetic field of a circular loop of current in units of ``mu_0 I``, the closed Biot-Savart integral.

    With the elliptic integrals K and E of ``m = 4 a rho / ((a + rho)^2 + h^2)``, at height h over the loop's plane and
    distance rho from its axis (Smythe, Static and Dynamic Electricity; Simpson et al., NASA/TM-2013-217919)::

        B_h   = (K + E (a^2 - rho^2 - h^2) / ((a - rho)^2 + h^2)) / (2 pi sqrt((a + rho)^2 + h^2))
        B_rho = h / rho (-K + E (a^2 + rho^2 + h^2) / ((a - rho)^2 + h^2)) / (2 pi sqrt((a + rho)^2 + h^2))

    Parameters
    ----------
    points
        Positions [m], float64 ``[*points, 3]``.
    centre, normal
        Of the loop [m], and unit vector around which the current runs counter-clockwise, float64 ``[3]``.
    radius
        [m].

    Returns
    -------
    Tensor
        Field [1/m], float64 ``[*points, 3]``.
    """
    a = radius
    offset = points - centre
    height = offset @ normal
    across = offset - height[..., None] * normal
    rho = across.norm(dim=-1)
    near = ((a - rho) ** 2 + height**2).clamp_min((_WIRE * a) ** 2)
    far = near + 4 * a * rho  # (a + rho)^2 + h^2 away from the wire
    m = (4 * a * rho / far).numpy()
    k, e = torch.from_numpy(np.asarray(ellipk(m))), torch.from_numpy(np.asarray(ellipe(m)))
    scale = 1 / (2 * math.pi * far.sqrt())
    along = scale * (k + e * (a**2 - rho**2 - height**2) / near)
    # K and E cancel near the axis, where the leading term of the series is exact to 1e-8 of the field.
    close = rho < 1e-4 * a
    safe = torch.where(close, 1.0, rho)
    outward = scale * height / safe**2 * (e * (a**2 + rho**2 + height**2) / near - k)
    outward = torch.where(close, 0.75 * a**2 * height / (a**2 + height**2) ** 2.5, outward)
    return along[..., None] * normal + outward[..., None] * across


def array_loops(channels: int, radius: float) -> tuple[Tensor, float]:
    """Return the centres of the loops of an array [m], ``[channel, 3]``, and the radius of each [m].

    Up to 8 loops form one ring around z, up to 16 two and more three; rings are turned against each other by half a
    loop. Loops touch the cylinder at their centres, and overlap with their neighbours by a tenth, but have at most
    0.7 of the cylinder's radius.

    Parameters
    ----------
    channels
        1 to `MAX_CHANNELS`.
    radius
        Of the cylinder [m].
    """
    if not 1 <= channels <= MAX_CHANNELS:
        raise ProtocolError(f"coil array: {channels} channels: give 1 to {MAX_CHANNELS}")
    if not radius > 0:
        raise ProtocolError(f"coil array: the radius is {radius:g} m: give more than 0")
    rings = min(math.ceil(channels / 8), 3)
    counts = [channels // rings + (ring < channels % rings) for ring in range(rings)]
    loop = radius * min(1.1 * math.tan(math.pi / max(counts[0], 4)), 0.7)
    centres = []
    for ring, count in enumerate(counts):
        angle = 2 * math.pi * (torch.arange(count, dtype=torch.float64) + 0.5 * (ring % 2)) / count
        height = torch.full_like(angle, (ring - (rings - 1) / 2) * 1.6 * loop)
        centres.append(torch.stack((radius * angle.cos(), radius * angle.sin(), height), -1))
    return torch.cat(centres), loop


def coil_sensitivities(phantom: Phantom, channels: int, radius: float | None = None) -> Tensor:
    """Return the receive sensitivities of an array around z, complex128 ``[coil, z, y, x]``.

    By reciprocity (Hoult and Richards 1976) a coil receives ``M+`` with ``B_x - i B_y`` of its field at unit current.
    The field is quasi-static: wavelength and loading are left out, so that at 7 T real maps have more phase. The root
    of the sum of squares over the coils is 1 at the origin.

    Parameters
    ----------
    phantom
        Whose grid to take.
    channels
        1 to `MAX_CHANNELS`.
    radius
        Of the cylinder that the loops touch [m]; by default 1.2 times half the larger of the fields of view along x
        and y. Voxels within 2 percent of a loop's radius from its wire have the field at that distance.

    Raises
    ------
    ProtocolError
        For a number of channels or a radius out of range.
    ShapeError
        If `phantom` is not on the CPU.
    """
    if phantom.proton_density.is_cuda:
        raise ShapeError("coil array: the phantom is on a GPU: make coils on the CPU and move it afterwards")
    centres, loop = array_loops(channels, 0.6 * max(phantom.fov[:2]) if radius is None else radius)
    z, y, x = coordinates(phantom.grid, phantom.size)
    points = torch.stack(torch.broadcast_tensors(x, y, z), -1)
    maps = torch.empty((channels, *phantom.grid), dtype=torch.complex128)
    centre_power = 0.0
    for channel, centre in enumerate(centres):
        normal = torch.tensor([centre[0], centre[1], 0.0], dtype=torch.float64)
        normal /= normal.norm()
        field = loop_field(points, centre, normal, loop)
        maps[channel] = torch.complex(field[..., 0], -field[..., 1])
        middle = loop_field(torch.zeros(3, dtype=torch.float64), centre, normal, loop)
        centre_power += float(middle[0] ** 2 + middle[1] ** 2)
    return maps / math.sqrt(centre_power)


def with_coils(phantom: Phantom, channels: int, radius: float | None = None) -> Phantom:
    """Return `phantom` with the receive sensitivities of `coil_sensitivities`, which see for the parameters."""
    maps = coil_sensitivities(phantom, channels, radius)
    return replace(phantom, coils=maps)
