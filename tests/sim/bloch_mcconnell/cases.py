"""Data of others that may be read but not redistributed: tests with them are skipped where they are absent."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, SeqFile, read_seq
from pulsetwin.sequences.shapes import plain
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


def specified(case: int) -> tuple[SeqFile, PoolModel]:
    """Return a case of the challenge as its description has it.

    The files round to six digits; and those of cases 1 and 3 hold 30 us of silence after each pulse, which the
    description does not, and begin at another offset.
    """
    seq, model = challenge(case)
    ppm = 1e-6 * model.gamma * model.b0 / (2 * math.pi)
    offsets = ppm * np.append(-300.0, reference(case, "offsets_ppm"))
    number = np.arange(len(offsets)) if case in (1, 3) else np.abs(seq.rf.freq[:, None] - offsets).argmin(1)
    frequency, shapes = offsets[number], seq.shapes
    if case == 5:
        samples = np.loadtxt(DATA / "bmsim" / "rf_pulse_cases_5.txt")[:, 1]
        amplitude, shapes = samples.max(), (plain(samples / samples.max()), *shapes[1:])
    else:
        amplitude = 1e-6 * (3.7 if case == 8 else 2.0) * model.gamma / (2 * math.pi)
    phase = np.where(seq.rf.phase != 0, 2 * math.pi * frequency * 5e-3, 0.0)
    rf = replace(seq.rf, freq=frequency, phase=phase, amplitude=np.full(len(frequency), amplitude))
    silence = np.where((seq.events[:, RF] != NONE) & (case in (1, 3)), 30e-6, 0.0)
    return replace(seq, rf=rf, shapes=shapes, block_duration=seq.block_duration - silence), model
