"""Raw data with everything a TWIX file can hold, made from random numbers."""

from __future__ import annotations

import numpy as np

from pulsetwin.rawdata import Geometry, RawData, Readouts

RAS_OF_PULSEQ = np.diag([1.0, -1.0, 1.0])
"""Axes of a transverse Pulseq scan: right, back, head."""


def noise_like(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def rich_scan(seed: int = 0, sequence: str = "gre", noise: int = 5000) -> RawData:
    """Two echoes (the second reversed), three slices, navigators of another length, phase correction, noise."""
    rng = np.random.default_rng(seed)
    lines, slices, echoes, channels = 8, 3, 2, 3
    count = lines * slices * echoes
    order = np.arange(count)
    labels = {
        "ECO": (order % echoes).astype(np.int32),
        "LIN": (order // echoes % lines).astype(np.int32),
        "SLC": (order // (echoes * lines)).astype(np.int32),
    }
    correction = np.zeros(count, bool)
    correction[:2] = True
    flags = {"reversed": labels["ECO"] == 1, "phase_correction": correction, "imaging": ~correction}
    main = Readouts(
        noise_like(rng, count, channels, 64), None, 0.02 * order + 1e-3, np.full(count, 5e-6), labels, flags
    )
    navigators = Readouts(
        noise_like(rng, slices, channels, 20),
        None,
        0.02 * lines * echoes * np.arange(slices),
        np.full(slices, 5e-6),
        {"SLC": np.arange(slices, dtype=np.int32)},
        {"navigator": np.ones(slices, bool), "imaging": np.zeros(slices, bool)},
    )
    centres = np.array([[0.01, -0.02, z] for z in (-0.005, 0.0, 0.005)])
    geometry = Geometry((0.2, 0.18, 0.005), (64, 8, 1), np.diag([-1.0, 1.0, 1.0]), centres, "HFS")
    if "pulseq" in sequence:
        geometry = Geometry((0.2, 0.18, 0.005), (64, 8, 1), RAS_OF_PULSEQ, centres, "HFS")
    header = {"sequence": sequence, "field_strength": 2.89}
    return RawData((main, navigators), noise_like(rng, channels, noise), 4e-6, geometry, header=header)
