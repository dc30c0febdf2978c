"""What the tests of networks share: the L-arginine scan at 9.4 T, and simulated ones of its schedule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulsetwin.recon.cest_mrf.problem import Problem, normalised, predicted, problem_of
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel

FOLDER = Path(__file__).parents[2] / "data" / "cest_larg_9p4t"
MM = 3 / 110e3
"""Fraction of 1 mM L-arginine."""
NAMES = ("amine.fraction", "amine.exchange_rate")
FREE = {NAMES[0]: (20 * MM, 110 * MM), NAMES[1]: (100.0, 800.0)}
NOISE = 2e-3


def larginine(normalisation: str = "l2", mode: str = "pulseq_cest") -> Problem:
    """Return the problem of the scan."""
    model = PoolModel(2.8, 0.9, (Pool("amine", 50 * MM, 400.0, 3.0, 2.8, 0.04),), 9.4, reset=False)
    seq = read_seq(FOLDER / "acq_protocol.seq")
    return problem_of(seq, model, mode=mode, observe="transverse", normalisation=normalisation)


def tissues(count: int, seed: int) -> dict[str, np.ndarray]:
    """Return random fractions, exchange rates, T1 and T2."""
    rng = np.random.default_rng(seed)
    return {
        NAMES[0]: rng.uniform(25, 100, count) * MM,
        NAMES[1]: rng.uniform(150, 700, count),
        "t1": rng.uniform(2.6, 3.2, count),
        "t2": rng.uniform(0.7, 1.1, count),
    }


def scan(count: int, seed: int = 0, noise: float = NOISE) -> tuple[np.ndarray, dict, dict]:
    """Return noisy normalised signals, what is known of the voxels, and the truth of the rest."""
    truth = tissues(count, seed)
    data = predicted(larginine(), tuple(truth), np.stack(list(truth.values()), 1))
    data = normalised(data + noise * np.random.default_rng(seed + 1).standard_normal(data.shape), "l2")
    return data, {name: truth.pop(name) for name in ("t1", "t2")}, truth
