import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.partial_fourier import homodyne, pocs
from tests.synthetic import ellipses

SHAPE = (12, 48, 40)
AXES = (-3, -2, -1)


def smooth_object(shape=SHAPE):
    """Several contrasts of an object with smooth phase, complex128 ``[2, z, y, x]``."""
    image = torch.from_numpy(ellipses(shape))
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape], indexing="ij")
    return torch.stack([image, 2j * image * torch.exp(1j * (0.7 * y**2 + 0.5 * x * z))])


def partial(kspace, axis, fraction, low=True):
    n = kspace.shape[axis]
    sampled = torch.ones(n, dtype=torch.bool)
    missing = n - round(fraction * n)
    sampled[:missing] = False
    if not low:
        sampled = sampled.flip(0)
    return kspace * sampled.reshape([-1 if a == axis else 1 for a in AXES]), sampled


def error(kspace, image):
    return float((ifft(kspace, AXES) - image).norm() / image.norm())


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("fraction", [5 / 8, 6 / 8])
@pytest.mark.parametrize("method", [homodyne, pocs])
def test_far_below_zero_filling(method, fraction, low, axis):
    shape = tuple(32 if a == axis else n for a, n in zip(AXES, SHAPE, strict=True))
    image = smooth_object(shape)
    data, sampled = partial(fft(image, AXES), axis, fraction, low)
    assert error(method(data, sampled, axis=axis), image) < 0.5 * error(data, image)


@pytest.mark.parametrize("n", [47, 48])
@pytest.mark.parametrize("low", [True, False])
def test_constant_phase_is_exact(n, low):
    """The image of an object of constant phase follows from 5/8 of k-space (Hermitian symmetry)."""
    image = torch.from_numpy(np.random.default_rng(0).random((1, n, 8)) + 0.5) * np.exp(0.4j)
    kspace = fft(image, AXES)
    kspace[:, 0] = 0 if n % 2 == 0 else kspace[:, 0]
    image = ifft(kspace, AXES)
    data, sampled = partial(kspace, -2, 5 / 8, low)
    assert error(homodyne(data, sampled, axis=-2), image) < 1e-12
    if n % 2 or not low:  # otherwise the outermost line of an even grid was not measured and follows from nothing
        assert error(pocs(data, sampled, axis=-2, iterations=100, tolerance=0), image) < 1e-3


def test_pocs_keeps_the_data_and_inputs():
    data, sampled = partial(fft(smooth_object(), AXES), -2, 0.7)
    before = data.clone()
    filled = pocs(data, sampled, axis=-2)
    assert torch.equal(filled[..., sampled, :], data[..., sampled, :])
    assert torch.equal(data, before)
    assert filled[..., ~sampled, :].abs().amax() > 0


@pytest.mark.parametrize("method", [homodyne, pocs])
def test_side_is_found_in_a_mask(method):
    data, sampled = partial(fft(smooth_object(), AXES), -2, 0.7, low=False)
    mask = sampled.expand(SHAPE[0], -1).clone()
    assert torch.equal(method(data, mask), method(data, sampled, axis=-2))


@pytest.mark.parametrize("method", [homodyne, pocs])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling(method, scale):
    data, sampled = partial(fft(smooth_object(), AXES).to(torch.complex64), -2, 0.7)
    once, scaled = method(data, sampled, axis=-2), method(data * scale, sampled, axis=-2)
    assert once.dtype == torch.complex64
    assert torch.allclose(scaled / scale, once, rtol=1e-4, atol=1e-5 * float(once.abs().max()))


@pytest.mark.parametrize("method", [homodyne, pocs])
def test_bad_inputs(method):
    data = fft(smooth_object(), AXES)
    mask = torch.ones(SHAPE[:2], dtype=torch.bool)
    with pytest.raises(ProtocolError, match="give the one axis"):
        method(data, mask)
    mask[:, :8] = False
    mask[:, 20] = False
    with pytest.raises(ProtocolError, match="gaps"):
        method(data, mask)
    mask[3, 30] = False
    with pytest.raises(ProtocolError, match="within the scanned side"):
        method(data, mask)
    with pytest.raises(ProtocolError, match="both sides"):
        method(data, (torch.arange(48) > 4) & (torch.arange(48) < 44), axis=-2)
    with pytest.raises(ShapeError, match="along the axis"):
        method(data, torch.ones(7, dtype=torch.bool), axis=-2)
    with pytest.raises(ProtocolError, match="axis 1"):
        method(data, torch.ones(7, dtype=torch.bool), axis=1)
    with pytest.raises(ShapeError, match="complex"):
        method(data.real, mask)
