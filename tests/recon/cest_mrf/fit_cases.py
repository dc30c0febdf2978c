"""What the tests of fits share: a schedule, a model of its pool, and random tissues."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulsetwin.recon.cest_mrf.problem import Problem, problem_of
from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel

DATA = Path(__file__).parents[2] / "data"
SEQ = DATA / "cest_larg_9p4t" / "acq_protocol.seq"
MM = 3 / 110e3
"""Fraction of 1 mM L-arginine."""
NAMES = ("amine.fraction", "amine.exchange_rate")
FREE = {NAMES[0]: (1 * MM, 200 * MM), NAMES[1]: (20.0, 2000.0)}


def larginine_seq() -> SeqFile:
    return read_seq(SEQ)


def larginine(normalisation: str = "l2", mode: str = "pulseq_cest") -> Problem:
    """Return the problem of the L-arginine scan at 9.4 T."""
    model = PoolModel(2.8, 0.9, (Pool("amine", 50 * MM, 400.0, 3.0, 2.8, 0.04),), 9.4, reset=False)
    return problem_of(larginine_seq(), model, mode=mode, observe="transverse", normalisation=normalisation)


def tissues(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random fractions, exchange rates, T1 and T2."""
    rng = np.random.default_rng(seed)
    return {
        NAMES[0]: rng.uniform(25, 100, count) * MM,
        NAMES[1]: rng.uniform(150, 700, count),
        "t1": rng.uniform(2.6, 3.2, count),
        "t2": rng.uniform(0.7, 1.1, count),
    }
