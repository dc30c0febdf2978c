"""The tissue table against graphs and isochromats, which know nothing of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import flash, qalas
from pulsetwin.sim.acquire import acquire, along_gradients
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.engines import choose_engine
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import vials
from pulsetwin.sim.table import simulate_table, table_obstacle
from pulsetwin.sim.table_plan import repeated
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sim.graph_cases import row_of_voxels

PRISMA = Scanner.preset("siemens-prisma")
TISSUES = [Tissue(1.0, t1, t2, 0.05, 2e-9) for t1, t2 in ((0.6, 0.05), (1.2, 0.08), (3.0, 0.2))]


def spoiled(pulses: int = 60, lines: int = 8, samples: int = 8, tr: float = 8e-3, flip: float = 0.4) -> Timeline:
    """RF-spoiled gradient echoes of instants, rewound along y, 1.5 cycles of a voxel of 6.25 mm along x."""
    number = torch.arange(pulses, dtype=torch.float64)
    moment, duration = torch.zeros(pulses, samples + 2, 3, dtype=torch.float64), torch.zeros(samples + 2) + 0.5e-3
    step = 1 / 0.2
    moment[:, 0, 0], moment[:, 1 : samples + 1, 0] = -step * (samples // 2 + 1), step
    moment[:, -1, 0] = 240 - float(moment[0, :-1, 0].sum())
    moment[:, 0, 1] = step * (number % lines - lines // 2)
    moment[:, -1, 1] = -moment[:, 0, 1]
    duration = duration.double().repeat(pulses, 1)
    duration[:, -1] = tr - duration[0, :-1].sum()
    phase = torch.deg2rad(117 * number * (number + 1) / 2) % math.tau
    sampled = torch.zeros(samples + 2, dtype=torch.bool)
    sampled[1 : samples + 1] = True
    return Timeline.from_repetitions(
        torch.full((pulses,), flip, dtype=torch.float64), phase, duration, moment, sampled, -phase
    )


def worst(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest error, relative to the largest signal."""
    return float((found - truth).abs().max() / truth.abs().max())


@pytest.mark.parametrize("shape", ["sinc", "box"])
def test_spoiled_gradient_echoes_of_instants_are_those_of_graphs(shape):
    """With diffusion, T2', offsets, complex B1 and two coils, on the way to the steady state."""
    line = spoiled()
    voxels = row_of_voxels(32)
    position = torch.stack(torch.meshgrid(torch.arange(-4, 4), torch.arange(-2, 2), indexing="ij"), -1).reshape(-1, 2)
    voxels = replace(
        voxels, position=torch.cat((position * torch.tensor([6.25e-3, 0.02]), torch.zeros(32, 1)), 1).double(),
        size=(6.25e-3, 0.02, 1e-3), shape=shape, t2_prime=0.02 + 0.1 * voxels.t1, diffusion=3e-9 * voxels.t1,
    )  # fmt: skip
    truth = simulate_graphs(line, voxels, graph=build_graph(line, voxels, max_states=4096)).signal
    found, facts = simulate_table(line, voxels)
    assert worst(found, truth) < 1e-3
    assert facts["tissues"] == 32


def test_the_signal_goes_where_it_is_asked_for(tmp_path):
    """Into a memory-mapped file too, coil by coil."""
    line, voxels = spoiled(), row_of_voxels(4)
    voxels = replace(voxels, shape="sinc", position=0.01 * torch.eye(4, 3).double())
    wanted, _ = simulate_table(line, voxels)
    file = np.memmap(tmp_path / "signal", np.complex64, "w+", shape=tuple(wanted.shape))
    simulate_table(line, voxels, out=file)
    np.testing.assert_allclose(np.fromfile(tmp_path / "signal", np.complex64).reshape(wanted.shape), wanted, atol=1e-6)


def test_a_period_is_found_and_repeated():
    line = spoiled(800)
    plan = repeated(line)
    assert (plan.prelude, plan.period) == (0, 80)
    voxels = row_of_voxels(4)
    place = torch.eye(4, 3).double() * torch.tensor([0.01, 0, 0])
    voxels = replace(voxels, shape="sinc", position=place, t1=voxels.t1 / 4)
    one, facts = simulate_table(line, voxels, tol=1e-4)
    assert facts["periods"] < 8
    plain = replace(line, flip_angle=line.flip_angle * (1 + 2e-9 * torch.arange(800)))  # repeats nothing
    other, without = simulate_table(plain, voxels, tol=1e-4)
    assert without["periods"] == 1
    assert worst(one, other) < 5e-4


def vessel() -> tuple:
    """Four bottles in 4 x 8 x 8 voxels, with B1 and offsets, and two coils."""
    phantom = vials((4, 8, 8), (0.2,) * 3, tissues=TISSUES)
    x = torch.linspace(-1, 1, 8, dtype=torch.float64)
    bent = (1 + 0.2 * x).to(torch.complex128) * torch.exp(0.5j * x)
    phantom = replace(phantom, b1=bent.expand(1, 4, 8, 8).clone(), b0=(30 * x).expand(4, 8, 8).clone())
    return with_coils(phantom, 2)


def small_qalas(**more):
    """A QALAS of 1 TR after a dummy, for 4 x 8 x 8 voxels of 5 cm and less."""
    settings = {
        "matrix": (8, 8, 4), "fov": (0.2,) * 3, "acceleration": 2.0, "calibration": 2, "train": 8, "bandwidth": 500.0,
        "te": None, "t2prep_te": 0.04, "t2prep_delay": None, "echo_spacing": None, "inversion_gap": 0.2, "ti": 0.1,
        "gap": 0.2, "tr": 1.2,
    }  # fmt: skip
    return qalas.build(qalas.Protocol(**(settings | more)), PRISMA)


@pytest.mark.parametrize(("spins", "wanted"), [(1024, 0.025), pytest.param(8192, 4e-3, marks=pytest.mark.slow)])
def test_adiabatic_pulses_relaxation_and_coils_are_those_of_isochromats(spins, wanted):
    """Real preparations, RF spoiling, a dummy TR, a noise scan and T2', as near as spins at random are to others."""
    phantom = vessel()
    phantom = replace(phantom, diffusion=torch.zeros_like(phantom.diffusion))
    seq = small_qalas(noise_samples=64)
    found = acquire(seq, phantom, snr=1e9, engine="table")
    spun = [acquire(seq, phantom, snr=1e9, engine="isochromats", spins=spins, seed=seed) for seed in (1, 2)]
    assert found.header["engine"] == "table"
    for mine, one, other in zip(found.groups, *(raw.groups for raw in spun), strict=True):
        mean, largest = (one.samples + other.samples) / 2, np.abs(one.samples).max()
        assert mine.samples.shape == mean.shape
        assert np.abs(mine.samples - mean).max() < wanted * largest
        assert np.abs(one.samples - other.samples).max() < 3 * wanted * largest


def test_auto_takes_the_table_where_it_applies():
    phantom = vessel()
    line = timeline_from_seq(flash.build(flash.Protocol(), PRISMA))
    voxels = along_gradients(phantom.voxels())
    assert "gradient" in table_obstacle(line, voxels)  # its slices
    with pytest.raises(ProtocolError, match="does not apply: pulse"):
        choose_engine(line, phantom, voxels, "table")
    line = spoiled(1200)
    choice = choose_engine(line, phantom, voxels)
    assert choice.engine == "table"
    assert "1200 pulses" in choice.why
    astray = replace(line, moment=line.moment + torch.rand(line.moment.shape, dtype=torch.float64))
    assert "not rewound" in table_obstacle(astray, voxels)
    with pytest.raises(ProtocolError, match="spins"):
        acquire(small_qalas(), phantom, engine="table", spins=64)
