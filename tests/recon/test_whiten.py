from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.whiten import covariance, whitening
from tests.operators.operator_checks import close, randn


@pytest.fixture(scope="module")
def noise():
    """Correlated noise of 8 channels with gains over two decades, in the small units of a scanner."""
    mixing = randn((8, 8), torch.complex128, 0) * torch.logspace(-1, 1, 8, dtype=torch.float64)[:, None]
    return (1e-7 * mixing @ randn((8, 40000), torch.complex128, 1)).to(torch.complex64)


def test_whitened_noise_has_unit_covariance(noise):
    matrix = whitening(noise)
    assert matrix.dtype == torch.complex64
    white = matrix @ noise
    assert float((covariance(white) - torch.eye(8)).abs().max()) < 1e-5
    assert float(white.abs().square().mean()) == pytest.approx(1, abs=1e-5)


def test_fresh_noise_is_white_to_its_uncertainty(noise):
    white = whitening(noise[:, :20000]) @ noise[:, 20000:]
    assert float((covariance(white) - torch.eye(8)).abs().max()) < 0.05


def test_covariance_equals_numpy(noise):
    close(covariance(noise), torch.from_numpy(noise.numpy() @ noise.numpy().conj().T / 40000), 1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling_the_noise_scales_the_matrix(noise, factor):
    close(whitening(factor * noise) * factor, whitening(noise), 1e-5)


def test_takes_numpy_and_keeps_it(noise):
    array = noise.numpy().copy()
    close(whitening(array), whitening(noise), 1e-7)
    assert np.array_equal(array, noise.numpy())


def spoilt(noise, what):
    noise = noise.clone()
    if what == "few":
        return noise[:, :20]
    if what == "nan":
        noise[2, 7] = float("nan")
    elif what == "dead":
        noise[3] = 0
    elif what == "constant":
        noise[3] = 2e-6
    elif what == "duplicate":
        noise[5] = 2 * noise[4]
    return noise


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("few", "20 samples for 8 coils: give at least"),
        ("nan", "coils 2 is not finite"),
        ("dead", "coils 3 recorded no noise"),
        ("constant", "coils 3 recorded no noise"),
        ("duplicate", "depend on each other"),
    ],
)
def test_bad_noise_raises(noise, what, message):
    with pytest.raises(ProtocolError, match=message):
        whitening(spoilt(noise, what))


def test_wrong_shape_raises(noise):
    with pytest.raises(ShapeError):
        whitening(noise[0])
