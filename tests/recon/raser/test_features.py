"""What networks see: profiles near the truth, unmoved by noise levels that suit, and symmetric as the physics is."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.features import CHANNELS, RATIOS, features
from pulsetwin.recon.raser.purpose import Purpose
from pulsetwin.sim.raser.training_data import Domain, one_image
from tests.recon.raser.small_networks import PURPOSE

DOMAIN = Domain(
    matrix=PURPOSE.matrix, angles=PURPOSE.angles, modes=PURPOSE.modes, bandwidth=PURPOSE.bandwidth, pumped=(0.0, 0.0)
)


def seen(signal: np.ndarray, purpose: Purpose = PURPOSE) -> np.ndarray:
    parameters = Parameters(purpose.t1, purpose.t2, 1.0)
    return features(signal, DOMAIN.dwell, purpose.modes, purpose.bandwidth, parameters, purpose.over_threshold)


def test_profiles_come_near_the_truth():
    """By the areas of strips and pixels, which the simulation does not share with the least squares."""
    played = one_image(DOMAIN, 0, 0)
    found = seen(played["signal"])
    angles = np.pi * np.arange(PURPOSE.angles) / PURPOSE.angles
    areas = strip_areas((PURPOSE.matrix, PURPOSE.matrix), angles, PURPOSE.modes)
    wanted = (areas @ played["image"].ravel()).reshape(PURPOSE.angles, PURPOSE.modes)
    wanted /= wanted.mean(1, keepdims=True)
    errors = ((found - wanted[:, None]) ** 2).mean((0, 2)) / wanted.var()
    assert found.shape == (PURPOSE.angles, CHANNELS, PURPOSE.modes)
    assert errors[len(RATIOS) - 1] < 0.05
    assert errors[-1] > 5 * errors[len(RATIOS) - 1]  # the size of the spectrum, which is no projection


def test_a_conjugate_signal_has_mirrored_features():
    signal = one_image(DOMAIN, 0, 1)["signal"]
    one, other = seen(signal), seen(signal.conj())[..., ::-1]
    other[:, -2] *= -1
    assert np.abs(one - other).max() < 1e-3


def test_phases_and_whole_steps_of_time_do_not_matter_to_spectra():
    signal = one_image(DOMAIN, 0, 2)["signal"]
    turned = seen(signal * np.exp(1.1j))
    assert np.abs(turned - seen(signal)).max() < 1e-3


def test_bad_input_is_told():
    signal = one_image(DOMAIN, 0, 3)["signal"]
    broken, empty = signal.copy(), signal.copy()
    broken[3, 5], empty[4] = np.nan, 0
    with pytest.raises(ProtocolError, match="projection 3"):
        seen(broken)
    with pytest.raises(ProtocolError, match="projection 4"):
        seen(empty)
    with pytest.raises(ShapeError, match="angle, sample"):
        seen(signal[0])
    for kappa in (1e5, 1e60):
        with pytest.raises(ProtocolError, match="check the gain"):
            features(signal, DOMAIN.dwell, DOMAIN.modes, DOMAIN.bandwidth, Parameters(5.0, 0.7, kappa), 10.0)
