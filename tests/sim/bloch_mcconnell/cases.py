"""Data of others that may be read but not redistributed: tests with them are skipped where they are absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.pools import read_pools

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_challenge = pytest.mark.skipif(not (DATA / "bmsim").exists(), reason="needs the Bloch-McConnell challenge")
needs_library = pytest.mark.skipif(not (DATA / "pulseq_cest").exists(), reason="needs the Pulseq-CEST library")
POOLS = {1: 2, 3: 5, 5: 2, 8: 5}


def challenge(case: int) -> tuple[SeqFile, PoolModel]:
    """Return sequence and model of a case of the challenge."""
    folder = DATA / "bmsim"
    return read_seq(folder / f"case_{case}.seq"), read_pools(folder / f"case_{case}_{POOLS[case]}pool_model.yaml")


def reference(case: int, what: str) -> np.ndarray:
    """Return truth of a case of the challenge."""
    return np.load(DATA / "bmsim" / "reference.npz")[f"case{case}_{what}"]


def library(name: str) -> tuple[SeqFile, PoolModel, np.ndarray]:
    """Return a sequence of the library, the model of white matter, and the published z magnetisation."""
    (path,) = (DATA / "pulseq_cest").glob(f"{name}*.seq")
    model = read_pools(path.parent / "WM_3T_default_7pool_bmsim.yaml")
    return read_seq(path), model, np.loadtxt(path.parent / f"M_z_{path.name}.txt")
