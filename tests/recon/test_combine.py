from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.combine import adaptive, root_sum_of_squares
from pulsetwin.recon.walsh import walsh
from tests.operators.operator_checks import close, randn
from tests.synthetic import coil_maps, ellipses


@pytest.fixture(scope="module", params=[(1, 40, 36), (14, 20, 18)], ids=["2D", "3D"])
def coils(request):
    """Normalised maps, object and coil images."""
    maps = torch.from_numpy(coil_maps(6, request.param))
    maps = (maps / torch.linalg.vector_norm(maps, dim=0)).to(torch.complex64)
    image = torch.from_numpy(ellipses(request.param)).to(torch.complex64)
    return maps, image, maps * image


def test_root_sum_of_squares(coils):
    _, image, images = coils
    close(root_sum_of_squares(images), image.abs(), 1e-6)
    assert root_sum_of_squares(images.expand(3, *images.shape)).shape == (3, *image.shape)


def test_adaptive_inverts_the_maps(coils):
    maps, image, images = coils
    close(adaptive(images, maps), image, 1e-6)
    close(adaptive(images[None], 3 * maps), image[None] / 3, 1e-6)
    assert not adaptive(images, 0 * maps).any()


def test_adaptive_keeps_unit_noise(coils):
    maps, _, _ = coils
    noise = randn((20, *maps.shape), torch.complex64, 0)
    assert float(adaptive(noise, maps).abs().square().mean()) == pytest.approx(1, abs=0.02)


def test_walsh_finds_the_maps(coils):
    maps, image, images = coils
    found = walsh(images + 1e-3 * randn(images.shape, torch.complex64, 1))
    inside = image.abs() > 0
    overlap = (found.conj() * maps).sum(0).abs()[inside]
    assert float(overlap.median()) > 0.995
    assert float(overlap.min()) > 0.95
    assert walsh(images).any(0)[inside].all()
    close(torch.linalg.vector_norm(found, dim=0), torch.ones(image.shape), 1e-5)


def test_walsh_is_the_eigenvector_of_the_box_covariance(coils):
    _, image, images = coils
    z, y, x = (n // 2 for n in image.shape)
    box = images[:, max(0, z - 2) : z + 3, y - 2 : y + 3, x - 2 : x + 3].flatten(1)
    vector = torch.linalg.eigh(box @ box.mH)[1][:, -1]
    assert float(torch.vdot(vector, walsh(images)[:, z, y, x]).abs()) == pytest.approx(1, abs=1e-5)


def test_walsh_in_slabs_equals_walsh_at_once(coils, monkeypatch):
    _, _, images = coils
    at_once = walsh(images)
    monkeypatch.setattr("pulsetwin.recon.walsh.CHUNK", 5 * images.shape[-1] * len(images) ** 2)
    in_slabs = walsh(images)
    assert torch.equal(in_slabs.any(0), at_once.any(0))
    assert float((in_slabs.conj() * at_once).sum(0).abs()[at_once.any(0)].min()) > 0.999


def test_walsh_phase_is_smooth_and_scale_does_not_matter(coils):
    _, image, images = coils
    maps = walsh(images)
    inside = (image.abs() > 0)[..., 1:] & (image.abs() > 0)[..., :-1]
    assert float((maps[..., 1:] - maps[..., :-1]).norm(dim=0)[inside].max()) < 0.4
    for factor in (1e-6, 1e6):
        close(walsh(factor * images), maps, 1e-3)


def test_walsh_rejects_nothing_and_nans(coils):
    _, _, images = coils
    for bad in (0 * images, images * float("nan")):
        with pytest.raises(ProtocolError):
            walsh(bad)
    with pytest.raises(ShapeError):
        walsh(images[0])
