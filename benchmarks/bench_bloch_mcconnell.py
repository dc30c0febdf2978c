"""Entries a second of the Bloch-McConnell engine on one core, for published fingerprinting protocols.

Times are those of the processor, medians of some runs. Run with OMP_NUM_THREADS=1. The continuous-wave protocol is read
from the file named on the command line, such as that of the 9.4 T L-arginine data; without it that line is left out.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import differentiate_entries, play_entries
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol

ENTRIES, RUNS = 4096, 5
AMINE, AMIDE = Pool("amine", 1.4e-3, 300, 3.0, 2.8, 0.04), Pool("amide", 3e-3, 40, 3.5, 1.5, 0.04)
SOLID = Pool("mt", 0.1, 40.0, 0.0, 1.5, 4e-5)
MT_B1 = tuple(1e-6 * b1 for b1 in np.random.default_rng(1).uniform(0.5, 2.0, 30).round(2))
MT_OFFSET = tuple(-ppm for ppm in np.random.default_rng(2).uniform(6, 14, 30).round(1))


def table(model: PoolModel, entries: int) -> tuple[list[str], np.ndarray]:
    """Return T1, T2, fraction and exchange rate of the first pool, 30 % around the model's."""
    pool = model.pools[0]
    names = ["t1", "t2", f"{pool.name}.fraction", f"{pool.name}.exchange_rate"]
    middle = np.array([model.t1, model.t2, pool.fraction, pool.exchange_rate])
    return names, middle * np.random.default_rng(0).uniform(0.7, 1.3, (entries, 4))


def speed(seq: SeqFile, model: PoolModel, *wanted: str) -> float:
    """Return entries a second of processor time."""
    program = compile_seq(seq, model, mode="pulseq_cest")
    names, values = table(model, ENTRIES)
    taken = []
    for _ in range(RUNS + 1):
        begin = time.process_time()
        differentiate_entries(program, model, names, values, wanted, observe="transverse")
        taken.append(time.process_time() - begin)
    return ENTRIES / statistics.median(taken[1:])


def whole_dictionary(seq: SeqFile, model: PoolModel, entries: int) -> tuple[float, float]:
    """Return the time on the clock and of the processors of a dictionary on two cores [s]."""
    program = compile_seq(seq, model, mode="physical")
    names, values = table(model, entries)
    clock, processor = time.perf_counter(), time.process_time()
    play_entries(program, model, names, values, observe="transverse", threads=2)
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lock = spin_lock_protocol(Path(folder) / "lock.seq")
        solid = spin_lock_protocol(Path(folder) / "solid.seq", b1=MT_B1, offset=MT_OFFSET)
    two, three = (PoolModel(1.5, 0.07, pools, 2.8936, reset=False) for pools in ((AMINE,), (SOLID, AMIDE)))
    rows = [("13 spin-locks, 45 shots, 2 pools", lock, two), ("the same, 3 pools", lock, three)]
    rows.append(("semisolid, 30 offsets, 2 pools", solid, PoolModel(1.5, 0.07, (SOLID,), 2.8936, reset=False)))
    if len(sys.argv) > 1:
        rows.append(
            ("continuous wave, 2 pools", read_seq(sys.argv[1]), PoolModel(2.8, 1.0, (AMINE,), 9.4, reset=False))
        )
    for name, seq, model in rows:
        print(f"{name:36} {speed(seq, model):9.0f} entries/s")
    slopes = ("amine.fraction", "amine.exchange_rate")
    print(f"{'first row with two derivatives':36} {speed(lock, two, *slopes):9.0f} entries/s")
    clock, processor = whole_dictionary(solid, rows[2][2], 400_000)
    print(f"{'400,000 entries of semisolid':36} {clock:9.1f} s on two cores, {processor:.1f} s of processors")


if __name__ == "__main__":
    main()
