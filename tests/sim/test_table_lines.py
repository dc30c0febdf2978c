"""Lines along an axis of a grid against the sum over its voxels, and against NUFFTs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsetwin.sim.grid_encoding import grid_of
from pulsetwin.sim.table_encoding import PathEncoding
from pulsetwin.sim.table_lines import line_encoding
from pulsetwin.sim.time_expansion import expand_in_time

SIZE = (3e-3, 2e-3, 4e-3)


def object_of(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of voxels off the centre with holes, their rates, and two images."""
    g = np.random.default_rng(0)
    index = np.argwhere(g.random(shape) < 0.8)[:, ::-1] + 0.0
    position = (index if len(index) else np.zeros((1, 3))) * SIZE + [0.05, -0.02, 0.011]
    count = len(position)
    rate = 5 + 20 * g.random(count) + 2j * np.pi * 80 * g.standard_normal(count)
    return position, rate, g.standard_normal((2, count)) + 1j * g.standard_normal((2, count))


def lines_along(axis: int, ramp: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Starts at some places of a lattice, and a course along an axis that speeds up."""
    g = np.random.default_rng(1)
    start = 15.3 * g.integers(-6, 6, (100, 3)) + 3.0
    start[:, axis] = -150.0
    course = np.zeros((30, 3))
    course[:, axis] = np.linspace(0, 17, 30) ** 2
    course[:, axis - 1] = ramp * np.linspace(0, 1, 30)
    return start, course


def encoded(position, rate, start, course, time, shape, make):
    return make(grid_of(position), SIZE, shape, start, course, rate, expand_in_time(rate, time))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("grid", [(6, 4, 5), (1, 8, 5), (7, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("shape", ["box", "point"])
def test_lines_are_the_sum_over_voxels(axis, grid, shape):
    (position, rate, x), (start, course) = object_of(grid), lines_along(axis)
    time = np.linspace(2e-3, 12e-3, len(course))
    k = start[:, None] + course
    weight = np.sinc(k * SIZE).prod(-1) if shape == "box" else 1.0
    matrix = np.exp(-2j * np.pi * k @ position.T - np.outer(time, rate))
    wanted = np.einsum("lsv,rv->lrs", matrix, x) * np.broadcast_to(weight, k.shape[:2])[:, None]
    encode = encoded(position, rate, start, course, time, shape, line_encoding)
    found = encode(torch.from_numpy(x).to(torch.complex64)).numpy()
    assert found.shape == (100, 2, 30)
    assert np.abs(found - wanted).max() < 3e-6 * np.abs(wanted).max()
    other = encoded(position, rate, start, course, time, shape, PathEncoding)(torch.from_numpy(x).to(torch.complex64))
    assert np.abs(other.numpy() - wanted).max() < 2e-5 * np.abs(wanted).max()


def test_other_courses_are_none():
    """Oblique ones, lines that begin at different places along the readout, and scattered ones."""
    position, rate, _ = object_of((6, 4, 5))
    time = np.linspace(2e-3, 12e-3, 30)
    start, course = lines_along(0)
    assert encoded(position, rate, start, course, time, "box", line_encoding) is not None
    assert encoded(position, rate, *lines_along(0, ramp=5.0), time, "box", line_encoding) is None
    late = start + np.eye(3)[0] * (np.arange(len(start)) > 5)[:, None]
    assert encoded(position, rate, late, course, time, "box", line_encoding) is None
    spread = start + np.random.default_rng(2).random(start.shape) * [0, 5, 5]
    assert encoded(position, rate, spread, course, time, "box", line_encoding) is None
