"""What the preparations of a QALAS `.seq` do, against sums written out, published efficiencies and isochromats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, spline_filter

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import calibrate, preparation_maps
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.sim.signal_models.spline_table import SplineTable
from pulsetwin.sim.timeline_from_seq import as_seq_file, timeline_from_seq
from tests.sequences.bloch import relaxed
from tests.sim.plain_graph import first_excitations

TISSUES = {"white": (0.85, 0.07, 0.7e-9), "grey": (1.35, 0.085, 0.8e-9)}
FLUID = (4.0, 1.8, 3e-9)


def sequence(**settings):
    """One TR of 127 lines of 1 mm, after dummies."""
    protocol = qalas.Protocol(
        matrix=(4, 12, 12), fov=(0.004, 0.012, 0.012), calibration=0, acceleration=None, te=None,
        **{"dummies": 2} | settings,
    )  # fmt: skip
    return qalas.build(protocol, Scanner.preset("siemens-prisma"))


@pytest.fixture(scope="module")
def played():
    seq = as_seq_file(sequence())
    return seq, QalasTiming.from_definitions(seq.definitions), timeline_from_seq(seq), calibrate(seq)


def spins(count: int, seed: int = 0) -> list[torch.Tensor]:
    """T1, T2 [s], B1 and offset."""
    rng = np.random.default_rng(seed)
    t1, t2 = (np.exp(rng.uniform(np.log(low), np.log(high), count)) for low, high in ((0.1, 5), (0.005, 2)))
    return [torch.from_numpy(x) for x in (t1, t2, rng.uniform(0.55, 1.45, count), np.zeros(count))]


def test_spline_is_that_of_scipy_and_smooth():
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 9, 2)))
    table = SplineTable.of(values, (1.0, -2.0), (0.5, 0.25))
    x = torch.from_numpy(np.random.default_rng(1).uniform(0, 1, (2, 50)) * np.array([[6], [8]]))
    found = table(1 + 0.5 * x[0], -2 + 0.25 * x[1])
    for k in range(2):
        expected = map_coordinates(spline_filter(values[..., k].numpy(), mode="mirror"), x.numpy(), prefilter=False,
                                   mode="mirror")  # fmt: skip
        assert np.abs(found[:, k].numpy() - expected).max() < 1e-12
    where = [(1 + 0.5 * x[0, :5]).requires_grad_(), (-2 + 0.25 * x[1, :5]).requires_grad_()]
    assert torch.autograd.gradcheck(table, where)


def test_tables_are_near_the_simulation(played):
    _, timing, timeline, pulses = played
    some = spins(1000)
    _, exact = preparation_maps(timeline, timing, *some)
    for truth, found in zip(exact, pulses.both(*some), strict=True):
        for one, other in zip(truth, found, strict=True):
            assert (one - other).abs().max() < 1e-3
            assert (one - other).abs().median() < 5e-5


def test_gradients_through_the_tables(played):
    _, timing, _, pulses = played
    t1, t2, b1, _ = (value[:4] for value in spins(4, 5))
    values = [value.clone().requires_grad_() for value in (t1, t2, b1)]
    assert torch.autograd.gradcheck(
        lambda t1, t2, b1: signals(timing, t1, t2, b1=b1, pulses=pulses), values, eps=1e-7, atol=1e-6
    )


def test_preparations_are_those_of_small_steps():
    t1, t2, b1 = 0.3, 0.02, 0.8
    seq = sequence(t2prep_te=0.03, gap=None, tr=None, inversion_gap=None, train=113, ti=None)
    line, timing = timeline_from_seq(as_seq_file(seq)), QalasTiming.from_definitions(as_seq_file(seq).definitions)
    spin = [torch.tensor([value], dtype=torch.float64) for value in (t1, t2, b1, 0.0)]
    windows, maps = preparation_maps(line, timing, *spin)
    wave = seq.waveforms_and_times(append_RF=True)[0][3]
    for (begin, end), (kept, made) in zip(windows, maps, strict=True):
        centres = begin + 1e-6 * (np.arange(round((end - begin) / 1e-6)) + 0.5)
        shape = np.interp(centres, wave[0].real, wave[1].real) + 1j * np.interp(centres, wave[0].real, wave[1].imag)
        assert float(kept + made) == pytest.approx(relaxed(shape, 1e-6, t1, t2, b1)[2], abs=5e-4)


def test_published_inversion_efficiencies(played):
    """HS4 of 12.8 ms and 21 uT (Bloch simulation of others): WM, GM, CSF."""
    pulses = played[3]
    t1, t2 = torch.tensor([[0.85, 0.07], [1.35, 0.085], [4.0, 1.8]], dtype=torch.float64).T
    kept, _ = pulses.inversion(t1, t2, torch.ones_like(t1), torch.zeros_like(t1))
    assert (kept + torch.tensor([0.887, 0.906, 0.989])).abs().max() < 0.003


def test_fit_with_tables_is_exact_without_noise(played):
    _, timing, _, pulses = played
    rng = np.random.default_rng(0)
    t1, t2, b1 = (torch.from_numpy(rng.uniform(*ends, 2000)) for ends in ((0.4, 3), (0.03, 0.3), (0.65, 1.35)))
    data = signals(timing, t1, t2, pd=2.0, b1=b1, pulses=pulses).numpy()
    found = fit(data, timing, b1.numpy(), pulses=pulses)
    for value, truth in ((found.t1, t1.numpy()), (found.t2, t2.numpy()), (found.pd, 2.0)):
        assert np.abs(value / truth - 1).max() < 1e-5


@pytest.mark.slow
def test_offsets_have_an_axis():
    seq = as_seq_file(sequence())
    pulses, timing = calibrate(seq, offsets=(-150.0, 150.0, 7)), QalasTiming.from_definitions(seq.definitions)
    t1, t2, b1, _ = spins(200, 2)
    some = [t1, t2, 1 + 0.5 * (b1 - 1), torch.linspace(-100, 100, 200, dtype=torch.float64)]
    _, exact = preparation_maps(timeline_from_seq(seq), timing, *some)
    for truth, found in zip(exact, pulses.both(*some), strict=True):
        assert (truth[0] - found[0]).abs().max() < 3e-3


def test_pulses_must_be_where_the_timing_says(played):
    seq = played[0]
    early = QalasTiming(0.0, 0.1, 0.86, 0.01, (0.11, 0.9, 1.91, 2.81, 3.71), 127, 5.8e-3, (0.07,) * 5, 4.5)
    with pytest.raises(ProtocolError, match="inversion: no pulse between"):
        calibrate(seq, early)


@pytest.mark.slow
@pytest.mark.parametrize("b1", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("tissue", [*TISSUES.values(), FLUID])
def test_signals_are_those_of_a_plain_phase_graph(tissue, b1):
    """With diffusion, within 0.3 % of the largest contrast; isochromats would be too noisy in fluid."""
    seq = sequence(dummies=4)
    timing = QalasTiming.from_definitions(as_seq_file(seq).definitions)
    found = first_excitations(seq, tissue, b1, 127)[-5:]
    t1, t2, field = (torch.tensor(value, dtype=torch.float64) for value in (*tissue[:2], b1))
    model = signals(timing, t1, t2, b1=field, pulses=calibrate(seq)).numpy()
    assert np.abs(found - model).max() < 3e-3 * np.abs(model).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", TISSUES)
def test_signals_are_those_of_isochromats(name):
    """The steady state of the very `.seq` with diffusion, within 0.3 % of the largest contrast; ideal pulses are not.

    The object is 2 mm long, so that readouts dephase it by whole turns.
    """
    t1, t2, diffusion = TISSUES[name]
    seq = as_seq_file(sequence(dummies=3))
    timing, line = QalasTiming.from_definitions(seq.definitions), timeline_from_seq(seq)
    one = torch.ones(1, 1, dtype=torch.complex128)
    maps = {"proton_density": 1.0, "t1": t1, "t2": t2, "t2_prime": math.inf, "diffusion": diffusion, "b0": 0.0}
    voxel = Voxels(
        position=torch.zeros(1, 3, dtype=torch.float64), b1=one, coils=one, size=(2e-3, 1e-3, 1e-3), shape="box",
        **{key: torch.full((1,), value, dtype=torch.float64) for key, value in maps.items()},
    )  # fmt: skip
    runs = [simulate_isochromats(line, voxel, spins=32768, seed=seed)[0].reshape(5, 127, -1) for seed in range(6)]
    found = torch.stack(runs).mean(0)[:, 0]
    found = found[:, found.shape[1] // 2]
    found = (found * found[4].conj() / found[4].abs()).real * math.exp(seq.definitions["TE"] / t2)
    tissue = [torch.tensor(value, dtype=torch.float64) for value in (t1, t2)]
    pulses = calibrate(seq)
    model = signals(timing, *tissue, pulses=pulses)
    assert (found - model).abs().max() < 3e-3 * model.abs().max()
    ideal = signals(timing, *tissue, ie=0.9)
    assert (found - ideal).abs().max() > 8e-3 * model.abs().max()
