"""Brute-force rotations by RF pulses in float64, independent of the package."""

from __future__ import annotations

import numpy as np


def spinor(signal: np.ndarray, b1: np.ndarray, offset: np.ndarray, dwell: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Cayley-Klein parameters of a pulse [Hz] for relative B1 and offsets [Hz]; no relaxation."""
    a, b = np.ones(np.shape(b1), complex), np.zeros(np.shape(b1), complex)
    for sample in signal:
        x, y = b1 * sample.real, b1 * sample.imag
        turn = np.sqrt(x**2 + y**2 + offset**2) + 1e-30
        cosine, sine = np.cos(np.pi * turn * dwell), np.sin(np.pi * turn * dwell) / turn
        step = cosine - 1j * offset * sine, -1j * (x + 1j * y) * sine
        a, b = then((a, b), step)
    return a, b


def then(first: tuple, second: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Return one rotation followed by another."""
    (a, b), (c, d) = first, second
    return c * a - np.conj(d) * b, d * a + np.conj(c) * b


def free(offset: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the precession of some offsets [Hz] for a time [s]."""
    return np.exp(-1j * np.pi * offset * time), np.zeros(np.shape(offset), complex)


def longitudinal(rotation: tuple) -> np.ndarray:
    """Return the longitudinal magnetisation that was 1 before a rotation."""
    return np.abs(rotation[0]) ** 2 - np.abs(rotation[1]) ** 2


def relaxed(signal: np.ndarray, dwell: float, t1: float, t2: float, b1: float = 1.0) -> np.ndarray:
    """Return the magnetisation, (0, 0, 1) before, after a pulse [Hz] on resonance with relaxation [s]."""
    m, keep = np.array([0.0, 0.0, 1.0]), np.exp(-dwell / np.array([t2, t2, t1]))
    for sample in signal:
        field = 2 * np.pi * b1 * np.array([sample.real, sample.imag, 0.0])
        strength = np.linalg.norm(field) + 1e-30
        axis, angle = -field / strength, strength * dwell
        m = m * np.cos(angle) + np.cross(axis, m) * np.sin(angle) + axis * (axis @ m) * (1 - np.cos(angle))
        m = m * keep + [0.0, 0.0, 1 - keep[2]]
    return m
