from __future__ import annotations

import math

import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.nufft import Nufft
from pulsetwin.recon.density import density_compensation, radial_density


def radial(spokes: int, samples: int, size: int, offset: float = 0.0) -> torch.Tensor:
    angle = math.pi * torch.arange(spokes, dtype=torch.float64) / spokes
    radius = (torch.arange(samples) - samples // 2 + offset).double() * size / samples
    return radius[None, :, None] * torch.stack([angle.sin(), angle.cos()], -1)[:, None]


def blob(shape: tuple[int, ...]) -> torch.Tensor:
    """A smooth, off-centre object inside the field of view, whose k-space fits into the sampled disc."""
    place = torch.meshgrid(*[(torch.arange(n) - n // 2) / n for n in shape], indexing="ij")
    return torch.exp(-((place[-1] - 0.1) ** 2 + sum(p**2 for p in place[:-1])) / 0.02 + 2j * place[-1])


def image_error(nufft: Nufft, weights: torch.Tensor) -> float:
    image = blob(nufft.shape)
    return float((nufft.adjoint(weights.float() * nufft(image)) - image).norm() / image.norm())


@pytest.mark.parametrize("repeats", [1, 3])
def test_grid_points_weigh_one_over_their_number(repeats):
    axis = torch.arange(12, dtype=torch.float64) - 6
    grid = torch.cartesian_prod(axis, axis).repeat(repeats, 1)
    weights = density_compensation(Nufft(grid, (12, 12)))
    assert float((weights - 1 / repeats).abs().max()) < 1e-4


@pytest.mark.parametrize(("samples", "offset"), [(128, 0.0), (128, 0.5), (127, 0.0), (128, 0.2)])
def test_adjoint_of_radial_data_is_the_image(samples, offset):
    positions = radial(100, samples, 48, offset)
    nufft = Nufft(positions, (48, 48))
    assert image_error(nufft, density_compensation(nufft)) < 2e-3
    assert image_error(nufft, radial_density(positions)) < 1e-2


def test_iterated_and_analytic_agree_away_from_centre_and_edge():
    positions = radial(120, 129, 64)
    radius = positions.norm(dim=-1)
    between = (radius > 3) & (radius < 29)
    ratio = (density_compensation(Nufft(positions, (64, 64))) / radial_density(positions))[between]
    assert float((ratio - 1).abs().mean()) < 0.01


def test_adjoint_of_a_spiral_is_the_image():
    turns = torch.linspace(0, 1, 12000, dtype=torch.float64).sqrt()
    angle = 2 * math.pi * 48 * turns
    positions = 24 * turns[:, None] * torch.stack([angle.sin(), angle.cos()], -1)
    nufft = Nufft(positions, (48, 48))
    assert image_error(nufft, density_compensation(nufft)) < 5e-3


def test_adjoint_of_spokes_in_three_dimensions_is_the_image():
    index = torch.arange(900, dtype=torch.float64) + 0.5
    height, turn = index / 900, index * math.pi * (1 + math.sqrt(5))
    flat = (1 - height**2).sqrt()
    direction = torch.stack([height, flat * turn.sin(), flat * turn.cos()], -1)
    radius = (torch.arange(41, dtype=torch.float64) - 20) * 0.4
    positions = direction[:, None] * radius[:, None]
    nufft = Nufft(positions, (16, 16, 16))
    assert image_error(nufft, radial_density(positions)) < 0.02
    assert image_error(nufft, density_compensation(nufft)) < 0.01


def test_wrong_spokes_raise():
    positions = radial(5, 16, 16)
    with pytest.raises(ShapeError):
        radial_density(positions[0])
    for bent in (positions + 3, positions * positions.norm(dim=-1, keepdim=True), positions[:, 8:]):
        with pytest.raises(ProtocolError, match="density_compensation"):
            radial_density(bent)
