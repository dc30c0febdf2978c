"""What makes isochromats fast beside what it replaces: long readouts, pulses by series, one walk a repetition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.sim import isochromat_maps
from pulsetwin.sim.isochromat_walk import walk_moments
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.timeline import Timeline
from tests.sim.test_isochromats import finite_train, random_voxels, shaped, tissue, train, written_out

F64 = torch.float64


def readouts(samples: int, pulses: int = 3) -> Timeline:
    """Readouts of constant gradient between intervals that differ, some of which follow each other unsampled."""
    rng = np.random.default_rng(samples)
    duration = torch.full((pulses, samples + 4), 1e-5, dtype=F64)
    moment = torch.zeros(pulses, samples + 4, 3, dtype=F64)
    moment[:, 2 : samples + 2] = torch.tensor([5.0, 1.0, -2.0], dtype=F64)
    for i in (0, 1, samples + 2, samples + 3):
        moment[:, i] = torch.from_numpy(rng.uniform(-100, 100, (pulses, 3)))
        duration[:, i] = torch.from_numpy(rng.uniform(1e-3, 4e-3, pulses))
    taken = (torch.arange(samples + 4) >= 2) & (torch.arange(samples + 4) < samples + 2)
    phase = torch.arange(pulses, dtype=F64) ** 2
    return Timeline.from_repetitions(torch.full((pulses,), 0.9, dtype=F64), phase, duration, moment, taken, phase)


@pytest.mark.parametrize("samples", [1, 2, 6, 7, 31, 64, 96, 200])
@pytest.mark.parametrize("spins", [16, 200])
def test_readouts_equal_the_sum_written_out(samples, spins):
    line, voxels = readouts(samples), random_voxels(11, samples)
    expected = written_out(line, voxels, spins, 3, np.ones((3, 1)))
    found = simulate_isochromats(line, voxels, spins=spins, seed=3).numpy()
    assert np.linalg.norm(found - expected) < 1e-11 * np.linalg.norm(expected)


def slice_selective() -> Timeline:
    """A train with a pulse of 400 segments under a constant gradient, and one under a gradient that turns."""
    line = finite_train(40.0)
    steady = replace(
        shaped(400, 2e-3, 1.0), gradient=torch.tensor([[0.0, 3e4, 9e4]], dtype=F64).expand(400, 3).contiguous()
    )
    turning = shaped(400, 2e-3, 1.5)
    return replace(line, shapes=(steady, turning), shape=torch.tensor([0, -1, 1]))


@pytest.mark.parametrize("spins", [100, 256, 300])
def test_pulses_by_series_equal_pulses_of_each_spin(monkeypatch, spins):
    line = slice_selective()
    voxels = replace(random_voxels(5, 1, channels=1), t2_prime=torch.full((5,), 0.03, dtype=F64))
    counts = []
    series = isochromat_maps.pulse_series
    monkeypatch.setattr(
        "pulsetwin.sim.isochromats.pulse_series", lambda *given: counts.append(series(*given)) or counts[-1]
    )
    fast = simulate_isochromats(line, voxels, spins=spins)
    terms = np.diff(counts[0][1]) // 12
    # The steady pulse has a series of fewer terms than spins, the instant and the turning one have none.
    assert 0 < terms[0] < spins
    assert not terms[1:].any()
    assert (counts[0][2][:, 0, 1] > 0).all()
    assert len(counts[0][3])
    monkeypatch.setattr(isochromat_maps, "_ROOM", 0)
    exact = simulate_isochromats(line, voxels, spins=spins)
    assert torch.linalg.norm(fast - exact) < 1e-7 * torch.linalg.norm(exact)
    assert not np.diff(counts[-1][1]).any()


def test_a_series_that_has_not_converged_is_not_used(monkeypatch):
    line, voxels = slice_selective(), random_voxels(3, 1)
    exact = simulate_isochromats(line, voxels, spins=200)
    monkeypatch.setattr(isochromat_maps, "_terms", lambda z: 8)
    assert torch.linalg.norm(simulate_isochromats(line, voxels, spins=200) - exact) < 1e-7 * torch.linalg.norm(exact)


def test_moments_of_walks_are_integrals():
    """Of the waveform on a fine grid, a pulse of 2 ms first in each of two repetitions."""
    rng = np.random.default_rng(2)
    duration, moment = rng.uniform(1e-3, 3e-3, 7), rng.uniform(-500, 500, (7, 3))
    start, lead = np.array([0, 4, 7]), np.array([2e-3, 0.0])
    rows, attenuation = walk_moments(duration, moment, start, lead)
    for r, own in enumerate((slice(0, 4), slice(4, 7))):
        edge = lead[r] + np.append(0.0, np.cumsum(duration[own]))
        k = np.concatenate((np.zeros((1, 3)), np.cumsum(moment[own], 0)))
        t = (np.arange(200_000) + 0.5) * edge[-1] / 200_000
        c = np.stack([np.interp(t, np.append(0.0, edge), np.append(0.0, k[:, axis])) for axis in range(3)], 1)
        left = k[-1] - c
        assert rows[r, 0] == pytest.approx(edge[-1])
        np.testing.assert_allclose(rows[r, 1:4], left.mean(0), rtol=1e-6)
        spread = ((left - left.mean(0)) ** 2).sum(1).mean() * edge[-1]
        assert rows[r, 4] == pytest.approx(math.sqrt(spread), rel=1e-6)
        for i, end in enumerate(edge[1:]):
            b = (2 * math.pi) ** 2 * ((k[i + 1] - c[t < end]) ** 2).sum() * edge[-1] / 200_000
            assert attenuation[own][i] == pytest.approx(b, rel=1e-4)


def test_walks_agree_with_phase_graphs():
    """A train of echoes and stimulated echoes, sampled in their middles and off them."""
    lobe, rest = [[4000.0, -3000.0, 2000.0]], [[0.0, 0.0, 0.0]]
    moments = [lobe + rest * 2, lobe + rest + lobe, lobe + rest + lobe * 2, lobe + rest * 2 + lobe]
    durations = [[5e-3, 1e-3, 4e-3], [5e-3, 20e-3, 5e-3], [5e-3, 2e-3, 5e-3, 6e-3], [5e-3, 1e-3, 9e-3, 1e-3]]
    line = train([1.5, 1.2, 2.1, 1.0], durations, moments, [2, 3, 5, 6, 7, 8, 10, 13], phases=[0.0, 1.0, 0.3, -0.5])
    voxels = tissue(2, diffusion=5e-9, size=(2e-3, 2e-3, 2e-3), t1=0.5, t2=0.08)
    truth = simulate_graphs(line, voxels, dtype=torch.complex128, max_states=100000).signal
    still = simulate_graphs(line, replace(voxels, diffusion=0 * voxels.diffusion), dtype=torch.complex128).signal
    found = torch.stack([simulate_isochromats(line, voxels, spins=8192, seed=s) for s in range(4)])
    assert torch.linalg.norm(still - truth) > 0.1 * torch.linalg.norm(truth)
    assert torch.linalg.norm(found.mean(0) - truth) < 0.01 * torch.linalg.norm(truth)


def test_readouts_are_shared_by_their_values_not_by_their_numbers():
    """Moments replaced after the timeline was made leave its `readout_shape` behind: nothing may follow from it."""
    line, voxels = readouts(31), random_voxels(4, 0)
    changed = line.moment.clone()
    changed[10:20] *= 1.3
    line = replace(line, moment=changed, readout_shape=torch.zeros_like(line.readout_shape))
    expected = written_out(line, voxels, 16, 0, np.ones((3, 1)))
    found = simulate_isochromats(line, voxels, spins=16).numpy()
    assert np.linalg.norm(found - expected) < 1e-11 * np.linalg.norm(expected)
