"""The poster's uniform liquid: against an exact liquid that is stirred, and its derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.spin_diffusion.finite_volumes import profile
from pulsetwin.sim.spin_diffusion.laplace import build_up
from pulsetwin.sim.spin_diffusion.layers import SHAPES, Layers, refined
from pulsetwin.sim.spin_diffusion.uniform_liquid import solid_profile, uniform_liquid

SOLID = {"radius": 25e-9, "diffusion": 1e-15, "t1": 3.0, "polarisation": 2.0}


@pytest.mark.parametrize("shape", ["sphere", "cylinder", "slab"])
@pytest.mark.parametrize("radius", [25e-9, 300e-9])
def test_a_stirred_liquid_is_uniform(shape, radius):
    """A liquid that conducts 10000 times better has the mean polarisation of the liquid at the solid, too."""
    numbers = ((1.0, 1.0), (1e-15, 1e-11), (3.0, 0.5), (2.0, 100.0))
    layers = Layers(shape, radius * np.array([1.0, 1.8]), *(np.array(one) for one in numbers))
    times = np.geomspace(0.01, 10, 15)
    knots = np.concatenate(([0.0], np.geomspace(1e-4, 10, 1500)))
    surface = build_up(layers, knots)[1]
    found = uniform_liquid(shape, SOLID | {"radius": radius}, (knots, surface), times)
    truth = build_up(layers, times)[0]
    assert np.abs(found - truth).max() < 3e-4 * truth.max()


@pytest.mark.parametrize("shape", ["sphere", "cylinder", "slab"])
def test_the_profile_is_that_beside_a_stirred_liquid(shape):
    numbers = (np.ones(2), np.array([1e-15, 1e-11]), np.array([3.0, 0.5]), np.array([2.0, 100.0]))
    layers = Layers(shape, 25e-9 * np.array([1.0, 1.8]), *numbers)
    times, knots = np.geomspace(0.01, 10, 6), np.concatenate(([0.0], np.geomspace(1e-4, 10, 1500)))
    fine, group = refined(layers, 400, times)
    truth = profile(fine, times).numpy()[group == 0]
    edges = np.concatenate(([0.0], fine.edges[group == 0])) / 25e-9
    places = 0.5 * (edges[1:] + edges[:-1])
    found = solid_profile(shape, SOLID, (knots, build_up(layers, knots)[1]), times, places)
    assert np.abs(found - truth).max() < 1e-3 * truth.max()
    power = SHAPES[shape] + 1
    mean = (found * np.diff(edges**power)[:, None]).sum(0)
    assert np.allclose(mean, uniform_liquid(shape, SOLID, (knots, build_up(layers, knots)[1]), times), rtol=1e-3)


def test_constant_surface_has_its_series():
    """The mean of a sphere whose surface is held at 1 from the start: ``1 - sum 6/(n pi)^2 exp(-D (n pi/R)^2 t)``."""
    times, n = np.array([0.01, 0.1, 1.0]), np.arange(1, 4001)[:, None]
    solid = SOLID | {"t1": 1e9, "polarisation": 0.0}
    knots = np.array([0.0, 1e-12, 2.0])
    found = uniform_liquid("sphere", solid, (knots, np.array([1.0, 1.0, 1.0])), times)
    truth = 1 - (6 / (n * np.pi) ** 2 * np.exp(-1e-15 * (n * np.pi / 25e-9) ** 2 * times)).sum(0)
    assert np.abs(found - truth).max() < 1e-9


@pytest.mark.parametrize("name", list(SOLID))
def test_complex_steps_are_derivatives(name):
    times, knots = np.array([0.02, 0.4, 3.0]), np.array([0.0, 0.02, 0.3, 1.0, 4.0])
    surface = (knots, 100 * (1 - np.exp(-knots)))
    steps = [uniform_liquid("sphere", SOLID | {name: SOLID[name] * x}, surface, times) for x in (1.0001, 0.9999)]
    slope = uniform_liquid("sphere", SOLID | {name: SOLID[name] * (1 + 1e-30j)}, surface, times).imag / 1e-30
    assert np.allclose(slope, (steps[0] - steps[1]) / 2e-4, rtol=1e-6, atol=1e-8)


def test_a_surface_that_is_not_known():
    with pytest.raises(ProtocolError, match="from 0 to the last time"):
        uniform_liquid("sphere", SOLID, (np.array([0.0, 1.0]), np.ones(2)), np.array([2.0]))
