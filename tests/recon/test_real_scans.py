"""Real scans through the whole road, against what an independent reader and numpy's FFT make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import twixtools

from pulsetwin.recon.quality import edge_width, object_mask
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.volume import Images
from tests.synthetic import nrmse


def echo_planar(scans: Path, kind: str, *, referenced: bool) -> Images:
    folder = scans / "pulseq_epi"
    raw = read(folder / f"{kind}_epi_pe_plus.dat", folder / f"{kind}_epi_pe_plus.seq")
    reference = read(folder / f"{kind}_epi_pe_none.dat", folder / f"{kind}_epi_pe_none.seq") if referenced else None
    return reconstruct(raw, reference=reference)


def plain_images(path: Path, pick: slice = slice(None)) -> np.ndarray:
    """Coil images ``[coil, y, x]`` of evenly sampled lines by twixtools and numpy."""
    blocks = twixtools.read_twix(str(path), verbose=False)[-1]["mdb"]
    kspace = np.array([block.data for block in blocks if block.is_image_scan()]).transpose(1, 0, 2)
    shifted = np.fft.ifftshift(kspace.astype(complex), axes=(1, 2))
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(1, 2))[..., pick]


@pytest.mark.parametrize("kind", ["basic", "ramp"])
@pytest.mark.parametrize(("referenced", "factor"), [(True, 10), (False, 5)])
def test_ghosts_fall(scans: Path, kind: str, referenced: bool, factor: float) -> None:
    quality = echo_planar(scans, kind, referenced=referenced).quality
    assert quality["ghost_level_before"] / quality["ghost_level_after"] > factor


@pytest.mark.parametrize("kind", ["basic", "ramp"])
def test_both_corrections_find_the_same_delay(scans: Path, kind: str) -> None:
    first, second = (echo_planar(scans, kind, referenced=r).quality["gradient_delay"] for r in (True, False))
    assert first == pytest.approx(second, abs=5e-8)


@pytest.mark.parametrize("axis", [-1, -2])
def test_the_ramp_sampled_image_is_as_sharp(scans: Path, axis: int) -> None:
    basic, ramp = (np.abs(echo_planar(scans, kind, referenced=True).values[0, 0]) for kind in ("basic", "ramp"))
    assert edge_width(ramp, axis) <= edge_width(basic, axis)


def test_a_reference_without_its_seq_serves_as_well(scans: Path) -> None:
    folder = scans / "pulseq_epi"
    raw = read(folder / "ramp_epi_pe_plus.dat", folder / "ramp_epi_pe_plus.seq")
    images = reconstruct(raw, reference=read(folder / "ramp_epi_pe_none.dat"))
    np.testing.assert_allclose(images.values, echo_planar(scans, "ramp", referenced=True).values, rtol=1e-5)


def test_the_spin_echo_is_that_of_a_plain_transform(scans: Path) -> None:
    folder = scans / "pulseq_se"
    images = reconstruct(read(folder / "image.dat", folder / "image.seq", trust_seq=True))
    assert images.values.shape == (1, 1, 64, 64)
    np.testing.assert_allclose(images.voxel_size, (2.0, 2.0, 30.0), rtol=1e-6)
    # Lines run from -31 to +32: one line off the plain transform's order, which only turns the phase.
    plain = np.linalg.norm(plain_images(folder / "image.dat"), axis=0)
    inside = object_mask(plain)
    flat = np.abs(images.values[0, 0]) / plain
    assert np.abs(object_mask(np.abs(images.values[0, 0])) ^ inside).mean() < 0.05
    assert flat[inside].std() / flat[inside].mean() < 0.25
    assert images.quality["snr_median"] > 100


def test_the_vendor_scan_is_that_of_a_plain_transform(vendor_scans: Path) -> None:
    path = vendor_scans / "gre.dat"
    raw = read(path)
    images = reconstruct(raw)
    assert images.values.shape == (1, 1, 160, 160)
    np.testing.assert_allclose(images.voxel_size, (1.25, 1.25, 4.0), rtol=1e-6)
    plain = np.linalg.norm(plain_images(path, slice(80, 240)), axis=0)
    inside = object_mask(plain)
    assert nrmse(np.abs(images.values[0, 0])[inside], plain[inside]) < 0.06


def test_the_bubble_of_the_vendor_scan_is_on_top(vendor_scans: Path) -> None:
    images = reconstruct(read(vendor_scans / "gre.dat"))
    widths = object_mask(np.abs(images.values[0, 0])).sum(axis=1)
    rows = np.nonzero(widths)[0]
    # Below the bubble the round phantom is flat, so that side is wide at once.
    flat_side = 1 if widths[rows[-1] - 6] > widths[rows[0] + 6] else -1
    assert flat_side == np.sign(images.affine[1, 1])


def test_the_signal_to_noise_ratio_is_that_of_noise_from_empty_rows(vendor_scans: Path) -> None:
    path = vendor_scans / "gre.dat"
    images = reconstruct(read(path))
    coils = plain_images(path)
    # Rows that the phantom does not reach; the oversampled rim is damped by the receiver's filter.
    outside = np.concatenate([coils[:, :4, 80:240], coils[:, 156:, 80:240]], axis=1).reshape(2, -1)
    covariance = outside @ outside.conj().T / outside.shape[1]
    seen = coils[..., 80:240].reshape(2, -1)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), seen)
    snr = np.sqrt(2) * np.linalg.norm(whitened, axis=0).reshape(160, 160)
    inside = object_mask(snr)
    assert images.quality["snr_median"] == pytest.approx(np.median(snr[inside]), rel=0.05)
