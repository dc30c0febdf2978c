from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.recon.quality import edge_width, ghost_level, ghost_only, object_mask
from tests.synthetic import ellipses


def disc(n: int = 96, radius: float = 0.2) -> np.ndarray:
    y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n] * 2, indexing="ij")
    return (x**2 + y**2 < radius**2).astype(float)


def test_the_object_is_found_and_its_holes_filled() -> None:
    image = disc() - disc(radius=0.08)
    assert (object_mask(image + 0.01) == (disc() > 0)).mean() > 0.995


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5])
def test_a_known_ghost_has_its_level(level: float) -> None:
    clean = disc()
    assert ghost_level(clean + level * np.roll(clean, 48, axis=0), clean) == pytest.approx(level, rel=0.05)


def test_the_ghost_region_leaves_out_the_object() -> None:
    image = np.abs(ellipses((1, 96, 96)))[0]
    region = ghost_only(image)
    assert region.any()
    assert not (region & (image > 0)).any()


@pytest.mark.parametrize("width", [1.0, 2.0, 3.0])
def test_edge_width_of_a_blurred_edge(width: float) -> None:
    from scipy.ndimage import gaussian_filter
    from scipy.special import erfinv

    y, x = np.meshgrid(*[np.arange(96) - 48] * 2, indexing="ij")
    square = ((np.abs(x) < 25) & (np.abs(y) < 25)).astype(float)
    expected = 2 * np.sqrt(2) * erfinv(0.6) * width
    assert edge_width(gaussian_filter(square, width)) == pytest.approx(expected, rel=0.12)


def test_without_room_for_a_ghost_the_level_is_not_a_number() -> None:
    assert np.isnan(ghost_level(np.ones((8, 8)), np.ones((8, 8))))
