"""Where an image has something, and how this follows an object that grows."""

from __future__ import annotations

import numpy as np

from pulsetwin.recon.raser.support import support

EVERYWHERE = np.ones((20, 20), bool)


def image() -> np.ndarray:
    out = np.zeros((20, 20))
    out[6:10, 8:12] = 2.0
    return out


def test_it_is_the_object_and_a_margin():
    found = support(image().ravel(), EVERYWHERE).reshape(20, 20)
    assert found[4:12, 6:14].all()
    assert found.sum() == 64


def test_faint_background_is_left_out_and_the_scale_does_not_matter():
    faint = image() + 1e-4
    assert (support(faint.ravel(), EVERYWHERE) == support(image().ravel(), EVERYWHERE)).all()
    assert (support(1e6 * faint.ravel(), EVERYWHERE) == support(faint.ravel(), EVERYWHERE)).all()


def test_what_is_faint_but_large_is_kept():
    """A hundredth of the largest pixel in many pixels is a fiftieth of all that emits."""
    faint = image()
    faint[14:20, :6] = 0.02
    found = support(faint.ravel(), EVERYWHERE).reshape(20, 20)
    assert found[14:20, :6].all()
    assert not found[:3].any()


def test_what_grows_into_the_margin_moves_it():
    grown = image()
    grown[4:6, 8:12] = 0.5
    assert support(grown.ravel(), EVERYWHERE).reshape(20, 20)[2:4, 8:12].all()


def test_only_pixels_inside_count():
    inside = EVERYWHERE.copy()
    inside[:, 10:] = False
    found = support(image()[inside], inside)
    assert found.shape == (200,)
    assert found.sum() == 32
