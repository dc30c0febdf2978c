"""Adiabatic passages: amplitude, sweep and phase by their formulas, and what they do by brute-force rotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.adiabatic import cos_tan, hyperbolic_secant, tanh_tan
from tests.sequences.bloch import longitudinal, relaxed, spinor

PRISMA = Scanner.preset("siemens-prisma")
STRONG = replace(PRISMA, max_b1=50e-6)
PASSAGES = {
    **{f"HS{n}": lambda n=n: hyperbolic_secant(10e-3, 15e-6, 900.0, "inversion", PRISMA, order=n) for n in range(1, 9)},
    "tanh/tan": lambda: tanh_tan(4e-3, 20e-6, 7e3, "refocusing", PRISMA),
    "cos/tan": lambda: cos_tan(4e-3, 20e-6, 7e3, "refocusing", PRISMA),
}


def frequency(rf):
    """Return the offset between samples [Hz]."""
    return np.diff(np.unwrap(np.angle(rf.signal))) / (2 * np.pi * 1e-6)


@pytest.mark.parametrize("name", PASSAGES)
def test_peak_sweep_and_symmetry(name):
    rf = PASSAGES[name]()
    peak, sweep = (15e-6, 900.0) if name.startswith("HS") else (20e-6, 7e3)
    swept = frequency(rf)
    assert len(rf.signal) == round(rf.shape_dur / 1e-6)
    assert np.abs(rf.signal).max() == pytest.approx(peak * PRISMA.gamma, rel=1e-6)
    assert (swept[0], swept[-1]) == pytest.approx((sweep, -sweep), rel=0.02)
    assert np.all(np.diff(swept) < 1e-6)
    assert np.allclose(rf.signal, rf.signal[::-1], atol=1e-6 * np.abs(rf.signal).max())
    assert abs(np.angle(rf.signal[len(rf.signal) // 2])) < 1e-3


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_secants_sweep_with_the_square_of_their_amplitude(order):
    """HS1 is ``tanh``; for all, ``d frequency / d tau`` over ``amplitude^2`` is constant."""
    rf = hyperbolic_secant(10e-3, 15e-6, 900.0, "inversion", PRISMA, order=order)
    rate = np.gradient(frequency(rf))[50:-50:100]
    power = np.abs(rf.signal[50:-51:100] + rf.signal[51:-50:100]) ** 2
    assert np.ptp(rate / power) < 2e-3 * np.abs(rate / power).mean()
    assert np.abs(rf.signal[0] / rf.signal[len(rf.signal) // 2]) == pytest.approx(0.05, rel=0.01)
    if order == 1:
        beta, tau = np.arccosh(20), np.linspace(-1, 1, len(rf.signal) + 1)[1:-1]
        assert np.allclose(frequency(rf), -900 * np.tanh(beta * tau) / np.tanh(beta), atol=0.1)


@pytest.mark.parametrize(("name", "least"), [("HS1", 0.89), ("HS4", 0.99), ("tanh/tan", 0.99), ("cos/tan", 0.97)])
def test_inversion_from_0_7_to_1_3_of_b1_and_150_hz(name, least):
    """The flatter the amplitude, the less B1 is needed: HS1 is the first to fail."""
    rf = PASSAGES[name]()
    b1, offset = np.meshgrid([0.7, 0.85, 1.0, 1.15, 1.3], [-150.0, 0.0, 150.0])
    coarse = rf.signal.reshape(-1, 4).mean(1)
    assert longitudinal(spinor(coarse, b1, offset, 4e-6)).max() < -least


@pytest.mark.parametrize(
    ("peak", "t1", "t2", "efficiency"),
    [
        (42e-6, 0.85, 0.07, 0.854), (42e-6, 1.35, 0.085, 0.876), (42e-6, 4.0, 1.8, 0.977),
        (21e-6, 0.85, 0.07, 0.887), (21e-6, 1.35, 0.085, 0.906), (21e-6, 4.0, 1.8, 0.989),
    ],
)  # fmt: skip
def test_efficiency_of_the_inversion_of_qalas(peak, t1, t2, efficiency):
    """HS4 of 12.8 ms, +-830 Hz: values of an ODE solver for white matter, grey matter and fluid."""
    rf = hyperbolic_secant(12.8e-3, peak, 830.0, "inversion", STRONG, order=4)
    coarse = rf.signal.reshape(-1, 4).mean(1)
    assert -relaxed(coarse, 4e-6, t1, t2)[2] == pytest.approx(efficiency, abs=0.002)


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match="peak B1 = 25 uT is more than the 24 uT"):
        tanh_tan(3e-3, 25e-6, 8e3, "refocusing", PRISMA)
    with pytest.raises(ProtocolError, match="order of 1 to 8"):
        hyperbolic_secant(10e-3, 15e-6, 900.0, "inversion", PRISMA, order=9)
