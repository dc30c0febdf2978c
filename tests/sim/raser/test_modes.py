"""Coupled modes against their equations as published, a general solver, and laws of conservation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.raser.kernel import ROWS, play_projection
from pulsetwin.sim.raser.modes import play
from pulsetwin.sim.raser.propagate import propagate
from pulsetwin.sim.raser.tiles import TILE, tiled
from tests.sim.raser.raser_cases import T1, T2, modes_of, solved

TIMES = {"t1": T1, "t2": T2}


def polar_slopes(d, amplitude, phase, frequency, beta, t1, t2):
    """The published equations, every pair of modes by itself: Becker et al. 2025; in spins, rad and s."""
    between = phase[None] - phase[:, None]
    along, across = (amplitude * np.cos(between)).sum(1), (amplitude * np.sin(between)).sum(1)
    return (
        -d / t1 - 4 * beta * amplitude * along,
        -amplitude / t2 + beta * d * along,
        2 * np.pi * frequency + beta * d / amplitude * across,
    )


def test_trajectory_of_all_pairs():
    """The whole signal is that of the published equations, integrated mode by mode, to 1e-10 of its largest."""
    inversion, frequency, start = modes_of(10.0, 9, share=0.3)
    inversion, start = inversion + 0.1, start + 0.01
    modes, samples, dwell, beta = 9, 400, 1e-3, 4.742e-16
    threshold = 1 / (beta * T2)

    def slope(_, y):
        return np.concatenate(polar_slopes(*y.reshape(3, -1) * scale, frequency, beta, T1, T2)) / scale.repeat(modes)

    scale = np.array([threshold, threshold / 2, 1.0])[:, None]
    begin = np.concatenate([inversion, abs(start), np.angle(start)])
    done = solve_ivp(slope, (0, (samples - 1) * dwell), begin, "DOP853", np.arange(samples) * dwell, rtol=1e-13,
                     atol=1e-15)  # fmt: skip
    _, amplitude, phase = done.y.reshape(3, modes, samples)
    expected = (amplitude * np.exp(1j * phase)).sum(0)
    signal = play(inversion[None], frequency, start[None], **TIMES, dwell=dwell, samples=samples, tolerance=1e-12)
    assert abs(signal[0].numpy() - expected).max() < 1e-10 * abs(expected).max()


@pytest.mark.parametrize("total", [3, 10, 30, 83])
def test_trajectories_of_a_general_solver(total):
    """To 1e-6 of the largest signal, and to what is asked for."""
    case = modes_of(total)
    expected = solved(*case, 1e-3, 4096)[:2].sum(1)
    expected = expected[0] + 1j * expected[1]
    for tolerance, most in ((1e-6, 1e-6), (1e-7, 3e-7), (1e-9, 1e-8)):
        inversion, frequency, start = case
        signal = play(inversion[None], frequency, start[None], **TIMES, dwell=1e-3, samples=4096, tolerance=tolerance)
        assert abs(signal[0].numpy() - expected).max() < most * abs(expected).max()


def test_pump_and_gain():
    """A decaying pump, another gain of the receiver and a long dwell."""
    inversion, frequency, start = modes_of(12.0, 30, seed=3)
    rng = np.random.default_rng(4)
    source, rate = 3 * rng.random(30), rng.random(30)
    states = solved(inversion, frequency, start, 0.02, 200, coupling=0.25, source=source, rate=rate, decay=1.5)
    expected = states[0].sum(0) + 1j * states[1].sum(0)
    given = {"pump_source": source, "pump_rate": rate, "pump_decay": 1.5, "coupling": 0.25}
    signal = play(inversion[None], frequency, start[None], **TIMES, **given, dwell=0.02, samples=200)[0].numpy()
    assert abs(signal - expected).max() < 1e-6 * abs(expected).max()
    plain = play(inversion[None], frequency, start[None], **TIMES, dwell=0.02, samples=200)
    louder = play(inversion[None], frequency, 2 * start[None], **TIMES, coupling=0.25, dwell=0.02, samples=200)
    assert float((louder - 2 * plain).abs().max() / plain.abs().max()) < 1e-6


def test_a_single_mode_is_radiation_damping():
    """Its burst without relaxation is a hyperbolic secant."""
    n, a, t2 = 4e6, 2e4, 1e5
    length, times = np.hypot(n, a), np.arange(300) * 2e-3
    signal = play([[n]], [0.0], [[a]], t1=1e12, t2=t2, dwell=2e-3, samples=300, tolerance=1e-10)[0].numpy()
    assert abs(signal - length / np.cosh(length * times / t2 - np.arccosh(length / a))).max() < 1e-5 * length


def test_without_relaxation_each_mode_turns():
    """Its ``|a|^2 + n^2`` is kept through a burst of all."""
    inversion, frequency, start = modes_of(1e14, 31, share=0.01)
    tiles = tiled(np.stack([start.real, start.imag, inversion]), ROWS // TILE - 3)
    constants = tiled(np.stack([2 * np.pi * frequency, 0 * frequency, 0 * frequency]))
    levels, signal = np.empty(1 << 22, np.int8), np.empty(1000, complex)
    rates = np.array([1e-15, 1e-12, 1.0, 0.0])
    assert play_projection(tiles, 31, constants, rates, 1e-3, 1000, 1e-11, levels, signal)
    re, im, n = (tiles[row * TILE :][:31] for row in range(3))
    assert n.min() < -0.5 * inversion.max()
    length = np.hypot(abs(start), inversion)
    assert abs(np.sqrt(re**2 + im**2 + n**2) - length).max() < 1e-9 * length.max()


def test_modes_without_coupling_are_linear():
    """Far below the threshold, each mode is a decaying line."""
    frequency, start = np.array([-3.0, 1.0, 7.0]), np.array([[1.0, 0.5j, -0.2]])
    signal = play(np.full((1, 3), 1e-12), frequency, start, **TIMES, coupling=0.0, dwell=1e-3, samples=2000)[0]
    times = np.arange(2000) * 1e-3
    expected = (start[0, :, None] * np.exp((2j * np.pi * frequency[:, None] - 1 / T2) * times)).sum(0)
    assert abs(signal.numpy() - expected).max() < 1e-7


def test_projections_are_independent_and_of_one_size():
    """Each has its own frequencies and times; the number of threads changes nothing."""
    cases = [modes_of(total, 20, seed) for seed, total in enumerate((5.0, 20.0, 0.5))]
    inversion, frequency, start = (np.stack(part) for part in zip(*cases, strict=True))
    t2 = np.array([0.5, 0.7, 0.9])
    together = play(inversion, frequency, start, t1=T1, t2=t2, dwell=1e-3, samples=500)
    for number in range(3):
        one = slice(number, number + 1)
        alone = play(inversion[one], frequency[one], start[one], t1=T1, t2=t2[one], dwell=1e-3, samples=500)
        assert torch.equal(alone[0], together[number])


def test_more_modes_than_a_tile():
    """The same object in 67 and, equal ones in place of each, in 268 modes."""
    inversion, frequency, start = modes_of(10.0)
    many = [np.repeat(part, 4)[None] / scale for part, scale in ((inversion, 4), (frequency, 1), (start, 4))]
    few = play(inversion[None], frequency, start[None], **TIMES, dwell=1e-3, samples=1000, tolerance=1e-9)
    assert float((play(*many, **TIMES, dwell=1e-3, samples=1000, tolerance=1e-9) - few).abs().max()) < 1e-7 * 10


def real(value):
    return torch.tensor(value, dtype=torch.float64)


def gradient_case():
    """Parameters of two projections that all act."""
    cases = [modes_of(total, 11, seed, share=0.02) for seed, total in enumerate((8.0, 14.0))]
    inversion, frequency, start = (torch.tensor(np.stack(part)) for part in zip(*cases, strict=True))
    rng = np.random.default_rng(7)
    return {
        "inversion": inversion, "frequency": frequency[0], "start": start, "t1": real(2.0),
        "t2": real([0.6, 0.8]), "coupling": real(0.8), "pump_source": torch.tensor(rng.random(11)),
        "pump_rate": torch.tensor(rng.random(11)), "pump_decay": real(0.7),
    }  # fmt: skip


def loss_of(values, tolerance=1e-11):
    signal = play(**values, dwell=2e-3, samples=500, tolerance=tolerance)
    rng = np.random.default_rng(9)
    return (
        signal * torch.tensor(rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    ).real.sum()


@pytest.mark.parametrize("name", list(gradient_case()))
def test_gradients_are_those_of_differences(name):
    """To 1e-6, along a random direction: differences of fourth order of a much more accurate signal."""
    values = {
        key: value.to(torch.complex128 if key == "start" else torch.float64) for key, value in gradient_case().items()
    }
    there = values[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of({**values, name: there}, 1e-9), there)
    rng = np.random.default_rng(11)
    direction = torch.tensor(rng.standard_normal(there.shape)).to(there.dtype)
    if name == "start":
        direction = direction * torch.tensor(np.exp(2j * np.pi * rng.random(there.shape)))
    size = 1e-3 * float(there.detach().abs().max())
    at = [float(loss_of({**values, name: values[name] + shift * size * direction})) for shift in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * size)
    found = float((gradient.conj() * direction).real.sum())
    scale = float(gradient.abs().square().sum().sqrt() * direction.abs().square().sum().sqrt())
    assert abs(found - expected) < 1e-6 * scale


def test_tensor_operations_do_as_the_kernel():
    """Signal and gradients, by automatic differentiation of other code."""
    values = gradient_case()
    order = ["inversion", "frequency", "start", "pump_source", "pump_rate", "t1", "t2", "coupling", "pump_decay"]
    shapes = {name: (2, 11) if number < 5 else (2,) for number, name in enumerate(order)}
    given = {name: values[name].expand(shapes[name]).clone() for name in order}
    for value in given.values():
        value.requires_grad_()
    weights = torch.tensor(np.random.default_rng(1).standard_normal((2, 40))) + 0.5j
    compiled = play(**given, dwell=2e-3, samples=40, tolerance=1e-8)
    tensors = propagate(*given.values(), dwell=2e-3, samples=40, tolerance=1e-8)
    assert float((compiled - tensors).detach().abs().max() / compiled.detach().abs().max()) < 1e-8
    one, other = (
        torch.autograd.grad((weights * signal).real.sum(), list(given.values())) for signal in (compiled, tensors)
    )
    for name, here, there in zip(order, one, other, strict=True):
        assert float((here - there).abs().max() / there.abs().max()) < 1e-6, name


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"inversion": np.ones(3)}, ShapeError, "projection, mode"),
        ({"frequency": np.ones(4)}, ShapeError, "frequency"),
        ({"t1": [1.0, 2.0]}, ShapeError, "t1"),
        ({"t2": 0.0}, ProtocolError, "t2"),
        ({"inversion": [[1.0, np.nan, 1.0]]}, ProtocolError, "inversion"),
        ({"pump_rate": -1.0}, ProtocolError, "pump_rate"),
        ({"dwell": 0.0}, ProtocolError, "dwell"),
        ({"samples": 0}, ProtocolError, "samples"),
        ({"tolerance": 1.0}, ProtocolError, "tolerance"),
    ],
)
def test_what_makes_no_sense_is_told(change, error, told):
    good = {"inversion": np.ones((1, 3)), "frequency": np.zeros(3), "start": np.ones((1, 3)), "dwell": 1e-3}
    with pytest.raises(error, match=told):
        play(**{**good, **TIMES, "samples": 4, **change})
