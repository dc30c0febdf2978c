"""The threshold beside figures of others."""

from __future__ import annotations

import math

import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.raser.threshold import coupling_rate, resonator_time, threshold_inversion


def test_figures_of_a_public_transcription():
    """Q 100 and 0.5 cm^3: 4.742139e-16 per spin (constants of github.com/oREAGanoWombat/RASER-simulation)."""
    assert coupling_rate(100, 0.5e-6) == pytest.approx(4.742139e-16, rel=1e-4)
    assert threshold_inversion(100, 0.5e-6, 0.7) == pytest.approx(3.0125e15, rel=1e-4)
    assert 25e16 / threshold_inversion(100, 0.5e-6, 0.7) == pytest.approx(83, abs=0.1)


def test_it_is_radiation_damping():
    """A sample's rate is ``mu0 eta gamma Q M0 / 2``, of filling factor and magnetisation (Bloembergen 1954)."""
    gamma, hbar, spins, sample, coil = 2.675221900e8, 1.054571817e-34, 1e17, 0.2e-6, 0.5e-6
    magnetisation = gamma * hbar * spins / (2 * sample)
    expected = 4e-7 * math.pi / 2 * (sample / coil) * gamma * 68 * magnetisation
    assert coupling_rate(68, coil) * spins == pytest.approx(expected, rel=1e-6)


def test_the_resonator_follows_at_once():
    """Much faster than the spins of 83 times the threshold, at 1.5 T."""
    assert resonator_time(100, 1.5) < 1e-3 * 0.7 / 83


def test_values_that_make_no_sense_are_told():
    with pytest.raises(ProtocolError, match="quality"):
        coupling_rate(0, 1e-6)
    with pytest.raises(ProtocolError, match="t2"):
        threshold_inversion(100, 1e-6, -1)
