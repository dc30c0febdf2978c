from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.walsh import walsh
from tests.synthetic import coil_maps, ellipses


def images(shape: tuple[int, int, int], coils: int = 6, noise: float = 1e-3) -> tuple[np.ndarray, torch.Tensor]:
    maps = coil_maps(coils, shape)
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((coils, *shape)) + 1j * rng.standard_normal((coils, *shape))
    return maps, torch.from_numpy(maps * ellipses(shape) + noise * np.abs(maps).max() * spread)


@pytest.mark.parametrize(
    ("shape", "least"),
    [((1, 40, 40), 0.998), ((1, 96, 128), 0.9995), ((1, 200, 151), 0.9995), ((12, 40, 44), 0.995)],
)
def test_sensitivities_are_those_of_the_coils_inside_the_object(shape: tuple[int, int, int], least: float) -> None:
    maps, data = images(shape)
    found = walsh(data).numpy()
    truth = maps / np.linalg.norm(maps, axis=0)
    inside = np.abs(ellipses(shape)) > 0
    overlap = np.abs((found.conj() * truth).sum(0))[inside]
    assert np.percentile(overlap, 1) > least  # a box of 5 voxels blurs the more the coarser the grid
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1, atol=1e-9)


def test_a_whole_box_decides_in_every_voxel_as_the_definition_says() -> None:
    _, data = images((3, 9, 8), coils=3, noise=0.2)
    found = walsh(data).numpy()
    values = data.numpy()
    for z, y, x in [(0, 0, 0), (1, 4, 4), (2, 8, 7), (1, 2, 6)]:
        box = values[:, max(0, z - 2) : z + 3, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].reshape(3, -1)
        vector = np.linalg.eigh(box @ box.conj().T)[1][:, -1]
        assert abs(np.vdot(vector, found[:, z, y, x])) > 0.999


def test_the_phase_is_smooth_across_a_long_axis() -> None:
    _, data = images((1, 200, 160))
    found = walsh(data)[:, 0].numpy()
    inside = np.abs(ellipses((1, 200, 160)))[0] > 0
    both = inside[:, 1:] & inside[:, :-1]
    turn = np.angle((found[:, :, 1:] * found[:, :, :-1].conj()).sum(0))
    assert np.abs(turn[both]).max() < 0.1


def test_bad_images_are_refused() -> None:
    with pytest.raises(ShapeError):
        walsh(torch.ones(3, 4, 5))
    with pytest.raises(ProtocolError, match="zero or not finite"):
        walsh(torch.zeros(2, 1, 4, 4, dtype=torch.complex64))
