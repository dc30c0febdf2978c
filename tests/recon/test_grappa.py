import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.grappa import grappa, train
from pulsetwin.recon.neighbours import neighbourhoods
from pulsetwin.recon.undersampling import analyse, regular_mask

AXES = (1, 2, 3)


def low_order_scan(shape, coils=8, seed=0, dtype=torch.complex128):
    """k-space of coils with three Fourier coefficients an axis: each sample mixes its neighbours, exactly."""
    random = np.random.default_rng(seed)
    flat = [1 if n == 1 else 3 for n in shape]
    maps = np.zeros((coils, *shape), complex)
    centre = tuple(slice(n // 2 - f // 2, n // 2 - f // 2 + f) for n, f in zip(shape, flat, strict=True))
    maps[(slice(None), *centre)] = random.standard_normal((coils, *flat)) + 1j * random.standard_normal((coils, *flat))
    inner = tuple(slice(4, n - 4) if n > 1 else slice(None) for n in shape)
    spectrum = np.zeros(shape, complex)
    spectrum[inner] = random.standard_normal(spectrum[inner].shape) + 1j * random.standard_normal(spectrum[inner].shape)
    image = ifft(torch.from_numpy(spectrum), (0, 1, 2))
    return fft(ifft(torch.from_numpy(maps), AXES) * image, AXES).to(dtype)


def undersampled(kspace, mask):
    mask = torch.from_numpy(mask)
    (z0, z1), (y0, y1) = analyse(mask).calibration
    return kspace * mask[..., None], mask, kspace[:, z0:z1, y0:y1]


def error(found, truth):
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("shape", [(1, 40, 32), (1, 41, 33)])
@pytest.mark.parametrize(("acceleration", "neighbours"), [(2, 2), (2, 4), (3, 4)])
def test_slice_is_exact(shape, acceleration, neighbours):
    kspace = low_order_scan(shape, coils=10)
    data = undersampled(kspace, regular_mask(shape[:2], (1, acceleration), calibration=(1, 24)))
    assert error(grappa(*data, neighbours=neighbours, regularisation=0), kspace) < 1e-6
    assert error(grappa(*data, neighbours=neighbours, regularisation=1e-9), kspace) < 1e-4


@pytest.mark.parametrize("shape", [(22, 24, 20), (23, 21, 19)])
@pytest.mark.parametrize(("acceleration", "shift"), [((2, 2), 0), ((2, 2), 1), ((2, 1), 1)])
def test_volume_with_caipi_is_exact(shape, acceleration, shift):
    kspace = low_order_scan(shape, coils=16)
    data = undersampled(kspace, regular_mask(shape[:2], acceleration, caipi_shift=shift, calibration=(12, 12)))
    assert error(grappa(*data, neighbours=6, taps=3, regularisation=1e-10), kspace) < 1e-4


def test_irregular_pattern_is_exact():
    kspace = low_order_scan((1, 40, 32), coils=10)
    mask = np.zeros((1, 40), bool)
    mask[:, [1, 3, 6, 8, 10, 11, 29, 32, 34, 36, 37]] = mask[:, 13:28] = True
    assert not analyse(mask).regular
    assert error(grappa(*undersampled(kspace, mask), neighbours=4, regularisation=1e-10), kspace) < 1e-4


def test_single_precision_and_scaling():
    kspace = low_order_scan((1, 40, 32), dtype=torch.complex64)
    data, mask, calibration = undersampled(kspace, regular_mask((1, 40), (1, 2), calibration=(1, 20)))
    once = grappa(data, mask, calibration)
    assert once.dtype == torch.complex64
    for scale in (1e-6, 1e6):
        assert error(grappa(data * scale, mask, calibration * scale) / scale, once) < 1e-5
        assert error(grappa(data, mask, calibration * scale), once) < 1e-5


def test_samples_are_kept_and_the_unscanned_stays_zero():
    kspace = low_order_scan((1, 40, 32))
    mask = regular_mask((1, 40), (1, 2), calibration=(1, 20))
    mask[:, :6] = False
    data, mask, calibration = undersampled(kspace, mask)
    before = data.clone()
    filled = grappa(data, mask, calibration)
    assert torch.equal(filled[:, mask], data[:, mask])
    assert torch.equal(data, before)
    assert filled[:, :, :6].abs().max() < 1e-12
    assert filled[:, :, 7:].abs().amax((0, 1, 3)).min() > 0
    junk = torch.where(mask[..., None], data, torch.nan)
    assert torch.equal(grappa(junk, mask, calibration), filled)


def test_corners_of_an_elliptical_scan_stay_zero():
    kspace = low_order_scan((24, 26, 20), coils=16)
    z, y = np.ogrid[-12:12, -13:13]
    radius = (z / 12) ** 2 + (y / 13) ** 2
    mask = (regular_mask((24, 26), (2, 2)) & (radius <= 1)) | ((abs(z) < 7) & (abs(y) < 7))
    filled = grappa(*undersampled(kspace, mask), neighbours=6, taps=3, regularisation=1e-10)
    assert filled[:, 0, 0].abs().max() < 1e-12
    assert error(filled[:, radius < 0.6], kspace[:, radius < 0.6]) < 1e-3


def test_complete_data_are_returned_as_they_are():
    kspace = low_order_scan((1, 12, 8))
    assert torch.equal(grappa(kspace, torch.ones((1, 12), dtype=torch.bool), kspace), kspace)


def calibration_case():
    random = np.random.default_rng(3)
    calibration = random.standard_normal((2, 6, 7, 11)) + 1j * random.standard_normal((2, 6, 7, 11))
    mask = regular_mask((16, 16), (2, 2), caipi_shift=1)
    (around,) = neighbourhoods(mask, analyse(mask), 5)
    return calibration, around


def explicit_system(calibration, around, taps):
    """Equations of the fit, written out sample by sample."""
    offsets = np.concatenate([around.sources, around.targets])
    low, (ez, ey) = offsets.min(0), around.extent
    _, nz, ny, nx = calibration.shape
    rows, right = [], []
    for z in range(nz - ez + 1):
        for y in range(ny - ey + 1):
            for x in range(nx - taps + 1):
                at = [(z + dz - low[0], y + dy - low[1]) for dz, dy in around.sources]
                to = [(z + dz - low[0], y + dy - low[1]) for dz, dy in around.targets]
                rows.append([calibration[c, i, j, x + t] for t in range(taps) for i, j in at for c in range(2)])
                right.append([calibration[c, i, j, x + taps // 2] for i, j in to for c in range(2)])
    return np.array(rows), np.array(right)


@pytest.mark.parametrize("regularisation", [1e-12, 1e-2])
def test_weights_solve_the_written_out_system(regularisation):
    calibration, around = calibration_case()
    system, right = explicit_system(calibration, around, 3)
    gram = system.conj().T @ system
    gram += regularisation * np.trace(gram).real / len(gram) * np.eye(len(gram))
    truth = np.linalg.solve(gram, system.conj().T @ right)
    found = train(torch.from_numpy(calibration), around, taps=3, regularisation=regularisation)
    assert np.allclose(found.reshape(truth.shape).numpy(), truth, atol=1e-9)


def test_filled_samples_are_the_weighted_sums_and_noise_grows_by_the_weights():
    random = np.random.default_rng(4)
    kspace = torch.from_numpy(random.standard_normal((4, 1, 400, 64)) + 1j * random.standard_normal((4, 1, 400, 64)))
    mask = torch.from_numpy(regular_mask((1, 400), (1, 2)))
    calibration = low_order_scan((1, 24, 32), coils=4)
    (around,) = neighbourhoods(mask.numpy(), analyse(mask), 2)
    weights = train(calibration, around, taps=3, regularisation=1e-3)
    filled = grappa(kspace * mask[..., None], mask, calibration, neighbours=2, taps=3, regularisation=1e-3)
    anchor, x = 100 + int(mask[0, 101]), 20
    sources = torch.stack([kspace[:, 0, anchor + dy, x - 1 : x + 2] for _, dy in around.sources.tolist()]).flatten(0, 1)
    truth = torch.einsum("ids,is->d", weights.permute(1, 2, 0), sources)
    assert torch.allclose(filled[:, 0, anchor + 1, x], truth, atol=1e-10)
    expected = 2 * weights.abs().square().sum((0, 1))
    assert torch.allclose(filled[:, ~mask][:, 2:-2].abs().square().mean((1, 2)), expected, rtol=0.1)


def test_bad_inputs():
    kspace = low_order_scan((1, 40, 32))
    data, mask, calibration = undersampled(kspace, regular_mask((1, 40), (1, 3), calibration=(1, 20)))
    with pytest.raises(ProtocolError, match=r"at least \(1, 10, 5\)"):
        grappa(data, mask, calibration[:, :, :9], neighbours=4)
    with pytest.raises(ProtocolError, match=r"\(1, 20, 3\) is smaller"):
        grappa(data, mask, calibration[..., :3])
    with pytest.raises(ProtocolError, match="odd taps"):
        grappa(data, mask, calibration, taps=4)
    with pytest.raises(ProtocolError, match="neighbours"):
        grappa(data, mask, calibration, neighbours=0)
    with pytest.raises(ProtocolError, match="zero or not finite"):
        grappa(data, mask, 0 * calibration)
    with pytest.raises(ShapeError, match="same coils"):
        grappa(data, mask, calibration[:4])
    with pytest.raises(ShapeError, match=r"\[z, y\]"):
        grappa(data, mask[:, 1:], calibration)
    with pytest.raises(ShapeError, match="complex"):
        grappa(data.abs(), mask, calibration)
    random = torch.from_numpy(np.random.default_rng(0).random((64, 64)) < 0.4)
    with pytest.raises(ProtocolError, match="random patterns"):
        grappa(torch.zeros((2, 64, 64, 8), dtype=torch.complex64), random, torch.zeros((2, 9, 9, 8)) + 0j)
