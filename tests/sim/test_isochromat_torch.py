"""Differentiable isochromats: spin for spin those of the kernel, diffusion as in graphs, slopes as of differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.schemes import gradient_echoes, spin_echoes
from pulsetwin.sim.isochromat_torch import differentiable_isochromats
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantoms import brain

SCHEME = gradient_echoes(matrix=8)


def difference(one, other):
    return float((one - other).norm() / other.norm())


def values(seed=3):
    """Return values of a sequence without any structure, with flip angles of some 40 degrees."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"flip_angle": 0.7, "phase": 1, "centre": 10, "readout": 20, "bend": 4, "spoil": 300}
    return {
        name: size * torch.randn(SCHEME.values[name].shape, generator=generator, dtype=torch.float64)
        for name, size in shapes.items()
    }


def head(diffusion=0.0):
    """Return voxels with uneven B0 and B1 of two channels, heard by two coils, with T2' in all of them."""
    voxels = brain((1, 8, 8), SCHEME.fov, fields=True).voxels()
    b1 = torch.cat((voxels.b1, voxels.b1.conj() * (0.6 + 0.3j)))
    coils = torch.cat((voxels.coils, voxels.coils * (0.2 - 1j)))
    return replace(voxels, b1=b1, coils=coils, diffusion=torch.full_like(voxels.diffusion, diffusion))


def shimmed(timeline):
    shim = torch.tensor([[1, 0.5j], [0.3, 1]] * (timeline.pulses // 2), dtype=torch.complex128)
    return replace(timeline, shim=shim)


@pytest.mark.parametrize("together", [1 << 21, 3000])
def test_spins_are_those_of_the_kernel(together, monkeypatch):
    monkeypatch.setattr("pulsetwin.sim.isochromat_torch._TOGETHER", together)
    timeline, voxels = shimmed(SCHEME.timeline(values())), head()
    found = differentiable_isochromats(timeline, voxels, spins=32, seed=4)
    assert found.shape == (2, 64)
    assert difference(found, simulate_isochromats(timeline, voxels, spins=32, seed=4)) < 1e-5


def test_diffusion_attenuates_echoes_and_samples():
    scheme = spin_echoes(matrix=8, echo_spacing=30e-3, crushing=8.0)
    voxels = head(diffusion=5e-6)
    voxels = replace(voxels, b1=voxels.b1[:1], coils=voxels.coils[:1])
    still = replace(voxels, diffusion=torch.zeros_like(voxels.diffusion))
    wanted = simulate_graphs(scheme.timeline(), voxels).signal
    assert difference(wanted, simulate_graphs(scheme.timeline(), still).signal) > 0.05
    assert difference(differentiable_isochromats(scheme.timeline(), voxels, spins=4096), wanted) < 0.01


def test_spins_diffuse_through_a_repetition_that_lasts_no_time():
    timeline, voxels = shimmed(SCHEME.timeline(values())), head(diffusion=3e-9)
    voxels.diffusion[::2] = 0.0
    lengths = timeline.duration.clone()
    lengths[9:18] = 0.0
    timeline = replace(timeline, duration=lengths.requires_grad_())
    found = differentiable_isochromats(timeline, voxels, spins=1024)
    assert difference(found.detach(), simulate_isochromats(timeline, voxels, spins=1024)) < 0.01
    found.abs().square().sum().backward()
    assert bool(lengths.grad.isfinite().all())


def test_slopes_are_those_of_differences():
    start, voxels = values(), head(diffusion=3e-9)
    generator = torch.Generator().manual_seed(1)
    heard = torch.randn((2, 64), generator=generator, dtype=torch.complex64)

    def loss(own):
        signal = differentiable_isochromats(SCHEME.timeline(own), voxels, spins=16)
        return (signal * heard).real.double().sum()

    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    loss(leaves).backward()
    for name, value in start.items():
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        step = 1e-3 * float(value.abs().mean())
        up, down = (float(loss(start | {name: value + sign * step * way})) for sign in (1, -1))
        assert float((leaves[name].grad * way).sum()) == pytest.approx((up - down) / (2 * step), rel=0.01), name


def test_voxels_that_cannot_be_filled_are_refused():
    with pytest.raises(ProtocolError, match="sinc"):
        differentiable_isochromats(SCHEME.timeline(), replace(head(), shape="sinc"))
