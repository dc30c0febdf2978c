"""The conventions of the house, one test a line, each against the equation itself."""

from __future__ import annotations

import math

import numpy as np
import torch

from pulsetwin.operators.fft import fft, ifft
from pulsetwin.operators.nufft import Nufft, grid_positions
from pulsetwin.rawdata import Geometry
from pulsetwin.recon.compress import compress
from pulsetwin.recon.whiten import whitening
from pulsetwin.volume import affine_ras
from tests.operators.operator_checks import close, randn


def test_grids_are_centred_at_n_over_2():
    """A point at index n // 2 has a flat and real spectrum, for even and odd n; a flat image is one centred point."""
    for n in (8, 7):
        point = torch.zeros(n)
        point[n // 2] = 1
        flat = torch.full((n,), 1 / math.sqrt(n), dtype=torch.complex64)
        close(fft(point, (0,)), flat, 1e-6)
        close(fft(flat, (0,)), point.to(torch.complex64), 1e-6)


def test_transforms_are_orthonormal():
    image = randn((3, 5, 8), torch.complex128, 0)
    assert abs(float(fft(image, (0, 1, 2)).norm() / image.norm()) - 1) < 1e-12
    close(ifft(fft(image, (1, 2)), (1, 2)), image, 1e-12)


def test_sign_of_the_phase():
    """A point one voxel towards +x turns clockwise with growing kx: ``exp(-2 pi i kx x)``."""
    n = 16
    point = torch.zeros(n, dtype=torch.complex128)
    point[n // 2 + 1] = 1
    kspace = fft(point, (0,))
    close(kspace[n // 2 + 1] / kspace[n // 2], torch.tensor(np.exp(-2j * np.pi / n)), 1e-12)


def test_image_is_the_inverse_transform_of_the_signal():
    """``s(k) = sum_r m(r) exp(-2 pi i k r)`` on the grid of k gives m by `ifft`, up to the orthonormal scale."""
    n, fov = 12, 0.24
    object_ = randn((n,), torch.complex128, 1)
    x = (torch.arange(n, dtype=torch.float64) - n // 2) * fov / n
    k = (torch.arange(n, dtype=torch.float64) - n // 2) / fov
    signal = torch.exp(-2j * math.pi * k[:, None] * x) @ object_
    close(ifft(signal, (0,)) / math.sqrt(n), object_, 1e-12)


def test_k_is_in_cycles_per_metre_along_x_y_z_and_grids_are_z_y_x():
    shape, fov = (4, 6, 5), (0.20, 0.18, 0.06)
    object_, k = randn(shape, torch.complex128, 2), 100 * randn((9, 3), torch.float64, 3)
    z, y, x = torch.meshgrid(
        *[(torch.arange(n, dtype=torch.float64) - n // 2) * f / n for n, f in zip(shape, reversed(fov), strict=True)],
        indexing="ij",
    )
    place = torch.stack([x, y, z], -1).reshape(-1, 3)
    signal = torch.exp(-2j * math.pi * (k @ place.T)) @ object_.flatten()
    nufft = Nufft(grid_positions(k, fov, shape), shape)
    close(nufft(object_) * math.sqrt(math.prod(shape)), signal, 1e-11)


def test_coil_comes_first_then_z_y_x():
    matrix, data = randn((2, 3), torch.complex64, 4), randn((3, 1, 4, 5), torch.complex64, 5)
    assert compress(data, matrix).shape == (2, 1, 4, 5)
    close(compress(data, matrix)[1, 0, 2, 3], matrix[1] @ data[:, 0, 2, 3], 1e-6)


def test_whitened_noise_has_unit_power_in_each_coil():
    """``E|n|^2 = 1``: real and imaginary part have a variance of 1/2 each."""
    noise = 3e-6 * randn((4, 4), torch.complex128, 6) @ randn((4, 100000), torch.complex128, 7)
    white = whitening(noise) @ noise
    assert float((white.abs().square().mean(1) - 1).abs().max()) < 1e-9
    assert float((white.real.square().mean(1) - 0.5).abs().max()) < 0.01
    assert float((white[0].conj() * white[1]).mean().abs()) < 1e-9


def test_affine_is_rotation_times_millimetres_with_voxel_n_over_2_on_the_centre():
    turn, (fx, fy, fz) = 0.3, (0.24, 0.20, 0.10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    centre = np.array([0.01, -0.02, 0.03])
    affine = affine_ras(Geometry((fx, fy, fz), (48, 40, 10), rotation, centre[None]), (48, 40, 10))
    assert np.allclose(affine[:3, :3], rotation @ np.diag([5.0, 5.0, 10.0]))
    assert np.allclose(affine @ [24, 20, 5, 1], [*(1e3 * centre), 1])
