"""Maps of finite pulses beside an integration of the Bloch equations and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.pulse_steps import pulse_steps
from pulsetwin.sim.rotations import pulse_maps, turn
from pulsetwin.sim.timeline import PulseShape

F64 = torch.float64
UP = torch.tensor([0, 0, 1], dtype=F64)


def pulse(b1: np.ndarray, duration: float, gradient: np.ndarray | None = None, flip: float | None = None) -> PulseShape:
    """A pulse of equal segments, whose nominal flip angle is that on resonance."""
    count = len(b1)
    gradient = np.zeros((count, 3)) if gradient is None else gradient
    flip = 2 * math.pi * abs(b1.sum()) * duration / count if flip is None else flip
    lengths = torch.full((count,), duration / count, dtype=F64)
    return PulseShape(lengths, torch.from_numpy(b1.astype(complex)), torch.from_numpy(gradient), duration / 2, flip)


def sinc(count: int = 120, duration: float = 3e-3, flip: float = math.pi / 2) -> PulseShape:
    """A chirped sinc on the ramps and the top of a slice gradient."""
    t = (np.arange(count) + 0.5) / count - 0.5
    wave = np.sinc(4 * t) * np.exp(4j * t + 0.2j)
    wave *= flip / (2 * math.pi * abs(wave.sum()) * duration / count)
    gradient = np.outer(np.clip(5 * (1 - 2 * abs(t)), 0, 1), [44e3, 0, -8e3])
    return pulse(wave, duration, gradient, flip)


def integrate(shape: PulseShape, start: np.ndarray, *, offset, place, b1, t1, t2, phase, frequency) -> np.ndarray:
    """Solve the Bloch equations of one spin through a pulse, segment by segment."""
    m, began = start, 0.0
    for length, wave, gradient in zip(shape.duration.tolist(), shape.b1.tolist(), shape.gradient.numpy(), strict=True):

        def slope(t, m, wave=wave, gradient=gradient):
            field = wave * b1 * np.exp(1j * phase - 2j * np.pi * frequency * (t - shape.center))
            turn = np.cross(2 * np.pi * np.array([field.real, field.imag, -offset - gradient @ place]), m)
            return turn - np.array([m[0] / t2, m[1] / t2, (m[2] - 1) / t1])

        solved = solve_ivp(slope, (began, began + length), m, method="DOP853", rtol=1e-9, atol=1e-11)
        m, began = solved.y[:, -1], began + length
    return m


@pytest.mark.parametrize("frequency", [0.0, 150.0])
def test_shaped_pulse_with_gradients_and_relaxation_equals_the_bloch_equations(frequency):
    shape, start = sinc(), np.array([0.3, -0.2, 0.7])
    offset, b1 = torch.tensor([10.0, -200.0], dtype=F64), torch.tensor([1.0, 0.8 + 0.2j], dtype=torch.complex128)
    place = torch.tensor([[0.01, 0, 0], [0.03, 0.02, 0.01]], dtype=F64)
    matrix, vector = pulse_maps(
        shape, offset=offset, position=place, b1=b1, t1=0.3, t2=0.04, phase=0.4, frequency=frequency, tolerance=1e-7
    )
    for i in range(2):
        spin = {"offset": float(offset[i]), "place": place[i].numpy(), "b1": complex(b1[i])}
        expected = integrate(shape, start, **spin, t1=0.3, t2=0.04, phase=0.4, frequency=frequency)
        found = matrix[i].numpy() @ start + vector[i].numpy()
        assert np.abs(found - expected).max() < 1e-6


def test_turn_is_the_cosine_and_sine():
    cycles = np.concatenate((np.linspace(-3, 3, 4001), [1e6 + 0.3, -0.5, 0.25]))
    found = np.array([turn(c) for c in cycles])
    angle = 2 * np.pi * (cycles - np.round(cycles))
    assert np.abs(found - np.stack((np.cos(angle), np.sin(angle)), 1)).max() < 2e-15


@pytest.mark.parametrize("segments", [1, 7])
def test_block_pulse_off_resonance_is_a_turn_about_the_effective_field(segments):
    strength, length = 250.0, 1e-3
    offset = torch.linspace(-600, 600, 25, dtype=F64)
    matrix, vector = pulse_maps(pulse(np.full(segments, strength), length), offset=offset)
    effective = torch.hypot(torch.tensor(strength, dtype=F64), offset)
    angle = 2 * math.pi * effective * length
    z = (offset / effective) ** 2 + (strength / effective) ** 2 * torch.cos(angle)
    assert torch.allclose(matrix[:, 2, 2], z, atol=1e-12)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3, dtype=F64).expand(25, 3, 3), atol=1e-12)
    assert torch.equal(vector, torch.zeros(25, 3, dtype=F64))


def test_a_short_pulse_is_the_textbook_rotation():
    flip, phase, length = 1.1, 0.6, 1e-9
    shape = pulse(np.array([flip / (2 * math.pi * length)]), length)
    matrix, _ = pulse_maps(shape, offset=torch.zeros(1, dtype=F64), phase=phase)
    start = np.array([0.2, 0.5, -0.4])
    plus = start[0] + 1j * start[1]
    turned = math.cos(flip / 2) ** 2 * plus + math.sin(flip / 2) ** 2 * np.exp(2j * phase) * plus.conjugate()
    turned -= 1j * math.sin(flip) * np.exp(1j * phase) * start[2]
    z = math.cos(flip) * start[2] + math.sin(flip) * (np.exp(-1j * phase) * plus).imag
    assert np.allclose(matrix[0].numpy() @ start, [turned.real, turned.imag, z], atol=1e-9)


def test_without_b1_spins_precess_and_relax():
    shape = pulse(np.zeros(4), 2e-3, np.tile([1e4, 0, 0], (4, 1)), flip=1.0)
    place = torch.tensor([[0.01, 0, 0]], dtype=F64)
    matrix, vector = pulse_maps(shape, offset=torch.tensor([70.0]), position=place, t1=0.1, t2=0.02)
    plus = complex(matrix[0, 0, 0], matrix[0, 1, 0])
    assert abs(plus - np.exp(-2j * math.pi * (70 + 100) * 2e-3 - 2e-3 / 0.02)) < 1e-12
    assert float(matrix[0, 2, 2]) == pytest.approx(math.exp(-2e-3 / 0.1), rel=1e-12)
    assert torch.allclose(vector[0], torch.tensor([0, 0, 1 - math.exp(-2e-3 / 0.1)], dtype=F64))


def hyperbolic_secant(count: int = 1000) -> PulseShape:
    """Silver's pulse: peak 700 Hz, sweep of +-637 Hz."""
    t = (np.arange(count) + 0.5) / count * 16e-3 - 8e-3
    return pulse(700 * (1 / np.cosh(800 * t)) ** (1 + 5j), 16e-3, flip=math.pi)


def test_hyperbolic_secant_inverts_as_silver_says():
    """Silver et al. 1985, doi:10.1103/PhysRevA.31.2753, for a pulse without end; ours is cut at 0.3 % of its peak."""
    offset = torch.linspace(-1200, 1200, 49, dtype=F64)
    for scale in (0.8, 1.0, 1.4):
        b1 = torch.full((49,), scale, dtype=torch.complex128)
        matrix, _ = pulse_maps(hyperbolic_secant(), offset=offset, b1=b1)
        beta, mu, w1 = 800.0, 5.0, 2 * math.pi * 700 * scale
        detuning = math.pi * 2 * math.pi * offset.numpy() / (2 * beta)
        up, down = np.tanh(detuning + math.pi * mu / 2), np.tanh(detuning - math.pi * mu / 2)
        root = np.emath.sqrt((w1 / beta) ** 2 - mu**2)
        sech = 1 / np.cosh(detuning + math.pi * mu / 2) / np.cosh(detuning - math.pi * mu / 2)
        expected = up * down + np.cos(math.pi * root).real * sech
        assert np.abs(matrix[:, 2, 2].numpy() - expected).max() < 0.03
        assert matrix[np.abs(offset.numpy()) < 400, 2, 2].max() < -0.99


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize(
    "shape", [sinc(600), hyperbolic_secant(), pulse(np.full(1, 250.0), 1e-3)], ids=["sinc", "hs", "block"]
)
def test_errors_stay_below_the_tolerance(shape, tolerance):
    spins = {
        "offset": torch.linspace(-300, 300, 21, dtype=F64), "t1": 0.8, "t2": 0.03,
        "position": torch.linspace(0, 0.05, 21, dtype=F64)[:, None].expand(21, 3),
        "b1": torch.linspace(0.7, 1.2, 21, dtype=F64).to(torch.complex128),
    }  # fmt: skip
    exact, found = (pulse_maps(shape, **spins, tolerance=t) for t in (1e-9, tolerance))
    assert max(float((a - b).abs().max()) for a, b in zip(exact, found, strict=True)) < tolerance


def test_short_segments_are_joined():
    steps = [len(pulse_steps(sinc(n), np.ones(1), spread=2000, rate=10, field=1.0)) for n in (300, 3000)]
    assert steps[1] < 600
    assert abs(steps[1] - steps[0]) < 0.6 * steps[0]


def test_channels_add_up():
    """Two channels with their own waveforms are one with the sum that each spin sees."""
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(30, 2)) * 100 + 1j * rng.normal(size=(30, 2)) * 100
    b1 = torch.from_numpy(rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)))
    many = pulse(waves[:, 0], 1e-3, flip=1.0)
    many = PulseShape(many.duration, torch.from_numpy(waves), many.gradient, many.center, 1.0)
    offset = torch.tensor([0.0, 50, -300], dtype=F64)
    found, _ = pulse_maps(many, offset=offset, b1=b1, phase=0.3, tolerance=1e-10)
    for spin in range(3):
        alone = pulse(waves @ b1[:, spin].numpy(), 1e-3, flip=1.0)
        expected, _ = pulse_maps(alone, offset=offset[spin : spin + 1], phase=0.3, tolerance=1e-10)
        assert torch.allclose(found[spin], expected[0], atol=1e-8)


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match="2 spins"):
        pulse_maps(sinc(), offset=torch.zeros(2), position=torch.zeros(3, 3))
    with pytest.raises(ProtocolError, match="flip angle of 0"):
        pulse_maps(pulse(np.zeros(3), 1e-3, flip=0.0), offset=torch.zeros(2), flip_angle=1.0)
