"""Lineshapes of semisolids against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from pulsetwin.sim.bloch_mcconnell.lineshapes import absorption

PPM = 802.5


def value(lineshape, detuning, t2, mode="physical"):
    at, width = torch.as_tensor(detuning, dtype=torch.float64), torch.tensor(t2, dtype=torch.float64)
    return absorption(lineshape, at, width, PPM, mode)


def integral(detuning, t2):
    def inner(u):
        y = abs(3 * u**2 - 1)
        return t2 / y * math.exp(-2 * (detuning * t2 / y) ** 2) if y else 0.0

    middle = 1 / math.sqrt(3)
    parts = (quad(inner, *ends, epsrel=1e-11, limit=500)[0] for ends in ((0, middle), (middle, 1)))
    return math.sqrt(2 * math.pi) * sum(parts)


@pytest.mark.parametrize("t2", [5e-6, 1e-5, 4e-5])
@pytest.mark.parametrize("ppm", [-1.0, 1.5, 5.0, 40.0])
def test_super_lorentzian(t2, ppm):
    assert value("super_lorentzian", ppm * PPM, t2).item() == pytest.approx(integral(ppm * PPM, t2), rel=1e-5)
    assert value("super_lorentzian", ppm * PPM, t2, "pulseq_cest").item() == pytest.approx(
        integral(ppm * PPM, t2), rel=0.1
    )


def test_super_lorentzian_has_no_edge_and_a_finite_centre():
    near, beyond, centre = value("super_lorentzian", PPM * np.array([1 - 1e-7, 1 + 1e-7, 0]), 1e-5).tolist()
    assert near == pytest.approx(beyond, rel=1e-6)
    slopes = [
        (value("super_lorentzian", PPM * (at + 1e-4), 1e-5) - value("super_lorentzian", PPM * at, 1e-5)).item()
        for at in (1 - 2e-4, 1 + 1e-4)
    ]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-2)
    assert near < centre < 2 * near


def test_lineshapes_have_the_same_area():
    """Both are pi times a density of frequencies; the tails of the Lorentzian end slowly."""
    detuning = 100 * np.sinh(np.linspace(-12, 12, 4001))
    for lineshape, area in (("lorentzian", math.pi), ("super_lorentzian", math.pi)):
        assert np.trapezoid(value(lineshape, detuning, 1e-5).numpy(), detuning) == pytest.approx(area, rel=0.02)


def test_interpolation_of_pulseq_cest():
    """Cubic Hermite between ends of -100 and 100 rad/s beyond 1 ppm, as its simulation writes it."""
    outer, inner = (value("super_lorentzian", at + PPM, 1e-5, "pulseq_cest").item() for at in (300.0, 100.0))
    for detuning in (-0.7 * PPM, 0.0, 0.99 * PPM):
        s = abs((detuning + 100 + PPM + 1) / (2 * (100 + PPM) + 1))
        tangent = 30 * (inner - outer)
        hermite = (
            (2 * s**3 - 3 * s**2 + 1) * inner + (3 * s**2 - 2 * s**3) * inner
            + (s**3 - 2 * s**2 + s) * tangent - (s**3 - s**2) * tangent
        )  # fmt: skip
        assert value("super_lorentzian", detuning, 1e-5, "pulseq_cest").item() == pytest.approx(hermite, rel=1e-12)
