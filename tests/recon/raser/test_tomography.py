"""Images from projections: a disc, noise, and what is checked."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.tomography import filtered_back_projection, sirt, total_variation

MATRIX, ANGLES, MODES = (24, 24), np.arange(20) * np.pi / 20, 37


@pytest.fixture
def scan():
    line = np.arange(24) - 11.5
    image = 1.0 * (line[:, None] ** 2 + line**2 < 81)
    image[8:13, 12:16] = 0.3
    areas = strip_areas(MATRIX, ANGLES, MODES)
    return image, areas, (areas @ image.ravel()).reshape(20, MODES)


def error(found, image):
    return float(np.mean((found - image.ravel()) ** 2))


def test_each_is_better_than_the_one_before(scan):
    image, areas, projections = scan
    noise = 0.02 * projections.max()
    noisy = projections + noise * np.random.default_rng(0).standard_normal(projections.shape)
    errors = [
        error(filtered_back_projection(noisy, areas), image),
        error(sirt(noisy, areas), image),
        error(total_variation(noisy, areas, MATRIX, noise), image),
    ]
    assert errors[0] < 0.03
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


def test_filtered_back_projection_has_the_right_scale(scan):
    _, areas, _ = scan
    line = np.arange(24) - 11.5
    disc = 1.0 * (line[:, None] ** 2 + line**2 < 100)
    found = filtered_back_projection((areas @ disc.ravel()).reshape(20, MODES), areas).reshape(MATRIX)
    assert abs(found[8:16, 8:16].mean() - 1) < 0.01


def test_scale_of_the_data_is_the_scale_of_the_image(scan):
    _, areas, projections = scan
    for method in (sirt, lambda data, a: total_variation(data, a, MATRIX, 0.01 * data.max())):
        assert np.allclose(method(1e-6 * projections, areas), 1e-6 * method(projections, areas), rtol=1e-6, atol=1e-12)


def test_input_is_checked(scan):
    _, areas, projections = scan
    for method in (filtered_back_projection, sirt):
        with pytest.raises(ShapeError):
            method(projections[:-1], areas)
    with pytest.raises(ProtocolError, match="iterations"):
        sirt(projections, areas, 0)
    with pytest.raises(ProtocolError, match="noise"):
        total_variation(projections, areas, MATRIX, 0.0)
