from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.combine import root_sum_of_squares
from pulsetwin.recon.compress import compress, compress_along, geometric_compression, svd_compression
from tests.operators.operator_checks import close, randn
from tests.synthetic import coil_maps, ellipses

SHAPE = (12, 16, 24)


@pytest.fixture(scope="module")
def kspace():
    """k-space of 12 coils with some noise, ``[coil, z, y, x]``."""
    images = torch.from_numpy(coil_maps(12, SHAPE) * ellipses(SHAPE)).to(torch.complex64)
    return fft(images, (1, 2, 3)) + 1e-3 * randn((12, *SHAPE), torch.complex64, 0)


def test_svd_keeps_what_the_largest_singular_values_hold(kspace):
    matrix = svd_compression(kspace, 4)
    left, values, _ = np.linalg.svd(kspace.flatten(1).numpy().astype(complex), full_matrices=False)
    virtual = compress(kspace, matrix)
    assert virtual.shape == (4, *SHAPE)
    assert float(virtual.abs().square().sum()) == pytest.approx(np.sum(values[:4] ** 2), rel=1e-5)
    close(matrix.mH @ matrix, torch.from_numpy(left[:, :4] @ left[:, :4].conj().T), 1e-3)


def test_rows_are_orthonormal_so_that_white_noise_stays_white(kspace):
    close(svd_compression(kspace, 5) @ svd_compression(kspace, 5).mH, torch.eye(5), 1e-5)
    for matrix in geometric_compression(kspace, 5, 3):
        close(matrix @ matrix.mH, torch.eye(5), 1e-5)


def test_all_coils_keep_everything(kspace):
    whole = compress_along(kspace, geometric_compression(kspace, 12, -1), -1)
    close(root_sum_of_squares(ifft(whole, (1, 2, 3))), root_sum_of_squares(ifft(kspace, (1, 2, 3))), 1e-5)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_geometric_keeps_more_than_svd(kspace, axis):
    geometric = compress_along(kspace, geometric_compression(kspace, 3, axis), axis)
    plain = compress(kspace, svd_compression(kspace, 3))
    lost = [float(kspace.norm() ** 2 - kept.norm() ** 2) for kept in (geometric, plain)]
    assert lost[0] < lost[1]


def test_neighbouring_matrices_are_aligned(kspace):
    """Aligned virtual coils vary smoothly along the readout, those of separate decompositions do not."""
    matrices = geometric_compression(kspace, 3, 3)[5:-5]
    step = (matrices[1:] - matrices[:-1]).norm(dim=(1, 2))
    overlap = torch.linalg.svdvals(matrices[1:] @ matrices[:-1].mH)
    nearest = (2 * (1 - overlap).clamp(min=0).sum(1)).sqrt()
    assert torch.allclose(step, nearest, atol=2e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling_the_data_changes_no_matrix(kspace, factor):
    projector = lambda k: (m := svd_compression(k, 4)).mH @ m  # noqa: E731
    close(projector(factor * kspace), projector(kspace), 1e-4)


def test_wrong_arguments_raise(kspace):
    for coils in (0, 13):
        with pytest.raises(ProtocolError, match="virtual coils"):
            svd_compression(kspace, coils)
    with pytest.raises(ShapeError, match="axis 0"):
        geometric_compression(kspace, 3, 0)
    with pytest.raises(ShapeError, match="takes 12 coils"):
        compress(kspace[:5], svd_compression(kspace, 4))
    with pytest.raises(ShapeError, match="matrices"):
        compress_along(kspace, geometric_compression(kspace, 3, 3), 2)
