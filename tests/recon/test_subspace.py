"""Subspace SENSE against written-out least squares, against SENSE of each contrast, and from coarse sensitivities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft
from pulsetwin.recon.sense import sense
from pulsetwin.recon.sensitivities import Sensitivities, sensitivities
from pulsetwin.recon.subspace import Lines, one_hot, subspace_sense
from tests.synthetic import coil_maps, ellipses


def unit_maps(coils, shape):
    maps = torch.from_numpy(coil_maps(coils, shape))
    return maps / maps.abs().square().sum(0).sqrt()


def case(shape=(5, 6, 4), coils=3, coefficients=2, lines=50, seed=1):
    rng = np.random.default_rng(seed)
    maps = unit_maps(coils, shape)
    images = torch.from_numpy(rng.standard_normal((coefficients, *shape, 2))).view(torch.complex128)[..., 0]
    kz, ky = (torch.from_numpy(rng.integers(0, n, lines)) for n in shape[:2])
    weights = torch.from_numpy(rng.standard_normal((lines, coefficients)))
    data = fft(maps * images[:, None], (2, 3))[:, :, kz, ky]
    return maps, images, Lines(torch.einsum("lk,kclx->lcx", weights + 0j, data), kz, ky, weights, shape)


def written_out(lines, maps, regularisation):
    """The regularised solution of each position along x, with the matrix of the whole model in full."""
    nz, ny, nx = lines.shape
    z, y = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (nz, ny))
    wave = torch.exp(-2j * torch.pi * (z[:, None] * (lines.kz - nz // 2)[:, None, None] / nz
                                       + y * (lines.ky - ny // 2)[:, None, None] / ny)) / np.sqrt(nz * ny)  # fmt: skip
    found = []
    for x in range(nx):
        model = torch.einsum("lk,lzy,czy->lckzy", lines.weights + 0j, wave, maps[..., x]).flatten(2).flatten(0, 1)
        costs = torch.as_tensor(regularisation, dtype=torch.float64).expand(lines.weights.shape[1])
        costs = costs.repeat_interleave(nz * ny)
        normal = model.mH @ model + torch.diag(costs).to(model.dtype)
        solved = torch.linalg.solve(normal, model.mH @ lines.values[..., x].flatten())
        found.append(solved.reshape(-1, nz, ny))
    return torch.stack(found, -1)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("shape", [(5, 6, 4), (1, 8, 3), (4, 1, 5)])
def test_against_the_written_out_system(shape, each):
    maps, _, lines = case(shape)
    costs = torch.linspace(0.1, 0.7, lines.weights.shape[1], dtype=torch.float64) if each else 0.3
    found = subspace_sense(
        lines, Sensitivities(maps, shape, 0.5), regularisation=costs, iterations=600, tolerance=1e-13
    )
    truth = written_out(lines, maps, costs)
    assert float((found - truth).norm() / truth.norm()) < 1e-9


def test_separate_contrasts_are_those_of_sense():
    shape, coils = (8, 12, 6), 4
    maps, rng = unit_maps(coils, shape), np.random.default_rng(2)
    images = torch.stack([torch.from_numpy(ellipses(shape)) * (one + 1) for one in range(3)])
    masks = torch.from_numpy(rng.random((3, *shape[:2])) < 0.6)
    data, (contrast, kz, ky) = fft(maps * images[:, None], (2, 3)), masks.nonzero(as_tuple=True)
    lines = Lines(data[contrast, :, kz, ky], kz, ky, one_hot(contrast, 3), shape)
    settings = {"regularisation": 0.01, "iterations": 300, "tolerance": 1e-12}
    found = subspace_sense(lines, Sensitivities(maps, shape, 0.5), **settings)
    for one, mask in enumerate(masks):
        truth = sense(fft(maps * images[one], (1, 2, 3)), mask, maps, **settings)
        assert float((found[one] - truth).norm() / truth.norm()) < 1e-8


def test_positions_along_the_readout_are_independent():
    maps, _, lines = case()
    whole = subspace_sense(lines, Sensitivities(maps, lines.shape, 0.5), iterations=200, tolerance=1e-12)
    seen = []
    one = Lines(lines.values[..., 2:3], lines.kz, lines.ky, lines.weights, (*lines.shape[:2], 1))
    part = subspace_sense(
        one, Sensitivities(maps[..., 2:3], one.shape, 0.5), iterations=200, tolerance=1e-12,
        progress=lambda done, total, what: seen.append((done, total)),
    )  # fmt: skip
    assert float((whole[..., 2:3] - part).norm() / part.norm()) < 1e-9
    assert seen == [(1, 1)]


@pytest.mark.slow
def test_coarse_sensitivities_are_those_of_the_full_grid():
    shape = (64, 80, 72)
    maps, image = unit_maps(6, shape), torch.from_numpy(ellipses(shape))
    kspace = fft(maps * image, (1, 2, 3))[:, 24:40, 32:48, 26:46].to(torch.complex64)
    fine = sensitivities(kspace, shape, coarseness=1)
    coarse = sensitivities(kspace, shape, coarseness=2)
    one, other = (torch.fft.fftshift(each.at(slice(None)).movedim(0, -1), (1, 2)) for each in (fine, coarse))
    inside = image.abs() > 0
    assert bool((other.abs().sum(0) > 0)[inside].float().mean() > 0.98)
    both = inside & (one.abs().sum(0) > 0) & (other.abs().sum(0) > 0)
    assert float((one - other)[:, both].norm() / one[:, both].norm()) < 0.03
    assert torch.equal(coarse.at(slice(5, 7)), coarse.at(slice(None))[5:7])


def test_bad_input():
    maps, _, lines = case()
    with pytest.raises(ShapeError, match="pass those of one scan"):
        subspace_sense(lines, Sensitivities(maps[:2], lines.shape))
    with pytest.raises(ProtocolError, match="negative"):
        subspace_sense(lines, Sensitivities(maps, lines.shape), regularisation=-1.0)
    with pytest.raises(ShapeError, match="give"):
        Lines(lines.values, lines.kz[:3], lines.ky, lines.weights, lines.shape)
    with pytest.raises(ProtocolError, match="no line"):
        Lines(lines.values[:0], lines.kz[:0], lines.ky[:0], lines.weights[:0], lines.shape)
