"""Images of small total variation that are not negative, against scipy and against limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.raser.total_variation import differences, minimise

MATRIX = (5, 6)


@pytest.fixture
def problem():
    rng = np.random.default_rng(1)
    image = np.zeros(MATRIX)
    image[1:4, 2:5] = 1.0
    columns = rng.standard_normal((40, 30))
    data = columns @ image.ravel() + 0.3 * rng.standard_normal(40)
    return columns, data


def test_differences_are_those_to_the_next():
    image = np.random.default_rng(0).standard_normal(MATRIX)
    along_y, along_x = (differences(MATRIX) @ image.ravel()).reshape(2, *MATRIX)
    assert np.allclose(along_y[:-1], np.diff(image, axis=0))
    assert np.allclose(along_x[:, :-1], np.diff(image, axis=1))
    assert not along_y[-1].any()
    assert not along_x[:, -1].any()


@pytest.mark.parametrize("weight", [0.3, 3.0])
def test_nothing_is_lower(problem, weight):
    columns, data = problem
    gradient = differences(MATRIX)

    def cost(image, smooth):
        slopes = (gradient @ image).reshape(2, -1)
        length = np.sqrt((slopes**2).sum(0) + smooth**2)
        slope = columns.T @ (columns @ image - data) + weight * gradient.T @ (slopes / length).ravel()
        return ((columns @ image - data) ** 2).sum() / 2 + weight * length.sum(), slope

    found = minimise(columns.T @ columns, columns.T @ data, gradient, np.ones(30), weight).image
    start = np.full(30, 0.5)
    for smooth in (0.1, 0.01, 3e-3):
        best = minimize(cost, start, args=(smooth,), jac=True, bounds=[(0, None)] * 30, options={"maxiter": 5000})
        start = best.x
    assert found.min() > 0
    assert cost(found, 3e-3)[0] < best.fun + 0.05 * 30 * 1e-2 + 0.02 * abs(best.fun)
    assert np.abs(found - best.x).max() < 0.05


def test_without_total_variation_it_is_non_negative_least_squares(problem):
    columns, data = problem
    normal, right = 100 * columns.T @ columns, 100 * columns.T @ data  # noise of 0.1
    found = minimise(normal, right, differences(MATRIX), np.ones(30), 1e-6).image
    assert np.abs(found - nnls(columns, data)[0]).max() < 0.02


def test_of_much_weight_it_is_flat(problem):
    columns, data = problem
    found = minimise(columns.T @ columns, columns.T @ data, differences(MATRIX), np.ones(30), 1e5).image
    flat = columns.sum(1) @ data / (columns.sum(1) @ columns.sum(1))
    assert np.abs(found - flat).max() < 1e-2 * abs(flat)


def test_shapes_and_weight_are_checked(problem):
    columns, data = problem
    normal, right = columns.T @ columns, columns.T @ data
    with pytest.raises(ShapeError):
        minimise(normal, right[:-1], differences(MATRIX), np.ones(30), 1.0)
    with pytest.raises(ProtocolError):
        minimise(normal, right, differences(MATRIX), np.ones(30), 0.0)


def test_a_curvature_that_is_no_number_is_told(problem):
    columns, data = problem
    normal = columns.T @ columns
    normal[3, 3] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="not positive"):
        minimise(normal, columns.T @ data, differences(MATRIX), np.ones(30), 1.0)
