"""Images from projections: a disc, and what is checked."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.tomography import filtered_back_projection

MATRIX, ANGLES, MODES = (24, 24), np.arange(20) * np.pi / 20, 37


def test_filtered_back_projection_has_the_right_scale():
    areas = strip_areas(MATRIX, ANGLES, MODES)
    line = np.arange(24) - 11.5
    disc = 1.0 * (line[:, None] ** 2 + line**2 < 100)
    found = filtered_back_projection((areas @ disc.ravel()).reshape(20, MODES), areas).reshape(MATRIX)
    assert abs(found[8:16, 8:16].mean() - 1) < 0.01


def test_input_is_checked():
    with pytest.raises(ShapeError):
        filtered_back_projection(np.zeros((19, MODES)), strip_areas(MATRIX, ANGLES, MODES))
