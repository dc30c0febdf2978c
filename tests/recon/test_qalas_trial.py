"""What a trial fit tells of QALAS contrasts: their order where they have no signs, and their noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pulsetwin.errors import MismatchError
from pulsetwin.recon.qalas.trial import check_order, noise_left, trial
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Images

TIMING = QalasTiming.preset("siemens")
SHAPE = (10, 20, 20)


def images(noise: float, *, magnitude: bool, seed: int = 0) -> Images:
    """Return images of tissue between white matter and fluid, with complex noise, as a share of a bright voxel."""
    rng = np.random.default_rng(seed)
    t1, t2 = (torch.from_numpy(rng.uniform(*span, SHAPE)) for span in ((0.7, 2.0), (0.05, 0.15)))
    made = np.moveaxis(signals(TIMING, t1, t2, ie=0.9, pd=300.0).numpy(), -1, 0)
    shifts = rng.standard_normal((2, *made.shape))
    noisy = made + noise * np.abs(made).max() * (shifts[0] + 1j * shifts[1])
    return Images(np.abs(noisy) if magnitude else noisy, np.eye(4), ({},) * 5)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_the_right_order_of_magnitudes_passes(noise):
    assert check_order(trial(images(noise, magnitude=True), TIMING)) == ()


@pytest.mark.parametrize("order", [(0, 2, 1, 3, 4), (0, 1, 3, 2, 4), (4, 3, 2, 1, 0), (1, 2, 3, 4, 0), (2, 1, 0, 3, 4)])
def test_wrong_orders_of_magnitudes_are_found(order):
    scan = images(0.005, magnitude=True)
    turned = Images(scan.values[list(order)], np.eye(4), scan.contrasts)
    with pytest.raises(MismatchError, match="out of order") as raised:
        check_order(trial(turned, TIMING))
    assert f"order {', '.join(str(order.index(k) + 1) for k in range(5))}" in str(raised.value)


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_first_two_contrasts_swapped_are_told(noise):
    """A poor inversion explains them all but as well as the right ones: noise hides the difference."""
    scan = images(noise, magnitude=True)
    (said,) = check_order(trial(Images(scan.values[[1, 0, 2, 3, 4]], np.eye(4), scan.contrasts), TIMING))
    assert "may be out of order" in said
    assert "order 2, 1, 3, 4, 5" in said


def test_the_right_order_passes_with_a_wrong_b1_or_timing():
    scan = images(0.01, magnitude=True)
    for b1 in (0.7, 1.3):
        tried = trial(scan, TIMING)
        check_order(dataclasses.replace(tried, b1=b1 * tried.b1))
    check_order(trial(scan, QalasTiming.preset("ge")))


@pytest.mark.parametrize(("ie", "magnitude"), [("free", False), (0.9, False), ((0.5, 1.0), True)])
def test_noise_is_what_was_added(ie, magnitude):
    level = 0.01
    scan = images(level, magnitude=magnitude, seed=1)
    truth = level * np.abs(images(0.0, magnitude=True, seed=1).values).max()
    assert abs(noise_left(trial(scan, TIMING), ie=ie) / truth - 1) < 0.1


def test_labels_tell_the_order():
    scan = images(0.0, magnitude=True)
    labels = tuple({"ECO": number} for number in (1, 0, 2, 3, 4))
    tried = trial(Images(scan.values[[1, 0, 2, 3, 4]], np.eye(4), labels), TIMING)
    check_order(tried)
    assert noise_left(tried) < 1e-4
