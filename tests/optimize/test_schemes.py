"""Schemes play the sequences they claim to: known k-space, echoes and images; images by direct sums."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.optimize.engine import Engine
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.optimize.schemes import gradient_echoes, spin_echoes
from pulsetwin.optimize.steady import mean_magnetisation, steady_signal
from pulsetwin.recon.direct_images import direct_image, encoding
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.timeline import Timeline


def magnetisation(scheme, phantom):
    """Image of the central line's magnetisation by a full Cartesian scan."""
    timeline = scheme.timeline()
    signal = simulate_graphs(timeline, phantom.voxels()).signal[0]
    return direct_image(signal, encoding(sampled_kspace(timeline, scheme.refocusing), scheme.fov, scheme.matrix))


def test_zeros_do_nothing():
    lengths = torch.tensor([1e-3, 1e-3, 2e-3, 1e-3, 1e-3], dtype=torch.float64)
    sampled = torch.tensor([False, True, False, True, True])
    line = Timeline.zeros(lengths, torch.tensor([1, 2, 2]), sampled)
    assert line.interval_start.tolist() == [0, 1, 3, 5]
    assert line.readout_start.tolist() == [0, 1, 3]
    assert line.sample_interval.tolist() == [1, 3, 4]
    assert float(simulate_graphs(line, shepp_logan((1, 4, 4)).voxels()).signal.abs().max()) == 0


def test_gradient_echoes_have_cartesian_or_radial_kspace():
    scheme = gradient_echoes(matrix=8)
    k = sampled_kspace(scheme.timeline(), scheme.refocusing).reshape(8, 8, 3) * 0.2
    rows, columns = torch.meshgrid(torch.arange(8) - 4, torch.arange(8) - 4, indexing="ij")
    assert torch.allclose(k[..., 0], columns.double())
    assert torch.allclose(k[..., 1], rows.double())
    radial = gradient_echoes(matrix=8, trajectory="radial")
    k = sampled_kspace(radial.timeline(), radial.refocusing).reshape(8, 8, 3) * 0.2
    assert torch.allclose(k.norm(dim=2), (torch.arange(8) - 4).abs().double().expand(8, 8))


@pytest.mark.parametrize("count", [1, 5, 8, 12])
def test_fewer_readouts_are_central_lines_or_evenly_spaced_spokes(count):
    lines = gradient_echoes(matrix=12, readouts=count).values["centre"][:, 1] * 0.2
    assert lines.round().int().tolist() == list(range(-6, 6))[(12 - count) // 2 :][:count]
    readout = gradient_echoes(matrix=12, readouts=count, trajectory="radial").values["readout"].numpy()
    assert np.allclose(np.degrees(np.arctan2(*readout.T[::-1])), np.arange(count) * 180 / count)
    assert np.allclose(np.linalg.norm(readout, axis=1), 60)


def test_bends_move_samples_by_sines_and_not_the_ends():
    scheme = gradient_echoes(matrix=8)
    bend = torch.zeros(8, 4, 2, dtype=torch.float64)
    bend[2, 1, 0] = 7.0
    straight, bent = (sampled_kspace(scheme.timeline(v), scheme.refocusing) for v in ({}, {"bend": bend}))
    moved = (bent - straight).reshape(8, 8, 3)
    expected = 7.0 * torch.sin(2 * torch.linspace(0, math.pi, 8, dtype=torch.float64))
    assert torch.allclose(moved[2, :, 0], expected, atol=1e-9)
    assert float(moved[[0, 1, 3, 4, 5, 6, 7]].abs().max()) < 1e-9


def test_spin_echoes_refocus_at_the_centre_of_each_line():
    scheme = spin_echoes(matrix=8)
    timeline = scheme.timeline()
    k = sampled_kspace(timeline, scheme.refocusing).reshape(8, 8, 3) * 0.2
    assert torch.allclose(k[..., 0], (torch.arange(8) - 4).double().expand(8, 8), atol=1e-9)
    assert k[:, 0, 1].round().int().tolist() == [0, -1, 1, -2, 2, -3, 3, -4]
    time = timeline.duration.cumsum(0)[timeline.sample_interval].reshape(8, 8)
    assert torch.allclose(time[:, 4], 6e-3 * torch.arange(1, 9, dtype=torch.float64))


@pytest.mark.parametrize("make", [gradient_echoes, spin_echoes])
def test_images_show_the_object(make):
    scheme = make(matrix=16)
    phantom = shepp_logan((1, 16, 16), scheme.fov)
    long = {"t1": phantom.t1 * 0 + 50.0, "t2": phantom.t2 * 0 + 50.0}
    phantom = replace(phantom, shape="sinc", **{name: torch.where(phantom.t1 > 0, t, 0.0) for name, t in long.items()})
    image = magnetisation(scheme, phantom)
    density = phantom.proton_density[0] * (math.sin(math.radians(5)) if make is gradient_echoes else 1.0)
    assert float((image - density).norm() / density.norm()) < 0.06


def test_engines_agree_on_bent_random_readouts():
    scheme = gradient_echoes(matrix=8)
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    values = {"flip_angle": 0.1 * random(8), "phase": random(8), "centre": 10 * random(8, 2)}
    values |= {"readout": 20 * random(8, 2), "bend": 4 * random(8, 4, 2), "spoil": 30 * random(8, 2)}
    timeline, voxels = scheme.timeline(values), shepp_logan((1, 8, 8), scheme.fov).voxels()
    graphs = simulate_graphs(timeline, voxels).signal
    spins = simulate_isochromats(timeline, voxels, spins=2048)
    assert float((graphs - spins).norm() / spins.norm()) < 0.01


def test_reconstructions_against_dense_matrices():
    generator = torch.Generator().manual_seed(0)
    k = 15 * torch.randn((90, 3), generator=generator, dtype=torch.float64)
    transform = encoding(k, (0.2, 0.2, 0.01), (6, 7))
    y, x = np.meshgrid((np.arange(6) - 3) * 0.2 / 6, (np.arange(7) - 3) * 0.2 / 7, indexing="ij")
    matrix = np.exp(-2j * np.pi * (np.outer(k[:, 0], x.ravel()) + np.outer(k[:, 1], y.ravel()))) / 42
    matrix *= math.sqrt(42)
    signal = torch.randn(90, generator=generator, dtype=torch.complex128)
    scaled = signal.numpy() / math.sqrt(42)
    adjoint = matrix.conj().T @ scaled
    assert np.allclose(direct_image(signal, transform).numpy().ravel(), adjoint, atol=1e-9)
    best = np.linalg.lstsq(matrix, scaled, rcond=None)[0]
    found = direct_image(signal, transform, "cg", 200).numpy().ravel()
    assert np.linalg.norm(found - best) < 1e-3 * np.linalg.norm(best)
    step = 1 / (1.02 * np.linalg.eigvalsh(matrix.conj().T @ matrix).max())
    image = np.zeros(42, complex)
    for _ in range(5):
        image = image - step * matrix.conj().T @ (matrix @ image - scaled)
    assert np.allclose(direct_image(signal, transform, "gradient", 5).numpy().ravel(), image, rtol=0.02, atol=1e-3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ProtocolError, match="do not fit"):
        gradient_echoes(te=1e-4)
    with pytest.raises(ProtocolError, match="neither"):
        gradient_echoes(trajectory="spiral")
    with pytest.raises(ProtocolError, match="order"):
        spin_echoes(order="random")
    with pytest.raises(ShapeError):
        direct_image(torch.zeros(3), encoding(torch.zeros(4, 3), (1.0, 1.0, 1.0), (2, 2)))


def test_a_steady_signal_is_that_of_pulses_too_weak_to_saturate():
    scheme = gradient_echoes(matrix=12, flip_angle=1e-3, trajectory="radial", tr=1.0)
    voxels = shepp_logan((1, 12, 12), scheme.fov).voxels()
    kspace = sampled_kspace(scheme.timeline(), scheme.refocusing)
    mean = mean_magnetisation(scheme.timeline(), voxels, kspace, Engine("graphs", 4096, 64).signal)
    expected = 1e-3 * voxels.proton_density * torch.exp(-3e-3 / voxels.t2) + 0j
    assert torch.allclose(mean, expected, rtol=2e-3)
    signal = simulate_graphs(scheme.timeline(), voxels).signal[0]
    steady = steady_signal(mean, voxels, kspace)
    assert float((signal - steady).norm() / steady.norm()) < 5e-3
