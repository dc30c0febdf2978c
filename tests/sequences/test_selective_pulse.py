"""Gauss, SLR and multiband pulses: their slice profiles by sigpy's simulation of the events that are played."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest
from sigpy.mri.rf import abrm, dzrf

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.selective_pulse import gauss_pulse, multiband, slr_pulse
from pulsetwin.sequences.slice_pulse import slice_pulse

PRISMA = Scanner.preset("siemens-prisma")
THICKNESS = 5e-3


def profile(pulse, places) -> tuple[np.ndarray, np.ndarray]:
    """Return transverse and longitudinal magnetisation at places along z [m] by the pulse's own gradient, rephased."""
    rf, select, _ = pulse.events
    first = round((rf.delay - select.delay - select.rise_time) / 1e-6)
    assert first >= 0
    assert first + len(rf.signal) <= round(select.flat_time / 1e-6)  # the pulse plays on the flat top
    turns = select.amplitude * np.asarray(places) * rf.shape_dur
    coarse = rf.signal.reshape(-1, 10).sum(1)
    a, b = abrm(2 * np.pi * coarse * 1e-6, turns, balanced=True)
    return 2 * np.conj(a) * b, np.abs(a) ** 2 - np.abs(b) ** 2


INSIDE = np.linspace(-0.35, 0.35, 15) * THICKNESS
OUTSIDE = np.concatenate([sign * np.linspace(0.75, 3, 40) * THICKNESS for sign in (-1, 1)])


@pytest.mark.parametrize("degrees", [10, 30, 60, 90, 120])
def test_slr_excitation(degrees):
    pulse = slr_pulse(math.radians(degrees), THICKNESS, 3e-3, 6.0, "excitation", PRISMA)
    inside, _ = profile(pulse, INSIDE)
    outside, _ = profile(pulse, OUTSIDE)
    wanted = math.sin(math.radians(degrees))
    assert np.allclose(np.abs(inside), wanted, atol=0.06)
    phase = np.ptp(np.unwrap(np.angle(inside)))
    most = (0.2, 0.03) if degrees <= 90 else (0.4, 0.06)  # the design is for 90 degrees at most
    assert phase < most[0]
    assert np.abs(outside).max() < most[1]


@pytest.mark.parametrize(("use", "degrees", "wanted"), [("saturation", 90, 0), ("inversion", 180, -1)])
def test_slr_saturation_and_inversion(use, degrees, wanted):
    pulse = slr_pulse(math.radians(degrees), THICKNESS, 8e-3, 8.0, use, PRISMA)
    assert np.allclose(profile(pulse, INSIDE)[1], wanted, atol=0.03)
    assert np.allclose(profile(pulse, OUTSIDE)[1], 1, atol=0.03)


def test_slr_of_a_right_angle_is_that_of_sigpy():
    pulse = slr_pulse(math.pi / 2, THICKNESS, 1.2e-3, 4.0, "excitation", PRISMA)
    wanted = dzrf(1200, 4, "ex", "ls", 0.01, 0.01, cancel_alpha_phs=True).real
    assert np.allclose(2 * np.pi * pulse.events[0].signal * 1e-6, wanted, atol=1e-9)


def test_gauss_selects_half_of_its_peak_at_half_the_thickness():
    """Small angles: the profile is the Fourier transform, ``exp(-pi (z / d)^2)`` but for the cut of the tails."""
    pulse = gauss_pulse(math.radians(5), THICKNESS, 4e-3, 4.0, "excitation", PRISMA)
    places = np.linspace(-1.5, 1.5, 31) * THICKNESS
    found = np.abs(profile(pulse, places)[0]) / math.sin(math.radians(5))
    assert np.allclose(found, np.exp(-np.pi * (places / THICKNESS) ** 2), atol=0.02)


@pytest.mark.parametrize(("bands", "low_peak"), [(1, True), (2, True), (3, True), (4, True), (3, False)])
def test_multiband_does_to_each_slice_what_one_pulse_does(bands, low_peak):
    single = slr_pulse(math.radians(30), THICKNESS, 4e-3, 4.0, "excitation", PRISMA)
    many = multiband(single, bands, 0.02, PRISMA, low_peak=low_peak)
    wanted = np.abs(profile(single, INSIDE)[0])
    for number in range(bands):
        place = (number - (bands - 1) / 2) * 0.02
        assert np.allclose(np.abs(profile(many, INSIDE + place)[0]), wanted, atol=0.02)
    between = np.abs(profile(many, np.linspace(-0.2, 0.2, 21) * THICKNESS + (bands % 2) * 0.01)[0])
    assert between.max() < 0.02


def test_phases_of_multiband_lower_the_peak():
    single = slr_pulse(math.radians(30), THICKNESS, 4e-3, 4.0, "excitation", PRISMA)
    peaks = [np.abs(multiband(single, 5, 0.02, PRISMA, low_peak=low).events[0].signal).max() for low in (True, False)]
    assert peaks[0] < 0.6 * peaks[1]


@pytest.mark.parametrize("make", [slr_pulse, gauss_pulse])
def test_centre_area_and_block(make):
    """What the gradient leaves after the centre, by integration of the block that pypulseq plays."""
    pulse = make(math.radians(30), THICKNESS, 2.4e-3, 4.0, "excitation", PRISMA)
    seq = pp.Sequence(PRISMA.opts)
    seq.add_block(*pulse.tuned(0.0, 0.0))
    assert seq.check_timing()[0]
    assert seq.duration()[0] == pytest.approx(pulse.duration)
    time, wave = seq.waveforms()[2]
    fine = np.linspace(pulse.centre, time[-1], 20001)
    assert np.trapezoid(np.interp(fine, time, wave), fine) == pytest.approx(pulse.after, rel=1e-6)
    sinc = slice_pulse(math.radians(30), THICKNESS, 2.4e-3, 4.0, "excitation", PRISMA)
    assert (pulse.after, pulse.centre) == pytest.approx((sinc.after, sinc.centre), rel=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match=r"a selective pulse of 1 ms needs .* give at least"):
        slr_pulse(math.pi, THICKNESS, 1e-3, 8.0, "refocusing", PRISMA)
    with pytest.raises(ProtocolError, match="an SLR pulse for other"):
        slr_pulse(math.pi, THICKNESS, 1e-3, 8.0, "other", PRISMA)
    with pytest.raises(ProtocolError, match="give 1 to 16"):
        multiband(slr_pulse(0.5, THICKNESS, 4e-3, 4.0, "excitation", PRISMA), 17, 0.01, PRISMA)
