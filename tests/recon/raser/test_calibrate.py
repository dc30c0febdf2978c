"""The gain of the receiver, told by the projections of the simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.raser.calibrate import kappa_of
from pulsetwin.sim.raser.training_data import Domain, one_image

DOMAIN = Domain(finer=2, pumped=(0.0, 0.0))


def found(signal: np.ndarray, dwell: float = DOMAIN.dwell, over_threshold: float = 10.0) -> float:
    times = {"t1": 5.0, "t2": 0.7, "over_threshold": over_threshold}
    return kappa_of(signal, dwell, DOMAIN.modes, DOMAIN.bandwidth, **times)


def noisy(number: int, domain: Domain = DOMAIN) -> np.ndarray:
    """Return the signals of an image, of two modes in a pixel."""
    signal, rng = one_image(domain, 3, number)["signal"], np.random.default_rng(number)
    size = 1e-3 * np.abs(signal).max(1).mean()
    return signal + size * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


@pytest.mark.parametrize(("over_threshold", "number", "bound"), [(10.0, 0, 0.04), (10.0, 1, 0.04), (30.0, 0, 0.01)])
def test_signals_in_units_of_the_threshold_have_a_kappa_of_one(over_threshold, number, bound):
    domain = replace(DOMAIN, dwell=1e-3, samples=4096, total=(over_threshold, over_threshold))
    assert abs(np.log(found(noisy(number, domain), 1e-3, over_threshold))) < bound


def test_an_inversion_that_is_said_wrong_misleads_the_gain_by_about_as_much():
    """It is 9 to 11 times the threshold and said to be 10; there are a quarter of the samples, too."""
    assert all(abs(np.log(found(noisy(number)))) < 0.12 for number in range(2))


def test_pumping_does_not_mislead_the_gain_if_it_is_in_the_model():
    """Pumps decay in 1 s; 20 % less is said. Without, kappa comes out too small."""
    signal = noisy(0, Domain(finer=2, pumped=(1.0, 0.5), pump_decay=(1.0, 1.0)))
    times = {"t1": 5.0, "t2": 0.7, "over_threshold": 10.0}
    without, said = (
        kappa_of(signal, DOMAIN.dwell, DOMAIN.modes, DOMAIN.bandwidth, **times, pump_decay=one) for one in (None, 0.8)
    )
    assert abs(np.log(said)) < 0.02
    assert abs(np.log(without)) > 2 * abs(np.log(said))


def test_a_gain_of_any_size_is_told():
    signal = noisy(0)
    assert abs(found(1e-4 * signal) * 1e-8 / found(signal) - 1) < 0.01


def test_a_sample_below_the_threshold_tells_no_gain():
    signal = one_image(Domain(total=(0.9, 0.9), pumped=(0.0, 0.0)), 0, 0)["signal"]
    with pytest.raises(ProtocolError, match="no gain"):
        found(signal)


def test_bad_input_is_told():
    signal = noisy(0)
    with pytest.raises(ProtocolError, match="empty or not numbers"):
        found(0 * signal)
    with pytest.raises(ProtocolError, match="empty or not numbers"):
        found(np.nan * signal)


@pytest.mark.parametrize("settings", [{"over_threshold": 1e4}, {"t2": 1e-4}])
def test_a_sample_of_which_nothing_is_true_tells_no_gain(settings):
    said = {"t1": 5.0, "t2": 0.7, "over_threshold": 10.0} | settings
    with pytest.raises(ProtocolError, match="no gain"):
        kappa_of(noisy(0), DOMAIN.dwell, DOMAIN.modes, DOMAIN.bandwidth, **said)
