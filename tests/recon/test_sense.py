import numpy as np
import pytest
import sigpy.mri
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft
from pulsetwin.recon.sense import sense, sense_nufft
from pulsetwin.recon.undersampling import regular_mask
from tests.synthetic import coil_maps, ellipses

AXES = (1, 2, 3)


def scan(shape, mask, coils=8, dtype=torch.complex128):
    """Image, maps of unit root-sum-of-squares and undersampled k-space."""
    maps = torch.from_numpy(coil_maps(coils, shape))
    maps = maps / maps.abs().square().sum(0).sqrt()
    image = torch.from_numpy(ellipses(shape))
    mask = torch.from_numpy(mask)
    return image.to(dtype), (fft(maps * image, AXES) * mask[..., None]).to(dtype), mask, maps.to(dtype)


def error(found, truth):
    return float((found - truth).norm() / truth.norm())


def explicit_solution(kspace, mask, maps, regularisation):
    """Regularised least squares with every matrix written out, by direct sums."""
    coils, *shape = maps.shape
    matrices = []
    for n in shape:
        r = np.arange(n) - n // 2
        matrices.append(np.exp(-2j * np.pi * np.outer(r, r) / n) / np.sqrt(n))
    transform = np.kron(np.kron(*matrices[:2]), matrices[2])
    keep = np.broadcast_to(mask.numpy()[..., None], shape).ravel()
    system = np.concatenate([transform[keep] * maps[c].numpy().ravel() for c in range(coils)])
    data = np.concatenate([kspace[c].numpy().ravel()[keep] for c in range(coils)])
    normal = system.conj().T @ system + regularisation * np.eye(system.shape[1])
    return torch.from_numpy(np.linalg.solve(normal, system.conj().T @ data).reshape(shape))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize(
    ("shape", "acceleration", "shift"),
    [
        ((1, 48, 40), (1, 2), 0),
        ((1, 47, 33), (1, 3), 0),
        ((12, 15, 9), (1, 2), 0),
        ((12, 15, 9), (2, 1), 0),
        ((12, 16, 9), (2, 2), 0),
        ((11, 15, 8), (2, 2), 1),
        ((12, 10, 8), (2, 1), 1),
    ],
)
def test_exact_maps_recover_the_image(shape, acceleration, shift, dtype):
    mask = regular_mask(shape[:2], acceleration, caipi_shift=shift, calibration=(4, 6))
    image, *data = scan(shape, mask, dtype=dtype)
    found = sense(*data, regularisation=0, iterations=1000, tolerance=1e-9)
    assert found.dtype == dtype
    assert error(found, image) < (1e-5 if dtype == torch.complex128 else 1e-3)


@pytest.mark.parametrize("pattern", ["lines", "partitions", "both"])
def test_against_the_written_out_system(pattern):
    shape, random = (4, 7, 6), np.random.default_rng(5)
    mask = random.random(shape[:2]) < 0.6
    if pattern == "lines":
        mask = np.tile(mask[:1], (4, 1))
    if pattern == "partitions":
        mask = np.tile(np.array([True, False, True, True])[:, None], (1, 7))
    _, kspace, mask, maps = scan(shape, mask, coils=4)
    kspace = kspace + torch.from_numpy(random.standard_normal(kspace.shape)) * mask[..., None]
    truth = explicit_solution(kspace, mask, maps, 0.02)
    assert error(sense(kspace, mask, maps, regularisation=0.02, iterations=200, tolerance=1e-12), truth) < 1e-9


@pytest.mark.parametrize("acceleration", [(1, 3), (2, 2)])
def test_against_sigpy(acceleration):
    shape = (8, 24, 12)
    _, kspace, mask, maps = scan(shape, regular_mask(shape[:2], acceleration, calibration=(4, 6)))
    app = sigpy.mri.app.SenseRecon(kspace.numpy(), maps.numpy(), lamda=0.01, max_iter=200, show_pbar=False)
    found = sense(kspace, mask, maps, regularisation=0.01, iterations=200, tolerance=1e-10)
    assert error(found, torch.from_numpy(app.run())) < 1e-6


@pytest.mark.slow
def test_noise_has_the_variance_of_the_g_factor():
    """Var x_i = R [(S^H S)^-1]_ii over the R aliased voxels, for unit noise in orthonormal k-space."""
    shape, repeats = (1, 24, 16), 500
    _, _, mask, maps = scan(shape, regular_mask(shape[:2], (1, 3)), coils=6)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((repeats, 6, *shape), generator=generator, dtype=torch.complex128) * mask[..., None]
    found = torch.stack([sense(one, mask, maps, regularisation=0) for one in noise]).abs().square().mean(0)
    folded = maps[:, 0].unflatten(1, (3, 8)).permute(2, 3, 0, 1)
    variance = 3 * torch.linalg.inv(folded.mH @ folded).diagonal(dim1=-2, dim2=-1).real
    ratio = found[0] / variance.movedim(-1, 0).flatten(0, 1)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    assert float((ratio - 1).abs().max()) < 0.3


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("acceleration", [(1, 2), (2, 2)])
def test_scaling(acceleration, scale):
    shape = (8, 16, 8)
    _, kspace, mask, maps = scan(shape, regular_mask(shape[:2], acceleration), dtype=torch.complex64)
    assert error(sense(kspace * scale, mask, maps) / scale, sense(kspace, mask, maps)) < 1e-5


def test_voxels_without_sensitivity_are_zero_and_unsampled_data_ignored():
    shape = (1, 32, 24)
    image, kspace, mask, maps = scan(shape, regular_mask(shape[:2], (1, 2)))
    maps = maps * (image != 0)
    found = sense(torch.where(mask[..., None], kspace, torch.nan), mask, maps, regularisation=0)
    assert error(found, image) < 1e-6
    assert found[image == 0].abs().max() == 0


@pytest.mark.parametrize("acceleration", [(1, 2), (2, 2)])
def test_two_sets_of_maps(acceleration):
    """Two overlaid objects, each with maps of its own, come apart."""
    shape = (8, 16, 8)
    mask = regular_mask(shape[:2], acceleration)
    first, kspace, mask, maps = scan(shape, mask, coils=12)
    random = torch.Generator().manual_seed(1)
    other = torch.randn((12, 1, 1, 1), generator=random, dtype=torch.complex128) * maps.roll(5, 0)
    other = other / other.abs().square().sum(0).sqrt()
    second = torch.from_numpy(ellipses(shape)).flip(1).conj()
    kspace = kspace + fft(other * second, AXES) * mask[..., None]
    sets = torch.stack([maps, other])
    found = sense(kspace, mask, sets, regularisation=0, iterations=2000, tolerance=1e-9)
    assert found.shape == (2, *shape)
    assert error(found, torch.stack([first, second])) < 1e-4


def test_a_good_start_needs_no_iteration():
    shape = (8, 16, 8)
    image, *data = scan(shape, regular_mask(shape[:2], (2, 2)))
    assert error(sense(*data, regularisation=0, start=image, iterations=0), image) < 1e-12
    assert error(sense(*data, regularisation=0, iterations=2), image) > 1e-3


def test_nufft_on_a_grid_equals_cartesian():
    shape = (6, 12, 10)
    image, kspace, mask, maps = scan(shape, regular_mask(shape[:2], (2, 2), calibration=(4, 4)))
    z, y = mask.nonzero(as_tuple=True)
    x = torch.arange(10) - 5
    positions = torch.stack(torch.broadcast_tensors(z[:, None] - 3, y[:, None] - 6, x), -1).double()
    found = sense_nufft(kspace[:, z, y], positions, maps, regularisation=0, iterations=200, tolerance=1e-9)
    assert error(found, image) < 1e-5


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("weighted", [False, True])
def test_nufft_radial_against_the_written_out_system(weighted, scale):
    shape, random = (12, 10), np.random.default_rng(6)
    _, _, _, maps = scan((1, *shape), np.ones((1, 12), bool), coils=6)
    maps = maps[:, 0]
    angle, radius = np.arange(5) * np.pi / 5, np.linspace(-6, 5.5, 24)
    positions = np.stack([np.outer(np.sin(angle), radius), np.outer(np.cos(angle), radius)], -1)
    samples = random.standard_normal((6, 5, 24)) + 1j * random.standard_normal((6, 5, 24))
    weights = np.abs(radius) + 0.5 if weighted else np.ones(24)
    y, x = np.meshgrid(np.arange(12) - 6, np.arange(10) - 5, indexing="ij")
    turns = positions.reshape(-1, 2) @ np.stack([y.ravel() / 12, x.ravel() / 10])
    transform = np.exp(-2j * np.pi * turns) / np.sqrt(120) * np.sqrt(np.tile(weights, 5))[:, None]
    system = np.concatenate([transform * one.numpy().ravel() for one in maps])
    data = np.concatenate([(one * np.sqrt(weights)).ravel() for one in samples])
    damping = 0.05 * np.tile(weights, 5).sum() / 120
    truth = np.linalg.solve(system.conj().T @ system + damping * np.eye(120), system.conj().T @ data)
    found = sense_nufft(
        torch.from_numpy(samples) * scale,
        torch.from_numpy(positions),
        maps,
        weights=torch.from_numpy(weights).expand(5, 24) if weighted else None,
        regularisation=0.05,
        iterations=100,
        tolerance=1e-10,
    )
    assert error(found / scale, torch.from_numpy(truth.reshape(shape))) < 1e-6


def test_bad_inputs():
    shape = (1, 16, 8)
    _, kspace, mask, maps = scan(shape, regular_mask(shape[:2], (1, 2)))
    with pytest.raises(ShapeError, match=r"recon\.compress"):
        sense(kspace, mask, maps[:4])
    with pytest.raises(ShapeError, match=r"bool \[z, y\]"):
        sense(kspace, mask[:, 1:], maps)
    with pytest.raises(ShapeError, match="start"):
        sense(kspace, mask, maps, start=maps)
    with pytest.raises(ProtocolError, match="negative"):
        sense(kspace, mask, maps, regularisation=-1)
    with pytest.raises(ProtocolError, match="no sample"):
        sense(kspace, mask & False, maps)
    with pytest.raises(ShapeError, match="dimension"):
        sense_nufft(kspace[:, 0], torch.zeros((3, 2)), maps[:, 0])
    with pytest.raises(ProtocolError, match="negative"):
        sense_nufft(kspace[:, 0, 0], torch.zeros((8, 2)).double(), maps[:, 0], regularisation=-1)
