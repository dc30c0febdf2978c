from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft
from pulsetwin.operators.nufft import Nufft, grid_positions
from pulsetwin.operators.toeplitz import Toeplitz
from tests.operators.operator_checks import close, positions_for, randn

SHAPES = [(33,), (1,), (32, 27), (1, 8), (9, 12, 10), (8, 1, 9)]


def direct(image: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The sum itself, in double precision, ``[batch, point]``."""
    shape = image.shape[1:]
    phase = torch.zeros(len(positions), *shape, dtype=torch.float64)
    for axis, n in enumerate(shape):
        place = ((torch.arange(n, dtype=torch.float64) - n // 2) / n).reshape(-1, *[1] * (len(shape) - 1 - axis))
        phase = phase + positions[:, axis].double().reshape(-1, *[1] * len(shape)) * place
    waves = torch.exp(-2j * math.pi * phase).reshape(len(positions), -1)
    return image.reshape(len(image), -1).to(torch.complex128) @ waves.T / math.sqrt(math.prod(shape))


@pytest.mark.parametrize(("dtype", "error"), [(torch.complex64, 5e-5), (torch.complex128, 1e-11)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_direct_sum(shape, dtype, error):
    image, positions = randn((2, *shape), dtype, 0), positions_for(shape, 60, 1)
    close(Nufft(positions, shape)(image), direct(image, positions), error)


@pytest.mark.parametrize("shape", [(256, 256), (384, 320)], ids=str)
def test_keeps_its_accuracy_on_large_grids(shape):
    image, positions = randn((1, *shape), torch.complex64, 0), positions_for(shape, 300, 1)
    close(Nufft(positions, shape)(image), direct(image, positions), 5e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_fft_on_the_grid(shape):
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    image = randn((2, *shape), torch.complex128, 0)
    close(Nufft(grid, shape)(image), fft(image, range(1, 1 + len(shape))), 1e-11)


@pytest.mark.parametrize("shape", [(6,), (5, 4), (3, 2, 5)], ids=str)
def test_gradients_to_image_and_trajectory(shape):
    image, samples = randn((2, *shape), torch.complex128, 0), randn((2, 5), torch.complex128, 1)
    positions = positions_for(shape, 5, 2)
    operands = [value.requires_grad_() for value in (image, samples, positions)]
    image, samples, positions = operands
    assert torch.autograd.gradcheck(lambda x, k: Nufft(k, shape)(x), (image, positions))
    assert torch.autograd.gradcheck(lambda y, k: Nufft(k, shape).adjoint(y), (samples, positions))
    assert torch.autograd.gradcheck(lambda x, k: Nufft(k, shape).normal(x), (image, positions), fast_mode=True)


def test_gradient_in_single_precision_equals_that_in_double():
    shape, positions = (24, 20), positions_for((24, 20), 50, 0)
    gradients = []
    for dtype in (torch.complex64, torch.complex128):
        k = positions.clone().requires_grad_()
        target = randn((50,), torch.complex128, 1).to(dtype)
        loss = (Nufft(k, shape)(randn(shape, torch.complex128, 2).to(dtype)) - target).abs().square().sum()
        loss.backward()
        gradients.append(k.grad)
    close(gradients[0], gradients[1], 1e-4)


def test_follows_positions_changed_in_place():
    shape, positions = (12, 10), positions_for((12, 10), 30, 0)
    nufft, image = Nufft(positions, shape), randn((1, 12, 10), torch.complex128, 1)
    before = nufft(image)
    positions += 0.5
    close(nufft(image), direct(image, positions), 1e-11)
    assert not torch.allclose(nufft(image), before)


@pytest.mark.parametrize(("dtype", "error"), [(torch.complex64, 5e-5), (torch.complex128, 1e-11)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_toeplitz_equals_the_direct_sum(shape, dtype, error):
    positions, image = positions_for(shape, 80, 3), randn((2, *shape), dtype, 4)
    weights = torch.rand(80, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    identity = torch.eye(math.prod(shape), dtype=torch.complex128).reshape(-1, *shape)
    matrix = direct(identity, positions).T
    expected = (matrix.mH * weights) @ (matrix @ image.reshape(2, -1).to(torch.complex128).T)
    close(Nufft(positions, shape).toeplitz(weights, dtype)(image), expected.T.reshape(image.shape), error)


def test_toeplitz_counts_ffts(monkeypatch):
    """One image costs two transforms of each part, and no grid twice the image's size in every axis is transformed."""
    shape, largest = (80, 80, 80), []
    toeplitz = Nufft(positions_for(shape, 10, 0), shape).toeplitz()
    whole = toeplitz.spectrum.numel()
    for name in ("fftn", "ifftn", "fft", "ifft"):
        original = getattr(torch.fft, name)
        wrapped = lambda x, *a, _f=original, **k: largest.append((y := _f(x, *a, **k)).numel()) or y  # noqa: E731
        monkeypatch.setattr(torch.fft, name, wrapped)
    toeplitz(randn(shape, torch.complex64, 1))
    assert max(largest) < whole / 3
    assert sum(largest) < 2.6 * whole


def test_plans_are_kept_and_few():
    nufft = Nufft(positions_for((8, 8), 20, 0), (8, 8))
    nufft(randn((3, 8, 8), torch.complex64, 0))
    kept = dict(nufft._cache)
    nufft.adjoint(randn((3, 20), torch.complex64, 0))
    assert nufft._cache == kept
    for batch in range(1, 12):
        nufft(randn((batch, 8, 8), torch.complex64, 0))
    assert len(nufft._cache) <= 6


def test_axes_of_a_trajectory_are_reversed_for_the_grid():
    k = torch.tensor([[10.0, 20.0, 30.0]])
    assert grid_positions(k, (0.2, 0.1, 0.5), (4, 5, 6)).tolist() == [[15.0, 2.0, 2.0]]
    assert grid_positions(k, (0.2, 0.1, 0.5), (5, 6)).tolist() == [[2.0, 2.0]]


def test_no_points_give_nothing():
    nufft = Nufft(torch.zeros(0, 2), (4, 5))
    assert nufft(randn((3, 4, 5), torch.complex64, 0)).shape == (3, 0)
    assert not nufft.adjoint(torch.zeros(3, 0, dtype=torch.complex64)).any()


def test_wrong_arguments_raise():
    with pytest.raises(ShapeError, match="positions"):
        Nufft(torch.zeros(5, 3), (4, 4))
    with pytest.raises(ProtocolError, match="floating"):
        Nufft(torch.zeros(5, 2, dtype=torch.int64), (4, 4))
    nufft = Nufft(torch.full((5, 2), np.nan), (4, 4))
    with pytest.raises(ProtocolError, match="finite"):
        nufft(torch.ones(4, 4))
    with pytest.raises(ShapeError, match="image"):
        nufft(torch.ones(4, 5))
    with pytest.raises(ShapeError, match="samples"):
        nufft.adjoint(torch.ones(6))
    with pytest.raises(ShapeError, match="kernel"):
        Toeplitz.from_kernel(torch.ones(4, 4, dtype=torch.complex64), (4, 4))
