"""Maps of finite pulses beside an integration of the Bloch equations and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pulsetwin.sim.rotations import pulse_maps
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
        shape, offset=offset, position=place, b1=b1, t1=0.3, t2=0.04, phase=0.4, frequency=frequency
    )
    for i in range(2):
        spin = {"offset": float(offset[i]), "place": place[i].numpy(), "b1": complex(b1[i])}
        expected = integrate(shape, start, **spin, t1=0.3, t2=0.04, phase=0.4, frequency=frequency)
        found = matrix[i].numpy() @ start + vector[i].numpy()
        assert np.abs(found - expected).max() < 1e-6
