"""Random images: in range, the same on any grid, and of all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ShapeError
from pulsetwin.sim.raser.images import random_image


def images(count, size):
    return np.stack([random_image(np.random.default_rng(number), size) for number in range(count)])


def test_values_are_from_0_to_1():
    made = images(60, 44)
    assert made.shape == (60, 44, 44)
    assert made.min() == 0
    assert np.allclose(made.max((1, 2)), 1)
    assert np.median((made > 0.05).mean((1, 2))) > 0.1  # of the field is filled
    assert made.std(0).mean() > 0.1  # they differ


def test_random_numbers_say_what_it_is_on_any_grid():
    """Means over blocks of a fine image are the coarse image, but for edges."""
    coarse, fine = images(30, 44), images(30, 176).reshape(30, 44, 4, 44, 4).mean((2, 4))
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(coarse, fine, strict=True)]
    assert np.median(alike) > 0.95


def test_too_small_is_told():
    with pytest.raises(ShapeError, match="size"):
        random_image(np.random.default_rng(0), 4)
