"""CEST-MRF dictionaries: entries a second, and voxels matched a second, of the 9.4 T L-arginine protocol.

Voxels are entries with noise of 1 % of each measurement. Brute force is a matrix product in double precision and its
largest values, on 500 voxels, scaled to all. Times are those on the wall, which other work on the machine makes longer,
and those of the processor, of all threads together.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.recon.cest_mrf.dictionary import computed
from pulsetwin.recon.cest_mrf.grid import Cartesian, spaced
from pulsetwin.recon.cest_mrf.match import match
from pulsetwin.recon.cest_mrf.problem import problem_of
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel

SEQ = Path(__file__).parent.parent / "tests" / "data" / "cest_larg_9p4t" / "acq_protocol.seq"
GRID = Cartesian(
    {
        "t1": spaced(2.5, 3.3, 0.08), "t2": spaced(0.6, 1.2, 0.05), "amine.exchange_rate": spaced(100, 1400, 10),
        "amine.fraction": spaced(10, 115, 5) * 3 / 110e3,
    }
)  # fmt: skip


def timed(job: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what a job returns, its time on the wall and that of the processor [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = job()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def brute(data: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """Best entry of each voxel by trying all."""
    lengths = np.linalg.norm(signals, axis=1)
    return np.concatenate([((part @ signals.T) / lengths).argmax(1) for part in np.array_split(data, len(data) // 50)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=194_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--noise", type=float, default=0.01)
    options = parser.parse_args()
    model = PoolModel(2.8, 1.2, (Pool("amine", 1e-3, 300, 3, 2.8, 0.04),), 9.4, reset=False)
    problem = problem_of(read_seq(SEQ), model, mode="pulseq_cest", observe="transverse", normalisation="l2")
    grid = Cartesian({**GRID.axes, "t1": GRID.axes["t1"][:1], "t2": GRID.axes["t2"][:1]})
    computed(problem, grid, options.threads)  # compiles
    dictionary, wall, cpu = timed(lambda: computed(problem, GRID, options.threads))
    print(f"dictionary: {len(GRID)} entries in {wall:.0f} s ({len(GRID) / cpu:.0f} per second and core)")
    rng = np.random.default_rng(0)
    data = dictionary.signals[rng.integers(len(GRID), size=options.voxels)]
    data = data * (1 + options.noise * rng.standard_normal(data.shape))
    match(data[:300], dictionary, loss=1e-4)  # compiles
    exact = None
    for loss in (0.0, 1e-5, 1e-4):
        found, wall, cpu = timed(lambda loss=loss: match(data, dictionary, loss=loss, threads=options.threads))
        exact = found if exact is None else exact
        short = float((exact.likeness - found.likeness).max())
        print(
            f"loss {loss:g}: {len(data)} voxels in {wall:.1f} s, processor {cpu:.1f} s; entries as exact "
            f"{100 * np.mean(found.entry == exact.entry):.2f} %, inner product less by at most {short:.1e}"
        )
    few = data[:500]
    best, wall, cpu = timed(lambda: brute(few, dictionary.signals))
    same = 100 * np.mean(exact.entry[:500] == best)
    print(f"brute force in float64: {cpu * len(data) / 500:.0f} s of processor; entries as exact {same:.2f} %")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
