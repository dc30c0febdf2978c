"""Projections that the simulation plays, for tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.sim.raser.modes import play
from pulsetwin.sim.raser.projections import random_start, strip_frequencies

STEP = 8e-3
PARAMETERS = Parameters(5.0, 0.7, 1.0)


def projection(over: float, modes: int = 40, seconds: float = 2.5) -> SimpleNamespace:
    """Return a projection of a few blocks, its signal at the middles of steps, too, without noise."""
    rng = np.random.default_rng(3)
    places = np.linspace(-1, 1, modes)
    profile = 1.0 * (np.abs(places) < 0.7) + 1.5 * (np.abs(places - 0.2) < 0.15)
    inversion = over * profile / profile.sum()
    start, frequency = random_start(inversion, 1e-3, rng), strip_frequencies(modes, 6.0 / modes)
    samples = 2 * round(seconds / STEP) + 1
    signal = played(np.vstack([inversion, start.real, start.imag]), frequency, PARAMETERS, STEP / 2, samples)
    return SimpleNamespace(
        signal=signal, frequency=frequency, omega=2 * np.pi * frequency, parameters=PARAMETERS,
        start=np.vstack([inversion, start.real, start.imag]),
    )  # fmt: skip


def played(
    start: np.ndarray, frequency: np.ndarray, parameters: Parameters, dwell: float, samples: int, decay: float = 1.0
) -> np.ndarray:
    """Return the signal of a start ``[3, mode]``, if pumped ``[4, mode]``, by the simulation, complex ``[sample]``."""
    t1, t2, kappa = parameters
    amplitude = start[1] + 1j * start[2]
    modes = {"t1": t1, "t2": t2, "coupling": kappa, "dwell": dwell, "samples": samples, "tolerance": 1e-9}
    modes |= {"pump_source": start[3:].sum(0)[None], "pump_decay": decay}
    return play(start[:1], frequency, amplitude[None], **modes)[0].numpy()
