from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.reconstruct import reconstruct
from tests.synthetic import coil_maps, ellipses, nrmse, scan, signal

SHAPE = (1, 40, 40)
FOV = (0.24, 0.24, 0.005)


def radial(spokes: int, coils: int) -> RawData:
    """A radial scan of the ellipses by direct sum, twofold oversampled along the spokes."""
    angle = np.pi * np.arange(spokes) / spokes
    along = (np.arange(80) - 40) / (2 * FOV[0])
    positions = np.zeros((spokes, 80, 3))
    positions[..., 0], positions[..., 1] = along * np.cos(angle)[:, None], along * np.sin(angle)[:, None]
    maps = coil_maps(coils, SHAPE) if coils > 1 else np.ones((1, *SHAPE))
    rng = np.random.default_rng(7)
    noise = (rng.standard_normal((coils, 8000)) + 1j * rng.standard_normal((coils, 8000))) / np.sqrt(2)
    return scan(signal(ellipses(SHAPE), maps, positions, FOV), positions, SHAPE, fov=FOV, noise=1e-4 * noise)


def disc_error(values: np.ndarray, truth: np.ndarray) -> float:
    """Error of what a disc of k-space can hold of the object."""
    ky, kx = np.meshgrid(*[np.arange(40) - 20] * 2, indexing="ij")
    disc = kx**2 + ky**2 < 19.5**2

    def filtered(image: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(image)) * disc))

    return nrmse(filtered(values), filtered(truth))


def test_a_radial_scan_gives_the_object_back() -> None:
    images = reconstruct(radial(96, 1))
    assert images.values.shape == (1, *SHAPE)
    assert disc_error(images.values[0, 0], ellipses(SHAPE)[0]) < 0.03


def test_coils_of_a_radial_scan_are_combined() -> None:
    sensitivity = np.sqrt((np.abs(coil_maps(6, SHAPE)) ** 2).sum(0))
    images = reconstruct(radial(96, 6))
    assert nrmse(np.abs(images.values[0]), np.abs(ellipses(SHAPE)) * sensitivity) < 0.1


def test_sense_removes_the_streaks_of_few_spokes() -> None:
    raw = radial(20, 8)
    truth = np.abs(ellipses(SHAPE)[0]) * np.sqrt((np.abs(coil_maps(8, SHAPE)[:, 0]) ** 2).sum(0))
    streaky, solved = (np.abs(reconstruct(raw, method=name).values[0, 0]) for name in ("nufft", "sense"))
    assert nrmse(solved, truth) < 0.1 < 0.6 * nrmse(streaky, truth)


def test_contrasts_and_slices_come_apart() -> None:
    raw = radial(64, 1)
    group = raw.groups[0].select(np.r_[0:64, 0:64, 0:64, 0:64])
    samples = np.array(group.samples)
    samples *= np.repeat([1, 2, 3, 4], 64)[:, None, None]
    labels = {"SLC": np.repeat([0, 1, 0, 1], 64), "ECO": np.repeat([0, 0, 1, 1], 64)}
    images = reconstruct(replace(raw, groups=(replace(group, samples=samples, labels=labels),)))
    energy = np.linalg.norm(images.values, axis=(2, 3))
    np.testing.assert_allclose(energy / energy[0, 0], [[1, 2], [3, 4]], rtol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    raw = radial(32, 2)
    with pytest.raises(ProtocolError, match="Cartesian"):
        reconstruct(raw, method="grappa")
    with pytest.raises(MismatchError, match="echo-planar"):
        reconstruct(raw, reference=raw)
    unknown = replace(raw, geometry=replace(raw.geometry, matrix=(1, 1, 1)))
    with pytest.raises(ProtocolError, match="matrix"):
        reconstruct(unknown)
