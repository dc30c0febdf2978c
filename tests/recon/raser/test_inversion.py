"""Images from RASER projections, played with finer modes and pixels than the inversion has."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser import fit
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.sim.raser.projections import emitted, strip_frequencies

ANGLES, BANDWIDTH, DWELL, SAMPLES = np.arange(12) * np.pi / 12, 0.15, 2e-3, 1400
WRONG = Parameters(5.5, 0.72, 0.9)


def boxes(pixels: int) -> np.ndarray:
    """Return an asymmetric object of two flat parts."""
    place = (np.arange(pixels) + 0.5) / pixels
    y, x = np.meshgrid(place, place, indexing="ij")
    image = 0.4 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.16)
    image[(x > 0.5) & (x < 0.75) & (y > 0.3) & (y < 0.6)] = 1.0
    return image


@cache
def scan(over: float = 10.0, noise: float = 1e-3, pumped: bool = False) -> np.ndarray:
    """Return signals of four modes in a pixel and sixteen pixels in one, every scale and start random."""
    rng, modes = np.random.default_rng(5), 92
    areas = strip_areas((64, 64), ANGLES, modes, per_pixel=1.0)
    profiles = (areas @ boxes(64).ravel()).reshape(12, modes)
    totals = over * (1 + 0.05 * rng.standard_normal(12))
    signal = emitted(
        profiles, totals, strip_frequencies(modes, BANDWIDTH / 4), rng, t1=5.0, t2=0.7, share=1e-3, dwell=DWELL,
        samples=SAMPLES, pump_source=pumps() if pumped else 0.0, pump_decay=0.9,
    )  # fmt: skip
    size = noise * np.abs(signal).max(1).mean()
    return signal + size * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def pumps() -> np.ndarray:
    """Return what is pumped into three modes of each projection, somewhere else in each, ``[angle, mode]``."""
    rng, source = np.random.default_rng(7), np.zeros((12, 92))
    for one, first in zip(source, rng.integers(25, 65, 12), strict=True):
        one[first : first + 3] = 0.5 + rng.random()
    return source


def inverted(signal, **settings):
    given = {"matrix": (16, 16), "pixel_bandwidth": BANDWIDTH, "parameters": WRONG} | settings
    return invert(signal, DWELL, ANGLES, **given)


def error(image: np.ndarray) -> float:
    """Return the mean squared error of the best multiple."""
    wanted = boxes(64).reshape(16, 4, 16, 4).mean((1, 3))
    return float(np.mean((image * (image * wanted).sum() / (image**2).sum() - wanted) ** 2))


@cache
def found():
    return inverted(scan())


def test_the_image_and_the_parameters_are_found():
    """T1, T2* and the gain start 10, 3 and 10 % wrong; twelve short projections tell the last two together, about."""
    result = found()
    assert error(result.image) < 0.004
    assert np.abs(np.log(np.array(result.parameters) / [5.0, 0.7, 1.0]) / [0.05, 0.08, 0.15]).max() < 1
    assert 0.85 < result.chi_squared < 1.1
    assert result.image.max() == 1


def test_deviations_and_residuals_are_of_the_size_of_the_errors():
    result = found()
    wanted = boxes(64).reshape(16, 4, 16, 4).mean((1, 3))
    there = result.deviation > 0
    apart = (result.image - wanted)[there] / result.deviation[there]
    assert not result.image[~there].any()
    assert wanted[~there].max() < 0.01
    assert 0.5 < np.sqrt(np.mean(apart**2)) < 1.6
    assert 0.5 < np.abs(result.residual).std() < 1.2


@pytest.mark.slow
def test_errors_of_the_parameters_are_their_spread_over_noise():
    """Eight draws tell a spread within a quarter."""
    rng, clean, told = np.random.default_rng(1), scan(noise=0.0), []
    for _ in range(8):
        noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
        told.append(inverted(clean + 1e-3 * np.abs(clean).max(1).mean() * noise))
    spread = np.std([one.parameters for one in told], axis=0, ddof=1)
    ratio = spread / np.mean([one.errors for one in told], axis=0)
    assert 0.5 < ratio.min() <= ratio.max() < 1.5, ratio


def test_modes_are_as_many_as_wide_pixels_need():
    """With one in a pixel there were fewer modes than frequencies that stand for them."""
    result = inverted(scan(), per_pixel=1)
    assert error(result.image) < 0.004
    assert result.chi_squared < 1.1


def test_sinogram_is_in_units_of_the_threshold():
    totals = found().sinogram.sum(1)
    assert np.abs(totals / 10 - 1).max() < 0.2


def test_a_gain_of_the_receiver_is_found():
    """The same signals 2 times as large: kappa is a quarter, the image the same."""
    result = inverted(2 * scan(), parameters=Parameters(5.5, 0.72, 0.9 / 4))
    assert np.abs(result.image - found().image).max() < 1e-3
    assert abs(4 * result.parameters.kappa / found().parameters.kappa - 1) < 1e-3


def test_a_pumping_is_found_along_with_the_image():
    """T1, T2*, kappa and the decay start 6, 1.5, 4 and 11 % wrong: 12 projections are few for a pump in each."""
    result = inverted(scan(pumped=True), pump_decay=1.0, parameters=Parameters(5.3, 0.71, 0.96))
    assert error(result.image) < 0.004
    assert 0.85 < result.chi_squared < 1.1
    assert abs(np.log(result.pump_decay[0] / 0.9)) < 0.1
    assert np.abs(result.pumped.sum(1) / pumps().sum(1) - 1).max() < 0.1
    places = np.arange(92) - 45.5, np.arange(result.pumped.shape[1]) - (result.pumped.shape[1] - 1) / 2
    wanted, found = ((one @ at) / one.sum(1) for one, at in zip((pumps(), result.pumped), places, strict=True))
    assert np.abs(found - wanted).max() < 1


def test_a_pumping_is_found_from_parameters_that_are_as_wrong_as_without():
    """The decay starts 11 % wrong, too: steps that make the fit worse are halved, else there would be no image."""
    result = inverted(scan(pumped=True), pump_decay=1.0)
    assert result.settled
    assert error(result.image) < 0.004
    assert 0.85 < result.chi_squared < 1.1
    assert abs(np.log(result.pump_decay[0] / 0.9)) < 0.1


def test_a_pumped_fit_that_fails_at_last_is_the_guess_before(monkeypatch):
    iterate, calls = fit._iterate, []

    def failing(*given, last, **settings):
        calls.append(last)
        if sum(calls) == 3:
            raise np.linalg.LinAlgError("Singular matrix")
        return iterate(*given, last=last, **settings)

    monkeypatch.setattr(fit, "_iterate", failing)
    result = inverted(scan(pumped=True), pump_decay=1.0)
    assert not result.settled
    assert result.image.max() == 1


def test_a_pumping_that_is_not_in_the_model_is_told_by_chi_squared():
    assert inverted(scan(pumped=True)).chi_squared > 2


@pytest.mark.parametrize("gain", [0.05, 1e6, 1e-6])
def test_a_gain_that_is_far_off_is_told(gain):
    with pytest.raises(ProtocolError, match="check the gain"):
        inverted(scan(), parameters=Parameters(5.0, 0.7, gain**-2.0))


def test_noise_alone_is_told():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((12, SAMPLES)) + 1j * rng.standard_normal((12, SAMPLES))
    with pytest.raises(ProtocolError, match="more than noise"):
        inverted(noise, parameters=Parameters(5.0, 0.7, 1.0))


def test_an_error_of_another_kind_is_not_said_to_be_the_gains(monkeypatch):
    def broken(*_):
        raise ValueError("a mistake of the program")

    monkeypatch.setattr(fit, "starts_of", broken)
    with pytest.raises(ValueError, match="a mistake of the program"):
        inverted(scan())


def test_a_fit_that_is_cut_short_is_not_settled(monkeypatch):
    assert found().settled
    monkeypatch.setattr(fit, "_LAST", 1)
    assert not inverted(scan()).settled


def test_a_support_that_cuts_something_off_is_given_up(monkeypatch):
    """A margin of none about the brighter part of the object leaves most of the other part out."""

    def bright_part(image, inside):
        return image > 0.7 * image.max()

    monkeypatch.setattr(fit, "support", bright_part)
    result = inverted(scan())
    assert result.chi_squared < 1.1
    assert error(result.image) < 0.004


def test_bad_input_is_told():
    signal = scan()
    with pytest.raises(ShapeError, match="one angle each"):
        inverted(signal[:-1])
    broken, empty = signal.copy(), signal.copy()
    broken[3, 5], empty[4] = np.nan, 0
    with pytest.raises(ProtocolError, match="projection 3"):
        inverted(broken)
    with pytest.raises(ProtocolError, match="projection 4"):
        inverted(empty)
    for name in ("pump_decay", "over_threshold", "pixel_bandwidth", "start", "weight"):
        with pytest.raises(ProtocolError, match=name):
            inverted(signal, **{name: -1.0})
    with pytest.raises(ProtocolError, match="T2"):
        inverted(signal, parameters=Parameters(5.0, -0.7, 1.0))


@pytest.mark.parametrize(
    ("settings", "wrong", "words"),
    [
        ({"angles": np.append(ANGLES[:-1], np.nan)}, ProtocolError, "angles reach nan"),
        ({"angles": np.degrees(ANGLES)}, ProtocolError, "in rad"),
        ({"angles": np.zeros(0), "signal": np.zeros((0, SAMPLES))}, ShapeError, "one angle each"),
        ({"dwell": 0.0}, ProtocolError, "dwell = 0"),
        ({"dwell": np.nan}, ProtocolError, "dwell = nan"),
        ({"pixel_bandwidth": 0.43}, ProtocolError, "more than 0.429 Hz: measure finer"),
        ({"width": 0.0}, ProtocolError, "width = 0"),
        ({"noise": -1.0}, ProtocolError, "noise = -1"),
        ({"known": (0.2, 0.0, 0.3)}, ProtocolError, "known = 0"),
        ({"known": (0.2, -0.1, 0.3)}, ProtocolError, "known = -0.1"),
        ({"known": (0.2, 0.1)}, ShapeError, "known has 2"),
        ({"matrix": (0, 16)}, ShapeError, "whole numbers"),
        ({"matrix": (-16, 16)}, ShapeError, "whole numbers"),
        ({"matrix": (16.0, 16)}, ShapeError, "whole numbers"),
        ({"inside": np.ones((16, 16), int)}, ShapeError, "inside is int64"),
        ({"inside": np.ones((16, 15), bool)}, ShapeError, "give bool"),
        ({"inside": np.zeros((16, 16), bool)}, ShapeError, "true somewhere"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings, wrong, words):
    given = {"signal": scan(), "dwell": DWELL, "angles": ANGLES, "matrix": (16, 16), "pixel_bandwidth": BANDWIDTH}
    with pytest.raises(wrong, match=words):
        invert(**given | settings)


def test_a_first_image_that_is_too_far_off_is_first_fitted_to_noisier_data(monkeypatch):
    iterate, noises = fit._iterate, []

    def fails_at_first(scan, guess, worse, *rest, **settings):
        noises.append(worse)
        if len(noises) == 1:
            raise np.linalg.LinAlgError("not positive definite")
        return iterate(scan, guess, worse, *rest, **settings)

    monkeypatch.setattr(fit, "_iterate", fails_at_first)
    result = inverted(scan(), first=boxes(16))
    assert noises[1] == pytest.approx(10 * noises[0])
    assert noises[2] == noises[0]
    assert result.settled
    assert error(result.image) < 0.003


@pytest.mark.slow
def test_threads_change_nothing():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = inverted(scan())
        torch.set_num_threads(1)
        alone = inverted(scan())
    finally:
        torch.set_num_threads(threads)
    assert np.abs(found.image - alone.image).max() < 1e-6
    assert np.abs(np.log(found.parameters) - np.log(alone.parameters)).max() < 1e-6


def test_a_fit_whose_last_steps_were_too_long_is_that_of_the_shorter_ones(monkeypatch):
    monkeypatch.setattr(fit, "_too_far", lambda before, *_: bool(np.abs(before.step).any()))
    result = inverted(scan())
    assert np.abs(np.log(result.parameters) - np.log(WRONG)).max() < 1e-3
    assert not result.settled


def test_pumping_is_not_first_told_with_less_noise_than_there_is(monkeypatch):
    asked = []

    def first(scan, guess, worse):
        asked.append(worse)
        raise np.linalg.LinAlgError("enough")

    monkeypatch.setattr(fit, "_pumping", first)
    for noise in (1e-2, 1e-3):
        with pytest.raises(ProtocolError, match="enough"):
            inverted(scan(noise=noise, pumped=True), pump_decay=1.0)
    assert asked[0] == 1
    assert asked[1] > 1.5


def test_a_projection_that_is_no_more_than_noise_is_named():
    signal, rng = scan().copy(), np.random.default_rng(0)
    size = 1e-3 * np.abs(signal).max(1).mean()
    signal[4] = size * (rng.standard_normal(SAMPLES) + 1j * rng.standard_normal(SAMPLES))
    with pytest.raises(ProtocolError, match="projection 4 is no more than noise"):
        inverted(signal)
