import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.sparse import l1_wavelet, total_variation
from pulsetwin.recon.undersampling import regular_mask
from tests.synthetic import coil_maps, ellipses

AXES = (1, 2, 3)
METHODS = [l1_wavelet, total_variation]


def scan(shape, kept, coils=4, dtype=torch.complex64, lines=False, noise=0.02):
    """Image, and randomly undersampled k-space, mask, and maps of unit root-sum-of-squares."""
    random = np.random.default_rng(7)
    maps = torch.from_numpy(coil_maps(coils, shape))
    maps = maps / maps.abs().square().sum(0).sqrt()
    image = torch.from_numpy(ellipses(shape))
    mask = random.random(shape[:2]) < kept
    mask = np.tile(mask[:1], (shape[0], 1)) if lines else mask
    mask = torch.from_numpy(mask | regular_mask(shape[:2], shape[:2], calibration=(6, 10)))
    kspace = fft(maps * image, AXES)
    kspace = kspace + noise * torch.from_numpy(
        random.standard_normal(kspace.shape) + 1j * random.standard_normal(shape)
    )
    return image.to(dtype), (kspace * mask[..., None]).to(dtype), mask, maps.to(dtype)


def error(found, truth):
    return float((found - truth).norm() / truth.norm())


def objective(method, image, kspace, mask, maps, weight):
    """Objective with sigpy's own transforms, in double precision."""
    shape = [n for n in image.shape if n > 1]
    transform = sigpy.linop.Wavelet(shape) if method is l1_wavelet else sigpy.linop.FiniteDifference(shape)
    residual = fft(maps * image, AXES) * mask[..., None] - kspace
    penalty = np.abs(transform(image.numpy().astype(complex).reshape(shape))).sum()
    return 0.5 * float(residual.abs().square().sum()) + weight * float(penalty)


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_objective_is_not_above_sigpys(method, lines):
    shape = (1, 40, 32) if lines else (12, 20, 16)
    _, kspace, mask, maps = scan(shape, 0.4, lines=lines)
    kept = kspace[:, 0] if lines else kspace
    sensitivities = maps[:, 0] if lines else maps
    app = sigpy.mri.app.L1WaveletRecon if method is l1_wavelet else sigpy.mri.app.TotalVariationRecon
    weight = 3e-3 * float((maps.conj() * ifft(kspace, AXES)).sum(0).abs().max())
    peer = app(kept.numpy(), sensitivities.numpy(), weight, max_iter=60, show_pbar=False).run()
    found = method(kspace, mask, maps, regularisation=3e-3, iterations=60, tolerance=0)
    ours, theirs = (
        objective(method, one, kspace, mask, maps, weight) for one in (found, torch.from_numpy(peer).reshape(shape))
    )
    assert ours < theirs * (1 + 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_better_than_zero_filling(method):
    image, kspace, mask, maps = scan((12, 24, 16), 0.35, coils=8, noise=0.005)
    found = method(kspace, mask, maps)
    assert error(found, image) < 0.5 * error((maps.conj() * ifft(kspace, AXES)).sum(0), image)


@pytest.mark.parametrize("method", METHODS)
def test_without_penalty_complete_data_give_the_image(method):
    image, kspace, _, maps = scan((5, 9, 8), 1, dtype=torch.complex128, noise=0)
    mask = torch.ones((5, 9), dtype=torch.bool)
    found = method(kspace, mask, maps, regularisation=0)
    assert found.dtype == torch.complex128
    assert error(found, image) < 1e-12


def test_strong_penalty_makes_total_variation_flat():
    _, kspace, mask, maps = scan((6, 9, 8), 0.6)
    found = total_variation(kspace, mask, maps, regularisation=10, iterations=200, tolerance=0)
    assert float((found - found.mean()).abs().max()) < 0.05 * float(ifft(kspace, AXES).abs().max())


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("method", METHODS)
def test_scaling(method, scale):
    _, kspace, mask, maps = scan((1, 24, 18), 0.5)
    assert error(method(kspace * scale, mask, maps) / scale, method(kspace, mask, maps)) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_insensitive_voxels_and_empty_data_are_zero(method):
    image, kspace, mask, maps = scan((1, 24, 18), 0.5)
    found = method(kspace, mask, maps * (image != 0))
    assert found[image == 0].abs().max() == 0
    assert method(0 * kspace, mask, maps).abs().max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_bad_inputs(method):
    _, kspace, mask, maps = scan((1, 24, 18), 0.5)
    with pytest.raises(ShapeError, match="same grid"):
        method(kspace, mask, maps[:2])
    with pytest.raises(ShapeError, match=r"bool \[z, y\]"):
        method(kspace, mask[0], maps)
    with pytest.raises(ProtocolError, match="no sample"):
        method(kspace, mask & False, maps)
    with pytest.raises(ProtocolError, match="at least one iteration"):
        method(kspace, mask, maps, iterations=0)
    with pytest.raises(ProtocolError, match="wavelist"):
        l1_wavelet(kspace, mask, maps, wavelet="db0")
