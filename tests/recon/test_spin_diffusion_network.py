"""The physics-informed network: its derivatives, what it refuses, and (slow) the bias of the poster's assumption."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.spin_diffusion.field_network import FieldNetwork
from pulsetwin.recon.spin_diffusion.fit import fit_radius
from pulsetwin.recon.spin_diffusion.network import fit_network
from tests.recon.test_spin_diffusion import HOMOGENEOUS, curves, particle


def test_derivatives_are_those_of_autograd():
    network = FieldNetwork(50.0, 0.7, 8, torch.Generator().manual_seed(3))
    places = torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True)
    times = torch.tensor([0.0, 0.2, 3.0], dtype=torch.float64, requires_grad=True)
    field = network(places, times)
    assert torch.equal(field.value[:, 0], torch.zeros(5, dtype=torch.float64))
    for row, time in np.ndindex(5, 3):
        value = field.value[row, time]
        by_place, by_time = torch.autograd.grad(value, (places, times), create_graph=True)
        (by_place2,) = torch.autograd.grad(by_place[row], places, retain_graph=True)
        found = torch.stack((field.by_place[row, time], field.by_time[row, time], field.by_place2[row, time]))
        assert torch.allclose(found, torch.stack((by_place[row], by_time[time], by_place2[row])), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["uniform", "diffusion"])
def test_radius_descends(boundary):
    measured, _ = curves(particle(HOMOGENEOUS), 25e-9)
    known = particle(HOMOGENEOUS, boundary=boundary, radius_range=(1e-9, 1e-7))
    short = fit_network(measured, known, steps=20, polish=1, hidden=8)
    longer = fit_network(measured, known, steps=20, polish=10, hidden=8)
    assert longer.loss < short.loss
    assert longer.radii == (longer.radius,)
    assert longer.radius != pytest.approx(1e-8, rel=1e-6)
    assert fit_network(measured, known, steps=20, polish=1, hidden=8) == short


@pytest.mark.slow
def test_network_has_the_bias_of_its_assumption():
    """As the exact fit of the same assumption has; with diffusion in the liquid it finds the radius."""
    measured, _ = curves(particle(HOMOGENEOUS), 25e-9)
    known = particle(HOMOGENEOUS, outer_ratio=None, outer_radius=45e-9, radius_range=(1.25e-9, 200e-9))
    uniform = replace(known, boundary="uniform")
    exact, found = fit_radius(measured, uniform), fit_network(measured, uniform, steps=1500, polish=300)
    assert abs(found.radius / exact.radius - 1) < 0.05
    assert abs(fit_network(measured, known, steps=1500, polish=300).radius / 25e-9 - 1) < 0.05


@pytest.mark.parametrize("change", [{"shape": "slab"}, {"free": ("radius", "liquid.t1")}])
def test_other_particles_are_refused(change):
    measured, _ = curves(particle(), 25e-9)
    with pytest.raises(ProtocolError, match="use fit_radius"):
        fit_network(measured, particle(**change))
