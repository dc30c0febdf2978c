"""The graph engine against closed forms and a matrix formulation of extended phase graphs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.voxel_transform import voxel_transform
from tests.sim import graph_cases as cases

SIZE = 0.002  # a spoiler of 1 / SIZE dephases a voxel by a whole turn
T1, T2 = 0.9, 0.08


def voxel(shape: str = "box", **maps: float) -> Voxels:
    """A single voxel at the origin."""
    values = {"proton_density": 1.0, "t1": T1, "t2": T2, "t2_prime": np.inf, "diffusion": 0.0, "b0": 0.0} | maps
    one = torch.ones(1, 1, dtype=torch.complex128)
    filled = {name: torch.full((1,), value, dtype=torch.float64) for name, value in values.items()}
    return Voxels(
        position=torch.zeros(1, 3, dtype=torch.float64), b1=one, coils=one, size=(SIZE,) * 3, shape=shape, **filled
    )


def played(flips, phases, times, moments, *, sampled=None) -> Timeline:
    """Pulses [degrees], the lengths of the intervals after each ``[pulse, interval]`` and their moments along x."""
    flips, phases = (torch.deg2rad(torch.as_tensor(x, dtype=torch.float64)) for x in (flips, phases))
    moment = torch.zeros(*np.shape(moments), 3, dtype=torch.float64)
    moment[..., 0] = torch.as_tensor(moments, dtype=torch.float64)
    times = torch.as_tensor(times, dtype=torch.float64)
    taken = torch.ones(times.shape[1], dtype=torch.bool) if sampled is None else torch.as_tensor(sampled)
    return Timeline.from_repetitions(flips, phases, times, moment, taken, torch.zeros_like(flips))


def signal(line: Timeline, voxels: Voxels) -> np.ndarray:
    return simulate_graphs(line, voxels, dtype=torch.complex128).signal[0].numpy()


@pytest.mark.parametrize("degrees", [5.0, 10.0, 25.0, 60.0])
def test_spoiled_gradient_echo_reaches_the_ernst_formula(degrees):
    """With the transverse magnetisation gone before each pulse, the steady state is Ernst's."""
    pulses, tr, te = 60, 0.05, 0.004
    line = played([degrees] * pulses, [0] * pulses, [[te, tr - te]] * pulses, [[0, 1 / SIZE]] * pulses, sampled=[1, 0])
    found = signal(line, voxel(t1=0.1, t2=0.0015))[-1]
    e1, a = np.exp(-tr / 0.1), np.deg2rad(degrees)
    ernst = np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a)) * np.exp(-te / 0.0015)
    assert abs(found - -1j * ernst) < 1e-8


def test_flip_angle_of_pulse_turns_z_to_minus_i():
    assert signal(played([90], [0], [[0.0]], [[0.0]]), voxel())[0] == pytest.approx(-1j, abs=1e-12)
    assert signal(played([90], [90], [[0.0]], [[0.0]]), voxel())[0] == pytest.approx(1, abs=1e-12)


def epg_echoes(flips: list[float], spacing: float) -> np.ndarray:
    """Echoes of a CPMG train by matrices on F+, F-, Z of each order (Weigel 2015), the first flip the excitation's."""
    orders = 2 * len(flips) + 2
    f_plus, f_minus, z = (np.zeros(orders, dtype=complex) for _ in range(3))
    z[0] = 1

    def pulse(degrees, axis):
        nonlocal f_plus, f_minus, z
        a, p = np.deg2rad(degrees), np.exp(1j * np.deg2rad(axis))
        c, s, full = np.cos(a / 2) ** 2, np.sin(a / 2) ** 2, np.sin(a)
        matrix = np.array([
            [c, p**2 * s, -1j * p * full],
            [p**-2 * s, c, 1j * full / p],
            [-0.5j * full / p, 0.5j * p * full, np.cos(a)],
        ])  # fmt: skip
        f_plus, f_minus, z = matrix @ np.stack((f_plus, f_minus, z))

    def wait(time):
        nonlocal f_plus, f_minus, z
        f_plus, f_minus, z = f_plus * np.exp(-time / T2), f_minus * np.exp(-time / T2), z * np.exp(-time / T1)
        z[0] += 1 - np.exp(-time / T1)
        f_plus, f_minus = np.concatenate(([0], f_plus[:-1])), np.concatenate((f_minus[1:], [0]))
        f_plus[0] = np.conj(f_minus[0])

    echoes = []
    pulse(flips[0], 0)
    for degrees in flips[1:]:
        wait(spacing / 2)
        pulse(degrees, 90)
        wait(spacing / 2)
        echoes.append(f_plus[0])
    return np.array(echoes)


@pytest.mark.parametrize("degrees", [180.0, 120.0, 60.0])
def test_cpmg_echoes_agree_with_phase_graph_matrices(degrees):
    echoes, spacing, spoil = 12, 0.01, 4 / SIZE
    half = [[spacing / 2, 0]] + [[spacing / 2, spacing / 2]] * echoes
    moments = [[spoil, 0]] + [[spoil, spoil]] * echoes
    line = played([90] + [degrees] * echoes, [0] + [90] * echoes, half, moments, sampled=[1, 0])
    found = signal(line, voxel())[1:]
    expected = epg_echoes([90] + [degrees] * echoes, spacing)
    assert np.abs(found - expected).max() < 1e-10
    if degrees == 180:
        assert np.allclose(np.abs(found), np.exp(-spacing * np.arange(1, echoes + 1) / T2), atol=1e-12)


def test_stimulated_echo_diffuses_as_stejskal_and_tanner_say():
    small, mixing, k, diffusion = 0.003, 0.2, 30 / SIZE, 1.1e-9
    times = [[small], [mixing], [small]]
    found = signal(played([90] * 3, [0] * 3, times, [[k], [7 / SIZE], [k]]), voxel(diffusion=diffusion))[-1]
    still = signal(played([90] * 3, [0] * 3, times, [[k], [7 / SIZE], [k]]), voxel())[-1]
    assert abs(still) == pytest.approx(0.5 * np.exp(-2 * small / T2 - mixing / T1), rel=1e-9)
    b = (2 * np.pi * k) ** 2 * (small + mixing - small / 3)  # gradients of length small, from start to start small + TM
    assert abs(found) / abs(still) == pytest.approx(np.exp(-b * diffusion), rel=1e-9)
    assert abs(found) / abs(still) < 0.8


def test_spin_echo_diffuses_as_stejskal_and_tanner_say():
    lobe, gap, k, diffusion = 0.005, 0.01, 60 / SIZE, 2e-9
    line = played([90, 180], [0, 90], [[lobe, gap / 2], [gap / 2, lobe]], [[k, 0], [0, k]])
    ratio = abs(signal(line, voxel(diffusion=diffusion))[-1] / signal(line, voxel())[-1])
    assert ratio == pytest.approx(np.exp(-((2 * np.pi * k) ** 2) * (lobe + gap - lobe / 3) * diffusion), rel=1e-9)


def test_hyperecho():
    """Pulses about a 180 degree pulse, mirrored with opposite flip angles and phases, restore all magnetisation."""
    flips, phases = [25.0, 70.0, 43.0], [10.0, 100.0, -65.0]
    train = [*flips, 180.0, *[-a for a in flips[::-1]]]
    axes = [*phases, 0.0, *[-p for p in phases[::-1]]]
    k = [3.1 / SIZE, 5.3 / SIZE, 8.7 / SIZE, 2.9 / SIZE]
    line = played([90, *train], [90, *axes], [[0.003]] * 8, [[x] for x in k + k[::-1]])
    found = signal(line, voxel(t1=np.inf, t2=np.inf))
    assert abs(found[-1]) == pytest.approx(1, abs=1e-10)
    assert np.abs(found[:-1]).max() < 0.8


def test_t2_prime_and_offset_rephase_in_a_spin_echo():
    te, t2_prime, offset, dwell, count = 0.02, 0.006, 130.0, 0.0002, 41
    first = te / 2 - (count - 1) / 2 * dwell  # samples lie about the echo, inside which tau changes its sign
    times = np.full((2, count), dwell)
    times[0, 0], times[1, 0] = te / 2 - (count - 1) * dwell, first
    found = signal(played([90, 180], [0, 90], times, np.zeros((2, count))), voxel(t2_prime=t2_prime, b0=offset))[count:]
    tau = (np.arange(count) - (count - 1) / 2) * dwell
    expected = np.exp(-(te + tau) / T2 - np.abs(tau) / t2_prime - 2j * np.pi * offset * tau)
    phase = found[count // 2] / abs(found[count // 2])
    assert np.abs(found - phase * expected).max() < 1e-10
    fid = signal(played([90], [0], times[1:], np.zeros((1, count))), voxel(t2_prime=t2_prime, b0=offset))
    t = np.cumsum(times[1])
    assert np.abs(fid - -1j * np.exp(-t / T2 - t / t2_prime - 2j * np.pi * offset * t)).max() < 1e-10


def test_t2_prime_as_a_sum_over_lorentzian_offsets():
    """Spins at the quantiles of a Lorentzian line decay as one voxel of T2' does."""
    line = cases.rare(4, 4)
    voxels = cases.row_of_voxels(4)
    width = 1 / (2 * np.pi * 0.02)
    count = 4000
    shift = width * torch.tan(torch.pi * ((torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5))
    many = cases.replicated(voxels, count)
    many = replace(many, b0=many.b0 + shift.repeat(4))
    found = simulate_graphs(line, replace(voxels, t2_prime=torch.full((4,), 0.02).double()), dtype=torch.complex128)
    expected = cases.spins(line, many)
    assert (found.signal - expected).norm() < 2e-3 * expected.norm()


@pytest.mark.parametrize("make", [cases.flash, cases.rare, cases.bssfp, cases.unstructured])
def test_box_voxels_agree_with_spins_spread_over_them(make):
    line, voxels = make(8, 4), cases.row_of_voxels(8)
    count = 512
    many = cases.replicated(voxels, count)
    within = (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5
    position = many.position.clone()
    position[:, 0] += voxels.size[0] * within.repeat(8)
    boxes = replace(voxels, size=(voxels.size[0], 0.0, 0.0), shape="box")
    found = simulate_graphs(line, boxes, dtype=torch.complex128).signal
    expected = cases.spins(line, replace(many, position=position))
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_voxel_transforms():
    k = torch.tensor([[0.0, 0, 0], [125, 0, 0], [250, 100, 0], [250.6, 0, 0], [499, 0, 0]], dtype=torch.float64)
    box = voxel_transform(k, (SIZE, SIZE, 0.0), "box")
    x = np.linspace(-0.5, 0.5, 200001)
    direct = [
        np.exp(-2j * np.pi * a * SIZE * x).mean() * np.exp(-2j * np.pi * b * SIZE * x).mean() for a, b, _ in k.numpy()
    ]
    assert np.abs(box.numpy() - direct).max() < 1e-4
    sinc = voxel_transform(k, (SIZE, SIZE, 0.0), "sinc").numpy()
    assert np.all(sinc[:3] > 1 - 1e-8)
    assert np.all(sinc[3:] < 1e-4)
    assert torch.equal(voxel_transform(k, (SIZE,) * 3, "point"), torch.ones(5, dtype=torch.float64))
