"""Inversion recovery: its closed form against pulses one by one and against graphs, and images in their order."""

from __future__ import annotations

import math

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.inversion_recovery import LEAST, inversion_recovery
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom_rectangle import random_rectangle
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.sim.signal_models.inversion_recovery import signals

TIMES = {
    "inversion_time": torch.tensor([0.02, 0.4, 1.2], dtype=torch.float64),
    "recovery": torch.tensor([0.05, 0.7], dtype=torch.float64),
}


def played(t1, ti, recovery, angle, tr, pulses, efficiency):
    """Longitudinal magnetisation, event by event."""
    m, seen = 1.0, []
    for number, first in enumerate(ti):
        m = 1 + (-efficiency * m - 1) * math.exp(-first / t1)
        seen.append(m * math.sin(angle))
        for _ in range(pulses):
            m = 1 + (m * math.cos(angle) - 1) * math.exp(-tr / t1)
        m = 1 + (m - 1) * math.exp(-([*recovery, 0.0][number]) / t1)
    return seen


def test_closed_form_is_that_of_single_pulses():
    t1 = torch.tensor([0.3, 1.1, 4.0], dtype=torch.float64)
    found = signals(t1, *TIMES.values(), flip_angle=0.1, tr=0.015, pulses=32, efficiency=0.95)
    wanted = [played(one, *(x.tolist() for x in TIMES.values()), 0.1, 0.015, 32, 0.95) for one in t1.tolist()]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-13)


def test_the_sequence_plays_the_closed_form():
    scheme = inversion_recovery(images=3, matrix=8, fov=0.05)
    timeline = scheme.timeline(TIMES)
    voxels = single_voxel(Tissue(1.0, 0.9, 0.004), size=(0.05 / 8, 0.05 / 8, 8e-3)).voxels()
    signal = simulate_graphs(timeline, voxels, dtype=torch.complex128).signal[0].reshape(3, 8, 8)
    wanted = signals(voxels.t1, *TIMES.values(), flip_angle=math.radians(5), tr=0.015, pulses=8)[0]
    centre = signal[:, 0, 4]  # first line, middle sample
    assert torch.allclose(centre.real, wanted * math.exp(-8e-3 / 4e-3), rtol=2e-3, atol=1e-5)
    assert float(centre.imag.abs().max()) < 1e-5


def test_few_states_are_enough():
    scheme = inversion_recovery(images=2, matrix=8, fov=0.05)
    timeline = scheme.timeline({name: value[: 2 - (name == "recovery")] for name, value in TIMES.items()})
    voxels = random_rectangle((1, 8, 8), scheme.fov, edge=4, seed=1).voxels()
    few = simulate_graphs(timeline, voxels, max_states=20).signal
    spins = simulate_isochromats(timeline, voxels, spins=4096)
    assert float((few - spins).norm() / spins.norm()) < 0.02


def test_lines_are_centric_and_samples_on_the_grid():
    scheme = inversion_recovery(images=2, matrix=8, fov=0.05)
    k = sampled_kspace(scheme.timeline(), scheme.refocusing).reshape(2, 8, 8, 3) * 0.05
    assert torch.allclose(k[0], k[1])
    assert torch.allclose(k[0, 0, 4], torch.zeros(3, dtype=torch.float64))
    assert k[0, :, 0, 1].round().tolist() == [0, -1, 1, -2, 2, -3, 3, -4]
    assert torch.allclose(k[0, 3, :, 0], torch.arange(-4, 4, dtype=torch.float64))


def test_times_have_gradients_and_a_least():
    scheme = inversion_recovery(images=3, matrix=4, fov=0.05)
    assert float(scheme.values["inversion_time"].min()) > LEAST == scheme.bounds["recovery"].low
    voxels = single_voxel(Tissue(1.0, 0.9, 0.05)).voxels()
    values = {name: value.clone().requires_grad_() for name, value in TIMES.items()}

    def energy(values):
        signal = simulate_graphs(scheme.timeline(values), voxels, dtype=torch.complex128).signal
        return signal.abs().square().sum()

    energy(values).backward()
    for name, value in values.items():
        step = torch.zeros_like(value)
        step[1] = 1e-5
        with torch.no_grad():
            high, low = (energy(values | {name: value + sign * step}) for sign in (1, -1))
        assert float(value.grad[1]) == pytest.approx(float(high - low) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("settings", [{"images": 1}, {"te": 1e-3}, {"tr": 9e-3}])
def test_what_does_not_fit_is_refused(settings):
    with pytest.raises(ProtocolError, match="inversion recovery"):
        inversion_recovery(**settings)


def test_rectangles_vary_within_their_ranges_and_must_fit():
    phantom = random_rectangle((1, 16, 16), edge=10, seed=3)
    inside = phantom.proton_density > 0
    assert int(inside.sum()) == 100
    assert 0.3 <= float(phantom.t1[inside].min()) < float(phantom.t1[inside].max()) <= 6.1
    assert bool((phantom.t2[inside] <= phantom.t1[inside] + 1e-12).all())
    assert torch.equal(phantom.t1, random_rectangle((1, 16, 16), edge=10, seed=3).t1)
    with pytest.raises(ProtocolError, match="fits"):
        random_rectangle((1, 8, 8), edge=9)
