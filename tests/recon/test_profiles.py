from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.profiles import delayed, profile_transform

FOV = 0.22


def object_samples(position: np.ndarray, voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """A random object on `voxels` points and its samples by direct sum, orthonormal scale for even sampling."""
    rng = np.random.default_rng(3)
    x = (np.arange(voxels) - voxels // 2) * FOV / voxels
    truth = rng.standard_normal(voxels) + 1j * rng.standard_normal(voxels)
    return truth, np.exp(-2j * np.pi * np.outer(position, x)) @ truth


@pytest.mark.parametrize("voxels", [1, 5, 64, 97])
@pytest.mark.parametrize("oversampling", [1, 2])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("shift", [0.0, 0.5, 0.3])
def test_even_samples_give_the_object_back(voxels: int, oversampling: int, direction: int, shift: float) -> None:
    count = max(voxels * oversampling, 2)
    position = direction * (np.arange(count) - count // 2 + shift) / (FOV * oversampling)
    truth, samples = object_samples(position, voxels)
    if voxels == 1 and oversampling == 1:
        return
    transform = profile_transform(position, FOV, voxels)
    profile = transform(torch.from_numpy(samples)).numpy() / np.sqrt(voxels * oversampling)
    np.testing.assert_allclose(profile, truth, atol=1e-6)


@pytest.mark.parametrize("direction", [1, -1])
def test_samples_on_ramps_give_the_object_back(direction: int) -> None:
    ramp = np.concatenate([np.linspace(0.1, 0.8, 30), np.full(90, 0.8), np.linspace(0.8, 0.1, 30)])
    position = direction * (np.cumsum(ramp) - ramp.sum() / 2) / FOV
    voxels = 94
    x = np.linspace(-0.5, 0.5, 4001)[:, None] * FOV
    smooth = np.exp(-((x[:, 0] / 0.05) ** 2)) * (1 + 0.3j)
    samples = np.exp(-2j * np.pi * x * position).T @ smooth * (FOV / 4000) * voxels
    profile = profile_transform(position, FOV, voxels)(torch.from_numpy(samples)).numpy()
    at = (np.arange(voxels) - voxels // 2) * FOV / voxels
    truth = np.exp(-((at / 0.05) ** 2)) * (1 + 0.3j)
    scale = np.vdot(profile, truth) / np.vdot(profile, profile)
    assert np.linalg.norm(scale * profile - truth) < 2e-3 * np.linalg.norm(truth)
    assert abs(np.angle(scale)) < 1e-3


@pytest.mark.parametrize("uneven", [False, True])
def test_noise_gain_is_the_standard_deviation_of_the_profile(uneven: bool) -> None:
    position = (np.arange(96) - 48) / FOV * (1 if not uneven else 0.9)
    if uneven:
        position = position + 0.2 * np.sin(np.arange(96) / 7) / FOV
    transform = profile_transform(position, FOV, 80)
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((20000, 96)) + 1j * rng.standard_normal((20000, 96))) / np.sqrt(2)
    measured = transform(torch.from_numpy(noise)).numpy().std(axis=0)
    np.testing.assert_allclose(measured, transform.noise_gain, rtol=0.03)


def test_a_delay_moves_even_samples_by_that_many_steps() -> None:
    position = (np.arange(64) - 32.0) / FOV
    np.testing.assert_allclose(delayed(position, 0.7), position - 0.7 / FOV, atol=1e-9)


def test_samples_that_turn_back_or_lie_too_far_apart_are_refused() -> None:
    with pytest.raises(ProtocolError, match="one direction"):
        profile_transform(np.array([0.0, 1.0, 0.5]) / FOV, FOV, 3)
    with pytest.raises(ProtocolError, match="too far"):
        profile_transform(np.arange(8) * 2.0 / FOV, FOV, 8)
