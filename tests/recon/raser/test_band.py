"""Signals in their band: tones are kept, noise is told and nearly white."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.raser.band import in_band


def test_a_tone_in_the_band_is_kept():
    times = np.arange(4096) * 1e-3
    envelope = np.exp(-(((times - 2) / 0.5) ** 2))
    tone = envelope * np.exp(2j * np.pi * 11 * times)
    found = in_band(tone[None], 1e-3, 40.0, noise=1e-3)
    assert found.step == 8e-3
    assert found.drive.shape[1] == 2 * found.data.shape[1] - 1
    assert np.abs(found.data[0] - tone[::8]).max() < 1e-4
    assert np.abs(found.drive[0] - tone[::4][: found.drive.shape[1]]).max() < 1e-4


def test_noise_is_told_and_nearly_white():
    rng = np.random.default_rng(0)
    noise = 0.3 * (rng.standard_normal((8, 8192)) + 1j * rng.standard_normal((8, 8192)))
    found = in_band(noise, 1e-3, 40.0)
    assert abs(found.noise * np.sqrt(8) / 0.3 - 1) < 0.02
    inner = found.data[:, 20:-20]
    assert abs(inner.var() / (2 * found.noise**2) - 0.97) < 0.02
    assert abs((inner[:, 1:] * inner[:, :-1].conj()).mean() / inner.var() - 0.03) < 0.02


def test_input_is_checked():
    with pytest.raises(ShapeError):
        in_band(np.zeros((3, 100), complex), 1e-3, 40.0)
    with pytest.raises(ProtocolError, match="not numbers"):
        in_band(np.full((3, 1000), np.nan + 0j), 1e-3, 40.0)
    with pytest.raises(ProtocolError, match="too long"):
        in_band(np.ones((3, 1000), complex), 0.05, 40.0)
    with pytest.raises(ProtocolError, match="at most 4 ms"):
        in_band(np.ones((3, 1000), complex), 4.5e-3, 40.0)
    with pytest.raises(ProtocolError, match="noise"):
        in_band(np.zeros((3, 1000), complex), 1e-3, 40.0)
