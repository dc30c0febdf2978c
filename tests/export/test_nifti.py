from __future__ import annotations

import nibabel
import numpy as np
import pytest

from pulsetwin.errors import OutputExistsError, ShapeError
from pulsetwin.export.nifti import snr, write_complex, write_magnitude, write_nifti, write_snr
from pulsetwin.rawdata import Geometry
from pulsetwin.volume import Images, affine_ras


def rotation(axis: int, angle: float) -> np.ndarray:
    i, j = [k for k in range(3) if k != axis]
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


@pytest.fixture
def images() -> Images:
    random = np.random.default_rng(1)
    values = random.normal(size=(2, 3, 5, 7)) + 1j * random.normal(size=(2, 3, 5, 7))
    turned = rotation(0, 0.3) @ rotation(2, -0.4)
    geometry = Geometry((0.21, 0.1, 0.06), (7, 5, 3), turned, np.array([[0.01, -0.02, 0.05]]))
    affine = affine_ras(geometry, (7, 5, 3))
    return Images(values.astype(np.complex64), affine, ({}, {}), np.full((3, 5, 7), 0.5, np.float32))


def test_magnitude_is_x_y_z_contrast(tmp_path, images):
    write_magnitude(tmp_path / "m.nii.gz", images)
    read = nibabel.load(tmp_path / "m.nii.gz")
    assert read.shape == (7, 5, 3, 2)
    assert read.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(read.dataobj)[6, 1, 2, 1], np.abs(images.values[1, 2, 1, 6]))


def test_header_tells_place_and_units(tmp_path, images):
    write_magnitude(tmp_path / "m.nii", images)
    header = nibabel.load(tmp_path / "m.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(header.get_zooms()[:3], (30, 20, 20), rtol=1e-6)
    for affine in (header.get_qform(), header.get_sform()):
        np.testing.assert_allclose(affine, images.affine, atol=1e-4)


def test_centre_voxel_lies_on_the_centre_of_the_field_of_view(tmp_path, images):
    write_magnitude(tmp_path / "m.nii", images)
    affine = nibabel.load(tmp_path / "m.nii").affine
    np.testing.assert_allclose((affine @ [3, 2, 1, 1])[:3], (10, -20, 50), atol=1e-4)


def test_left_handed_affine_survives(tmp_path, images):
    flipped = images.affine @ np.diag([-1, 1, 1, 1])
    write_nifti(tmp_path / "m.nii", np.abs(images.values[0]), flipped)
    header = nibabel.load(tmp_path / "m.nii").header
    np.testing.assert_allclose(header.get_qform(), flipped, atol=1e-4)


def test_single_contrast_stays_four_dimensional(tmp_path, images):
    write_nifti(tmp_path / "m.nii", np.abs(images.values[:1]), images.affine, spacing=2.5)
    read = nibabel.load(tmp_path / "m.nii")
    assert read.shape == (7, 5, 3, 1)
    assert read.header.get_zooms()[3] == 2.5


def test_snr_is_magnitude_over_noise(tmp_path, images):
    images.noise_std[0, 0, 0] = 0
    write_snr(tmp_path / "s.nii", images)
    read = np.asarray(nibabel.load(tmp_path / "s.nii").dataobj)
    assert read[0, 0, 0, 0] == 0
    np.testing.assert_allclose(read[2, 3, 1, 0], abs(images.values[0, 1, 3, 2]) / 0.5, rtol=1e-6)


def test_snr_without_noise_is_an_error(images):
    with pytest.raises(ShapeError, match="noise_std is None"):
        snr(Images(images.values, images.affine, images.contrasts))


def test_complex_values_are_exact(tmp_path, images):
    write_complex(tmp_path / "c.npy", images)
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy", allow_pickle=False), images.values)


def test_refuses_complex_and_existing(tmp_path, images):
    with pytest.raises(ShapeError):
        write_nifti(tmp_path / "m.nii", images.values, images.affine)
    write_magnitude(tmp_path / "m.nii", images)
    with pytest.raises(OutputExistsError):
        write_magnitude(tmp_path / "m.nii", images)
    write_magnitude(tmp_path / "m.nii", images, force=True)
