from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.noise import background_noise
from tests.synthetic import coil_maps, ellipses


def noisy_images(mixing: np.ndarray, shape: tuple[int, int, int], signal: float) -> torch.Tensor:
    coils = len(mixing)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((coils, *shape)) + 1j * rng.standard_normal((coils, *shape))
    images = signal * ellipses(shape) * coil_maps(coils, shape) + np.tensordot(mixing, noise / np.sqrt(2), 1)
    return torch.from_numpy(images)


@pytest.mark.parametrize("coils", [1, 2, 8])
@pytest.mark.parametrize("signal", [3.0, 300.0])
def test_the_covariance_of_the_background_is_that_of_the_noise(coils: int, signal: float) -> None:
    rng = np.random.default_rng(coils)
    mixing = np.eye(coils) * np.linspace(1, 5, coils) + 0.2 * rng.standard_normal((coils, coils))
    noise = background_noise(noisy_images(mixing, (1, 96, 96), signal)).numpy()
    covariance = noise @ noise.conj().T / noise.shape[1]
    expected = mixing @ mixing.T
    assert noise.shape[1] > 1500
    assert np.linalg.norm(covariance - expected) < 0.12 * np.linalg.norm(expected)


def test_an_image_without_background_asks_for_a_noise_scan() -> None:
    images = torch.ones((32, 1, 8, 8), dtype=torch.complex64) + 0.01 * torch.randn(
        (32, 1, 8, 8), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    with pytest.raises(ProtocolError, match="--noise"):
        background_noise(images)


@pytest.mark.parametrize("shape", [(1, 1, 64), (1, 3, 64), (2, 64, 3)])
def test_an_image_smaller_than_a_block_asks_for_a_noise_scan(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ProtocolError, match="--noise"):
        background_noise(torch.ones((2, *shape), dtype=torch.complex64))


@pytest.mark.slow
def test_many_coils_and_voxels_are_no_obstacle() -> None:
    """`torch.quantile` takes 2^24 values at most: here are more."""
    shape = (64, 1, 1, 2**18 + 1)
    assert background_noise(torch.ones(shape, dtype=torch.complex64), 1).shape == (64, 2**18 + 1)
