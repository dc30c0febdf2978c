"""Loops against the law of Biot and Savart, summed over short pieces of wire, and against the field on their axis."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.coil_array import array_loops, coil_sensitivities, loop_field, with_coils
from pulsetwin.sim.phantoms import shepp_logan


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def biot_savart(points: np.ndarray, centre: np.ndarray, normal: np.ndarray, radius: float) -> np.ndarray:
    """Sum of dl x r / (4 pi r^3) over 4000 pieces, exact but for rounding: the integrand is periodic."""
    first = np.cross(normal, [0.3, -0.5, 0.8])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    angle = np.arange(4000) * 2 * math.pi / 4000
    wire = centre + radius * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
    piece = radius * (-np.sin(angle)[:, None] * first + np.cos(angle)[:, None] * second) * (2 * math.pi / 4000)
    away = points[:, None] - wire
    return (np.cross(piece, away) / (4 * math.pi * np.linalg.norm(away, axis=-1, keepdims=True) ** 3)).sum(1)


def test_field_on_the_axis():
    height = torch.linspace(-0.3, 0.3, 41, dtype=torch.float64)
    points = torch.stack((torch.zeros_like(height), torch.zeros_like(height), height), -1)
    field = loop_field(points, vector(0, 0, 0), vector(0, 0, 1), 0.08)
    expected = 0.08**2 / (2 * (0.08**2 + height**2) ** 1.5)
    assert torch.allclose(field[:, 2], expected, rtol=1e-13)
    assert float(field[:, :2].abs().max()) < 1e-12


def test_field_anywhere():
    rng = np.random.default_rng(1)
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    centre, radius = rng.normal(size=3) * 0.1, 0.07
    points = centre + rng.uniform(-0.2, 0.2, size=(60, 3))
    expected = biot_savart(points, centre, normal, radius)
    field = loop_field(*(torch.from_numpy(a) for a in (points, centre, normal)), radius).numpy()
    assert np.abs(field - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("rho", [1e-9, 0.5e-4, 0.99e-4, 1.01e-4, 1e-3, 1e-2])
def test_field_close_to_the_axis(rho):
    point = vector(rho * 0.08, 0, 0.03)[None]
    expected = biot_savart(point.numpy(), np.zeros(3), np.array([0, 0, 1.0]), 0.08)[0]
    field = loop_field(point, vector(0, 0, 0), vector(0, 0, 1), 0.08)[0].numpy()
    assert field[0] == pytest.approx(expected[0], rel=1e-6)
    assert field[2] == pytest.approx(expected[2], rel=1e-12)


def test_field_at_the_wire_is_bounded():
    points = torch.stack((vector(0.08, 0.08 - 1e-9), vector(0, 0), vector(0, 0)), -1)
    assert bool(loop_field(points, vector(0, 0, 0), vector(0, 0, 1), 0.08).isfinite().all())


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8, 9, 16, 17, 25, 32])
@pytest.mark.parametrize("matrix", [(1, 16, 16), (4, 7, 6)])
def test_root_sum_of_squares_at_the_centre(channels, matrix):
    maps = coil_sensitivities(shepp_logan(matrix, (0.2, 0.22, 0.1)), channels)
    assert maps.shape == (channels, *matrix)
    assert bool(torch.view_as_real(maps).isfinite().all())
    centre = maps[:, matrix[0] // 2, matrix[1] // 2, matrix[2] // 2]
    assert float(centre.abs().pow(2).sum()) == pytest.approx(1, rel=1e-12)


def test_phase_follows_reciprocity():
    """A loop at +x has its field along x at the centre and receives Bx - i By = 1; the next of four at +y -i."""
    maps = coil_sensitivities(shepp_logan((1, 9, 9), (0.2, 0.2, 0.01)), 4)[:, 0, 4, 4]
    assert np.allclose(maps.numpy(), 0.5 * np.array([1, -1j, -1, 1j]), atol=1e-12)


def test_turning_the_array_turns_the_maps():
    maps = coil_sensitivities(shepp_logan((1, 9, 9), (0.2, 0.2, 0.01)), 4)[:, 0]
    for coil in range(4):
        turned = torch.rot90(maps[coil], -1, (0, 1))  # counter-clockwise with y upwards, by 90 degrees
        assert torch.allclose(maps[(coil + 1) % 4], -1j * turned, atol=1e-12)


@pytest.mark.parametrize("channels", range(1, 33))
def test_loops_lie_around_the_cylinder(channels):
    centres, loop = array_loops(channels, 0.13)
    assert len(centres) == channels
    assert torch.allclose(centres[:, :2].norm(dim=1), torch.full((channels,), 0.13, dtype=torch.float64))
    assert abs(float(centres[:, 2].mean())) < 0.5 * loop
    if channels > 1:
        assert float(torch.pdist(centres).min()) > 1.2 * loop  # no two in nearly the same place


def test_each_coil_sees_its_side_best():
    phantom = with_coils(shepp_logan((1, 32, 32), (0.22, 0.22, 0.005)), 8)
    power = phantom.coils[:, 0].abs() ** 2
    y, x = np.mgrid[-16:16, -16:16]
    inside = torch.from_numpy(x**2 + y**2 < 14**2)
    for coil, shares in enumerate(power):
        where = torch.nonzero((shares * inside) == (shares * inside).max())[0].numpy() - 16
        angle = math.atan2(where[0], where[1])
        assert abs((angle - 2 * math.pi * coil / 8 + math.pi) % (2 * math.pi) - math.pi) < 0.35
    assert phantom.grid == (1, 32, 32)


@pytest.mark.parametrize(("channels", "radius"), [(0, None), (33, None), (8, 0.0), (8, -1.0), (8, math.nan)])
def test_impossible_arrays_are_refused(channels, radius):
    with pytest.raises(ProtocolError, match="coil array"):
        coil_sensitivities(shepp_logan((1, 4, 4), (0.2, 0.2, 0.01)), channels, radius)
