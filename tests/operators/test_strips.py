"""Areas that pixels share with strips, against counting of points and against a function of its own."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ShapeError
from pulsetwin.operators.strips import strip_areas

ANGLES = np.arange(30) * np.pi / 30


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2, 2.2, 1e-8])
def test_areas_are_those_counted(angle):
    found = strip_areas((5, 4), np.array([angle]), 23, per_pixel=2).toarray()[:, 3 * 4 + 1]
    fine = (np.arange(1000) + 0.5) / 1000 - 0.5
    x, y = np.meshgrid(1 - 1.5 + fine, 3 - 2 + fine)
    place = 2 * (x * np.cos(angle) + y * np.sin(angle)) + 11.5
    counted = np.histogram(place, np.arange(24))[0] / fine.size**2
    assert np.abs(found - counted).max() < 1e-3


@pytest.mark.parametrize("per_pixel", [0.25, 1, 2, 4])
def test_the_integral_is_kept_at_every_angle(per_pixel):
    modes = int(67 * per_pixel) + 2
    areas = strip_areas((44, 44), ANGLES, modes, per_pixel=per_pixel)
    assert np.abs(areas.sum(0) - 30).max() < 1e-10


def test_a_disc_projects_to_its_chords():
    """Fine pixels of a disc: the projection is ``2 sqrt(R^2 - p^2)`` at every angle."""
    n, radius = 200, 80.0
    line = np.arange(n) - (n - 1) / 2
    disc = (line[:, None] ** 2 + line**2 < radius**2).astype(float)
    found = (strip_areas((n, n), np.array([0.0, 0.4, 1.9]), 71, per_pixel=0.25) @ disc.ravel()).reshape(3, 71)
    edges = np.clip(4 * (np.arange(72) - 35.5), -radius, radius)
    chords = np.diff(edges * np.sqrt(radius**2 - edges**2) + radius**2 * np.arcsin(edges / radius))
    assert np.abs(found - chords).max() < 0.01 * chords.max()


def test_pixels_left_out_are_left_out():
    inside = np.zeros((6, 5), bool)
    inside[2, 3] = inside[4, 0] = True
    whole = strip_areas((6, 5), ANGLES, 13)
    assert abs(strip_areas((6, 5), ANGLES, 13, inside=inside) - whole[:, [13, 20]]).max() == 0


def test_shapes_are_checked():
    for bad in ({"modes": 0}, {"matrix": (0, 4)}, {"angles": np.zeros(0)}, {"inside": np.ones((3, 3), bool)}):
        with pytest.raises(ShapeError):
            strip_areas(**({"matrix": (4, 4), "angles": ANGLES, "modes": 7} | bad))
