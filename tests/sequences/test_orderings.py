"""Orders and patterns of phase-encoded planes: what holds for any size, and the tables of published scans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.undersampling import analyse
from pulsetwin.sequences.orderings import (
    annular,
    centred_block,
    centric,
    elliptical_mask,
    interleaved,
    linear,
    partial_fourier_mask,
    poisson_mask,
    radius,
    regular_mask,
)

SHAPES = st.tuples(st.integers(1, 24), st.integers(2, 24))
QALAS = (208, 240)  # partitions and lines of 3D-QALAS at 1 mm


@given(shape=SHAPES, seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_each_cell_once(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[shape[0] // 2, shape[1] // 2] = True
    for order in (linear(mask), centric(mask)):
        again = np.zeros(shape, int)
        np.add.at(again, (order[:, 1], order[:, 0]), 1)
        assert np.array_equal(again, mask)
    far = (centric(mask) - [shape[1] // 2, shape[0] // 2]) / [shape[1], shape[0]]
    assert np.all(np.diff(np.linalg.norm(far, axis=1)) > -1e-12)
    assert not far[0].any()


@given(shape=SHAPES, train=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_trains_of_annuli(shape, train):
    mask = elliptical_mask(shape)
    order = annular(mask, train)
    assert order.shape == (-(-mask.sum() // train), train, 2)
    again = np.zeros(shape, int)
    np.add.at(again, (order[..., 1], order[..., 0]), 1)
    assert np.array_equal(again > 0, mask)
    assert again.sum() - mask.sum() < train
    assert mask.sum() < train or again.max() <= 2
    far = radius(shape)[order[..., 1], order[..., 0]]
    assert np.all(far[:, 1:].min(axis=0) >= far[:, :-1].max(axis=0) - 1e-12)


def test_lines_from_the_centre():
    assert centric(np.ones((1, 6), bool))[:, 0].tolist() == [3, 4, 2, 5, 1, 0]
    assert linear(np.ones((2, 2), bool)).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_radii_of_the_published_trains():
    """Echo to mean radius of the public 3D-QALAS pattern, 64 trains of 127, acceleration 6.21, 16 x 16 in the centre.

    Its third echo lies at 0.086, where there are fewer cells than its centre of 256 holds: no order by radius has that.
    """
    mask = poisson_mask(QALAS, 6.21, calibration=(16, 16), falloff=0.2)
    order = annular(mask, 127)
    assert order.shape == (64, 127, 2)
    far = radius(QALAS)[order[..., 1], order[..., 0]]
    echoes = np.array([1, 2, 6, 11, 21, 127])
    assert np.allclose(far.mean(0)[echoes - 1], [0.029, 0.045, 0.13, 0.215, 0.37, 0.997], atol=0.02)
    assert far.std(0).max() < 0.014
    steps = np.abs(np.diff(order, axis=0))
    assert np.median(steps.max(axis=-1)) < 0.1 * 240  # from train to train the same echo moves little


@pytest.mark.parametrize(
    ("shape", "acceleration", "calibration", "falloff"),
    [
        ((64, 64), 4, (8, 8), 1), ((33, 47), 4, (7, 9), 0), ((16, 16), 2, (4, 4), 1), ((32, 48), 1.5, (8, 8), 2),
        ((1, 128), 3, (1, 24), 1), ((64, 64), 10, (0, 0), 0.5),
    ],
)  # fmt: skip
def test_poisson_disc(shape, acceleration, calibration, falloff):
    mask = poisson_mask(shape, acceleration, calibration=calibration, falloff=falloff, seed=3)
    assert mask.size / mask.sum() == pytest.approx(acceleration, rel=0.02)
    block = centred_block(shape, calibration)
    assert mask[block].all()
    assert elliptical_mask(shape)[mask & ~block].all()
    assert np.array_equal(mask, poisson_mask(shape, acceleration, calibration=calibration, falloff=falloff, seed=3))
    assert not np.array_equal(mask, poisson_mask(shape, acceleration, calibration=calibration, falloff=falloff, seed=4))


def test_poisson_disc_spreads_its_samples():
    """Nearest neighbours of an even pattern are farther apart, and more alike, than those of random samples."""
    mask = poisson_mask((96, 96), 8, falloff=0)
    random = np.zeros(mask.size, bool)
    random[np.random.default_rng(0).choice(np.flatnonzero(elliptical_mask(mask.shape)), mask.sum(), False)] = True
    near = [cKDTree(linear(one)).query(linear(one), 2)[0][:, 1] for one in (mask, random.reshape(mask.shape))]
    assert near[0].mean() > 1.4 * near[1].mean()
    assert near[0].min() > 1.4
    thinner = poisson_mask((96, 96), 8, falloff=2)
    inner = radius(mask.shape) < 0.4
    assert thinner[inner].sum() > 1.8 * mask[inner].sum()


@pytest.mark.parametrize("shape", [(12, 16), (9, 15), (24, 32)])
@pytest.mark.parametrize(("acceleration", "shift"), [((2, 2), 0), ((2, 2), 1), ((3, 1), 1), ((1, 2), 0), ((3, 2), 2)])
def test_caipi(shape, acceleration, shift):
    mask = regular_mask(shape, acceleration, caipi_shift=shift)
    z, y = np.argwhere(mask).T - np.array([[shape[0] // 2], [shape[1] // 2]])
    assert mask.size / mask.sum() == pytest.approx(np.prod(acceleration), rel=0.2)
    assert np.all(y % acceleration[1] == 0)
    assert np.all((z - shift * y // acceleration[1]) % acceleration[0] == 0)
    found = analyse(mask)
    assert (found.acceleration, found.caipi_shift) == (acceleration, shift)


@given(shape=SHAPES, size=SHAPES)
@settings(max_examples=40, deadline=None)
def test_block_in_the_centre(shape, size):
    block = centred_block(shape, size)
    assert np.array_equal(block.any(1), np.isin(np.arange(shape[0]) - shape[0] // 2, np.arange(size[0]) - size[0] // 2))
    assert np.array_equal(block.any(0), np.isin(np.arange(shape[1]) - shape[1] // 2, np.arange(size[1]) - size[1] // 2))
    assert block.sum() == block.any(1).sum() * block.any(0).sum()


def test_ellipse_and_partial_fourier():
    assert elliptical_mask((200, 300)).mean() == pytest.approx(np.pi / 4, abs=2e-3)
    found = analyse(partial_fourier_mask((32, 64), (1.0, 0.75)))
    assert found.partial_fourier == (1.0, 0.75)
    assert found.support == ((0, 32), (16, 64))
    assert analyse(partial_fourier_mask((1, 64), (1.0, 0.625))).partial_fourier == (1.0, 0.625)


@given(count=st.integers(1, 40), step=st.integers(1, 5))
def test_slices_interleave(count, step):
    order = interleaved(count, step)
    assert sorted(order) == list(range(count))
    assert np.count_nonzero(np.abs(np.diff(order)) == 1) <= (step - 1 if step > 1 else count)
    assert interleaved(5).tolist() == [0, 2, 4, 1, 3]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: regular_mask((8, 8), (0, 1)), "at least 1"),
        (lambda: regular_mask((8, 8), (2, 1), caipi_shift=2), "shift from 0"),
        (lambda: poisson_mask((16, 16), 1.1), r"acceleration 1.1: give 1.\d+ to 256"),
        (lambda: poisson_mask((16, 16), 8, calibration=(8, 8)), "to 4 for this calibration block"),
        (lambda: partial_fourier_mask((16, 16), (1.0, 0.5)), "more than half"),
        (lambda: partial_fourier_mask((16, 16), (1.0, 1.2)), "at most 1"),
    ],
)
def test_what_cannot_be_is_refused(ask, told):
    with pytest.raises(ProtocolError, match=told):
        ask()
