from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsetwin.recon.read import read
from pulsetwin.recon.twix_geometry import directions, matrix_quaternion, quaternion_matrix
from pulsetwin.recon.twix_header import number, read_header
from pulsetwin.recon.twix_raid import read_container
from pulsetwin.recon.twix_walk import walk


@pytest.mark.parametrize("name", ["vendor_gre/gre.dat", "pulseq_se/image.dat", "pulseq_epi/basic_epi_pe_plus.dat"])
def test_header_and_readouts_agree_on_orientation_and_position(scans, vendor_scans, name):
    path = vendor_scans / "gre.dat" if "gre" in name else scans / name
    container = read_container(path)
    measurement = container.measurements[-1]
    first = read_header(path, measurement).protocol["sSliceArray"]["asSlice"][0]
    data = walk(path, measurement, container.vb).mdh["SliceData"][0]
    normal = [number(first, f"sNormal.{axis}") for axis in ("dSag", "dCor", "dTra")]
    stated = directions(np.array(normal), number(first, "dInPlaneRot"))
    assert np.allclose(stated, quaternion_matrix(data["quaternion"]), atol=1e-5)
    position = [number(first, f"sPosition.{axis}") for axis in ("dSag", "dCor", "dTra")]
    assert np.allclose(position, data["position"], atol=1e-4)


def test_quaternions_as_twixtools_reads_them():
    geometry = pytest.importorskip("twixtools.geometry")
    q = np.array([0.7069765, -0.01357464, 0.01357464, 0.7069765])
    q /= np.linalg.norm(q)
    assert np.allclose(quaternion_matrix(q), geometry.quat_to_rotmat(*q))


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(-3.1, 3.1))
def test_directions_are_orthonormal_and_survive_the_quaternion(normal, rotation):
    if np.linalg.norm(normal) < 1e-3:
        return
    matrix = directions(np.array(normal), rotation)
    assert np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.allclose(matrix[:, 2], np.array(normal) / np.linalg.norm(normal))
    assert np.allclose(quaternion_matrix(matrix_quaternion(matrix)), matrix, atol=1e-9)


def test_main_orientations_without_rotation():
    """Phase direction in the patient: to the back, to the right, to the back (Siemens' convention)."""
    assert np.allclose(directions(np.array([0, 0, 1.0]), 0.0)[:, 0], [0, 1, 0])
    assert np.allclose(directions(np.array([0, 1.0, 0]), 0.0)[:, 0], [1, 0, 0])
    assert np.allclose(directions(np.array([1.0, 0, 0]), 0.0)[:, 0], [0, 1, 0])


def test_positions_become_ras_metres(vendor_scans):
    geometry = read(vendor_scans / "gre.dat").geometry
    assert np.allclose(geometry.centers, [[2.58969998e-3, -53.9224264e-3, -53.9994745e-3]], atol=1e-8)
    assert geometry.fov == pytest.approx((0.2, 0.2, 0.004))
    assert geometry.matrix == (160, 160, 1)


def image_of(raw) -> np.ndarray:
    """Root sum of squares ``[y, x]`` by the direct inverse Fourier sum at the nominal voxels."""
    group = raw.groups[0]
    k, samples = group.trajectory.positions(), group.samples[:]
    nx, ny, _ = raw.geometry.matrix
    x = (np.arange(nx) - nx // 2) * raw.geometry.fov[0] / nx
    y = (np.arange(ny) - ny // 2) * raw.geometry.fov[1] / ny
    lines = np.einsum("lcj,jx->lcx", samples, np.exp(2j * np.pi * np.outer(k[0, :, 0], x)))
    image = np.einsum("lcx,ly->cyx", lines, np.exp(2j * np.pi * np.outer(k[:, 0, 1], y)))
    return np.sqrt((np.abs(image) ** 2).sum(0))


def test_the_bubble_of_the_phantom_is_in_front(vendor_scans):
    """The ACR phantom lies on its back, so that air gathers at the front: towards anterior there is a dark cap."""
    raw = read(vendor_scans / "gre.dat")
    image = image_of(raw)
    if raw.geometry.rotation[1, 1] < 0:
        image = image[::-1]
    middle = image[:, 50:110].mean(1)
    back, front = middle[4:14].mean(), middle[-10:].mean()
    assert front < 0.3 * middle[20:30].mean()
    assert back > 2 * front


def test_the_spin_echo_is_brightest_where_the_phantom_lies_on_the_coil(scans):
    folder = scans / "pulseq_se"
    raw = read(folder / "image.dat", folder / "image.seq", trust_seq=True)
    image = image_of(raw)
    if raw.geometry.rotation[1, 1] < 0:
        image = image[::-1]
    back, front = image[6:12, 24:40].mean(), image[-12:-6, 24:40].mean()
    assert back > 1.5 * front
