import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.undersampling import analyse, regular_mask, sampled_span


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0, 8, 11]),
    st.tuples(st.integers(40, 49), st.integers(40, 49)),
)
def test_regular_lattices_are_recognised(rz, ry, shift, block, shape):
    shift = min(shift, rz - 1)
    found = analyse(regular_mask(shape, (rz, ry), caipi_shift=shift, calibration=(block, block)))
    assert found.regular
    assert (found.acceleration, found.caipi_shift) == ((rz, ry), shift)
    assert found.support == ((0, shape[0]), (0, shape[1]))
    assert found.partial_fourier == (1.0, 1.0)
    assert found.complete == (rz * ry == 1)
    origin_z, origin_y = found.origin
    step = (shape[1] // 2 - origin_y) // ry
    assert (shape[0] // 2 - origin_z - shift * step) % rz == 0


def test_calibration_block_of_a_grid():
    found = analyse(regular_mask((48, 64), (2, 3), calibration=(16, 20)))
    (z0, z1), (y0, y1) = found.calibration
    assert z1 - z0 >= 16
    assert y1 - y0 >= 20
    assert regular_mask((48, 64), (2, 3), calibration=(16, 20))[z0:z1, y0:y1].all()


def test_calibration_lines_of_a_slice():
    mask = np.zeros(64, bool)
    mask[::2] = mask[20:44] = True
    found = analyse(torch.from_numpy(mask))
    assert found.acceleration == (1, 2)
    assert found.calibration == ((0, 1), (20, 45))


def test_plain_lattice_has_no_calibration():
    for acceleration in ((1, 2), (2, 1), (2, 2)):
        assert analyse(regular_mask((32, 32), acceleration)).calibration is None


def test_elliptical_scan_and_elliptical_calibration_are_regular():
    z, y = np.ogrid[-24:24, -32:32]
    radius = (z / 24) ** 2 + (y / 32) ** 2
    mask = (regular_mask((48, 64), (2, 2), caipi_shift=1) & (radius <= 1)) | (radius < 0.1)
    found = analyse(mask)
    assert found.regular
    assert (found.acceleration, found.caipi_shift) == ((2, 2), 1)
    assert found.calibration is not None


@pytest.mark.parametrize("acceleration", [(1, 1), (1, 2), (1, 3)])
def test_partial_fourier(acceleration):
    mask = regular_mask((1, 64), acceleration, calibration=(1, 16))
    mask[:, :16] = False
    found = analyse(mask)
    assert found.regular
    assert found.acceleration == acceleration
    assert found.partial_fourier[1] == pytest.approx(0.75, abs=0.03)
    assert found.support[1][1] == 64


def test_zero_filled_resolution_is_not_partial_fourier():
    mask = np.zeros((1, 64), bool)
    mask[:, 16:48] = True
    found = analyse(mask)
    assert found.partial_fourier == (1.0, 1.0)
    assert found.support[1] == (16, 48)


def test_random_pattern_is_irregular_with_its_block():
    mask = np.random.default_rng(1).random((48, 64)) < 0.3
    mask[16:32, 24:40] = True
    found = analyse(mask)
    assert not found.regular
    assert found.acceleration == (1, 1)
    (z0, z1), (y0, y1) = found.calibration
    assert (z1 - z0) * (y1 - y0) >= 256


def test_one_missing_line_is_irregular():
    mask = regular_mask((1, 64), (1, 2), calibration=(1, 16))
    mask[:, 8] = False
    assert not analyse(mask).regular


def test_bad_masks():
    with pytest.raises(ShapeError, match=r"give \[z, y\]"):
        analyse(np.ones((2, 3, 4), bool))
    with pytest.raises(ProtocolError, match="no sample"):
        analyse(np.zeros((4, 4), bool))
    with pytest.raises(ProtocolError, match="CAIPI shift"):
        regular_mask((8, 8), (2, 2), caipi_shift=2)


def test_sampled_span():
    line = np.ones(16, bool)
    line[:4] = False
    assert sampled_span(line) == (4, 16)
    assert sampled_span(torch.from_numpy(line[::-1].copy())) == (0, 12)
    line[10] = False
    with pytest.raises(ProtocolError, match="gaps"):
        sampled_span(line)
    with pytest.raises(ProtocolError, match="both sides"):
        sampled_span(np.arange(16) % 15 > 2)
    with pytest.raises(ProtocolError, match="beyond the centre"):
        sampled_span(np.arange(16) >= 8)
    with pytest.raises(ShapeError):
        sampled_span(np.zeros(16, bool))
