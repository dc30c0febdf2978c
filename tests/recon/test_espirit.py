from __future__ import annotations

import pytest
import sigpy.mri.app
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon import espirit as module
from pulsetwin.recon.espirit import espirit
from pulsetwin.recon.read import read
from pulsetwin.recon.signal_space import projection_kernel
from tests.operators.operator_checks import close, randn
from tests.synthetic import coil_maps, ellipses

SHAPE = (20, 40, 36)


def subspace_error(maps, images, inside):
    """``||(1 - s s^H) i|| / ||i||`` inside the object."""
    left = images - maps * (maps.conj() * images).sum(0)
    return float(left[:, inside].norm() / images[:, inside].norm())


def centre(kspace, size):
    corner = [(n // 2 - min(n, size) // 2, min(n, size)) for n in kspace.shape[1:]]
    return kspace[(slice(None), *(slice(start, start + n) for start, n in corner))]


@pytest.fixture(scope="module")
def scan():
    """Coil images, object mask and k-space with noise of 6 coils."""
    image = ellipses(SHAPE)
    images = torch.from_numpy(coil_maps(6, SHAPE) * image).to(torch.complex64)
    noise = 1e-3 * float(images.abs().max()) * randn(images.shape, torch.complex64, 0)
    return images, torch.from_numpy(abs(image) > 0), fft(images, (1, 2, 3)) + noise


@pytest.fixture(scope="module")
def spin_echo(scans):
    """k-space of the real 32-channel spin echo, ``[32, 1, 64, 64]``."""
    readouts = read(scans / "pulseq_se" / "image.dat", scans / "pulseq_se" / "image.seq", trust_seq=True).groups[0]
    order = readouts.trajectory.offset[:, 1].argsort()
    return torch.from_numpy(readouts.samples[order]).movedim(1, 0)[:, None]


def test_maps_span_the_coil_images(scan):
    images, inside, kspace = scan
    maps = espirit(centre(kspace, 16), SHAPE, kernel=5)
    size = torch.linalg.vector_norm(maps, dim=0)
    close(size, (size > 0.5).float(), 1e-5)
    assert bool((size > 0.5)[inside].float().mean() > 0.99)
    assert subspace_error(maps, images, inside & (size > 0.5)) < 0.01


def test_equals_the_full_decomposition(scan):
    """At every voxel, the eigenvector of the operator summed kernel by kernel, in double precision."""
    _, inside, kspace = scan
    calibration = centre(kspace, 16)
    series = projection_kernel(calibration.to(torch.complex128), 5, 0.02)
    maps = espirit(calibration, SHAPE, kernel=5)
    for z, rows in [(3, slice(0, 40)), (10, slice(10, 30))]:
        values, vectors = torch.linalg.eigh(module._operator(series, SHAPE, z, rows))
        overlap = (vectors[..., -1].conj() * maps[:, z, rows].movedim(0, -1).to(torch.complex128)).sum(-1).abs()
        clear = (values[..., -1] > 0.96) & inside[z, rows]
        assert float(overlap[clear].min()) > 0.999
        assert not overlap[values[..., -1] < 0.94].any()


def test_operator_is_a_projection_series(scan):
    """Eigenvalues of G lie between 0 and 1, and G is Hermitian, as the equations say."""
    series = projection_kernel(centre(scan[2], 12).to(torch.complex128), 4, 0.05)
    operator = module._operator(series, (5, 7, 6), 2, slice(0, 7))
    close(operator, operator.mH, 1e-12)
    values = torch.linalg.eigvalsh(operator)
    assert float(values.min()) > -1e-12
    assert float(values.max()) < 1 + 1e-12


@pytest.mark.slow
def test_no_worse_than_sigpy_on_a_real_scan(spin_echo):
    images = ifft(spin_echo, (2, 3))
    size = torch.linalg.vector_norm(images, dim=0)
    inside = size > 0.1 * size.max()
    ours = espirit(centre(spin_echo, 24), (1, 64, 64))
    theirs = torch.from_numpy(sigpy.mri.app.EspiritCalib(spin_echo[:, 0].numpy(), show_pbar=False).run())[:, None]
    both = inside & ours.any(0) & theirs.any(0)
    assert both.sum() > 0.99 * inside.sum()
    assert subspace_error(ours, images, both) <= 1.002 * subspace_error(theirs, images, both)


def test_slab_by_slab_equals_all_at_once(scan, monkeypatch):
    calibration = centre(scan[2], 12)
    at_once = espirit(calibration, (8, 36, 40), kernel=4)
    monkeypatch.setattr(module, "CHUNK", 7 * 36 * 40)
    in_slabs = espirit(calibration, (8, 36, 40), kernel=4)
    overlap = (at_once.conj() * in_slabs).sum(0).abs()
    both = at_once.any(0) & in_slabs.any(0)
    assert float(both.sum() / at_once.any(0).sum()) > 0.99
    assert float(overlap[both].min()) > 0.995


def test_never_holds_coil_by_coil_on_the_whole_grid(scan, monkeypatch):
    """Count what exists at a time: G is only ever made for a few rows."""
    made = []
    original = module._operator
    monkeypatch.setattr(module, "_operator", lambda *a: made.append((g := original(*a)).numel()) or g)
    monkeypatch.setattr(module, "CHUNK", 1 << 14)
    espirit(centre(scan[2], 12), SHAPE, kernel=4)
    assert max(made) <= 1 << 14


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling_the_data_changes_no_map(scan, factor):
    calibration = centre(scan[2], 12)
    maps = espirit(calibration, (8, 20, 18), kernel=4)
    close(espirit(factor * calibration, (8, 20, 18), kernel=4), maps, 1e-3)


def test_strongest_virtual_coil_is_real(scan):
    maps = espirit(centre(scan[2], 16), SHAPE, kernel=5)
    left = torch.linalg.svd(centre(scan[2], 16).flatten(1), full_matrices=False)[0][:, 0]
    combined = torch.tensordot(left.conj(), maps, 1)
    rotated = combined * (combined.sum().conj() / combined.sum().abs())
    assert float(rotated.imag.abs().max()) < 1e-3


def test_reports_progress_and_keeps_its_input(scan):
    calibration, seen = centre(scan[2], 12), []
    kept = calibration.clone()
    espirit(calibration, (4, 20, 18), kernel=4, progress=lambda done, total, what: seen.append((done, total)))
    espirit(calibration, (4, 40, 18), kernel=4, progress=lambda done, total, what: seen.append((done, total)))
    assert seen[-1] == (160, 160)
    assert torch.equal(calibration, kept)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: (c[:, 0], (4, 20, 18)), ShapeError, "coil, z, y, x"),
        (lambda c: (c, (20, 18)), ShapeError, "coil, z, y, x"),
        (lambda c: (0 * c, SHAPE), ProtocolError, "all zero"),
        (lambda c: (c * float("nan"), SHAPE), ProtocolError, "not finite"),
        (lambda c: (c[:, :, :7, :7], SHAPE), ProtocolError, "larger calibration"),
    ],
)
def test_bad_calibration_raises(scan, change, error, message):
    with pytest.raises(error, match=message):
        espirit(*change(centre(scan[2], 12)))


def test_settings_out_of_range_raise(scan):
    for setting in ({"kernel": 1}, {"threshold": 0.0}, {"crop": 1.5}):
        with pytest.raises(ProtocolError, match="kernel"):
            espirit(centre(scan[2], 12), SHAPE, **setting)
