"""Phase distribution graphs beside isochromats, and what their tolerance promises beside what it keeps.

First table: the relative distance of the graph with all its states from the mean of two sums over isochromats of
different seeds, beside that mean's own error as the seeds differ; a ratio up to 1.5 is agreement. Second table, for
each tolerance: states kept, the error estimated and the true one, from the graph with all its states. Where the most
states in a repetition are reached no error is promised, and the true one is from the isochromats.

`python -m benchmarks.bench_truth --help` lists what to choose; `--spins 32768` takes minutes a case.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from torch import Tensor

from benchmarks.truth_sequences import STRUCTURED, brain_voxels, from_zero
from pulsetwin.sim.isochromats import two_seed_error
from pulsetwin.sim.pdg import GraphResult, simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4)
UNSTRUCTURED = {f"from zero {reps} x {flip}": (reps, flip) for reps in (8, 24) for flip in (5, 30)}


def distance(signal: Tensor, truth: Tensor) -> float:
    """Return the norm of the difference relative to that of `truth`."""
    return float((signal - truth).norm() / truth.norm())


def sequence(case: str, matrix: int) -> Timeline:
    """Return the sequence of a case; those from zero are of 24 samples a repetition, whatever the matrix."""
    if case in STRUCTURED:
        return STRUCTURED[case](matrix)
    pulses, flip = UNSTRUCTURED[case]
    return from_zero(math.radians(flip), pulses)


def print_truth(
    case: str, timeline: Timeline, voxels: Voxels, spins: int, max_states: int
) -> tuple[GraphResult, Tensor]:
    """Print a row of the first table; return the graph's result and the isochromats' signal."""
    start = time.perf_counter()
    truth, own = two_seed_error(timeline, voxels, spins=spins, finite_rf=False)
    seconds = time.perf_counter() - start
    full = simulate_graphs(timeline, voxels, dtype=torch.complex128, max_states=max_states)
    error = distance(full.signal, truth)
    print(
        f"{case:<18} {len(voxels):>6} {full.states:>7} {full.states_dropped:>7} 2 x {spins:<6} "
        f"{own:>8.1e} {error:>8.1e} {error / own:>6.2f}   {seconds:.0f} s + {full.seconds:.1f} s",
        flush=True,
    )
    return full, truth


def print_tolerances(timeline: Timeline, voxels: Voxels, full: GraphResult, truth: Tensor, max_states: int) -> None:
    """Print a row for each tolerance: states kept, error estimated, true error and whether it is within."""
    signal = full.signal if full.error is not None else truth
    for tol in TOLERANCES:
        found = simulate_graphs(timeline, voxels, dtype=torch.complex128, tol=tol, max_states=max_states)
        error = distance(found.signal, signal)
        said = "no promise" if found.error is None else f"{found.error:.1e}"
        verdict = "within" if error <= tol else "beyond" if found.error is None else "BROKEN"
        print(
            f"    tol {tol:.0e} {found.states:>7} {said:>11} {error:>8.1e}  {verdict}  {found.seconds:.1f} s",
            flush=True,
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=(*STRUCTURED, *UNSTRUCTURED), nargs="+", default=(*STRUCTURED, *UNSTRUCTURED))
    parser.add_argument("--matrix", type=int, default=32)
    parser.add_argument("--spins", type=int, default=2048, help="per voxel and seed")
    parser.add_argument("--max-states", type=int, default=4096, help="in one repetition")
    parser.add_argument("--no-tol", action="store_true", help="only the first table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    voxels = brain_voxels(chosen.matrix)
    print(f"{'case':<18} {'voxels':>6} {'states':>7} {'dropped':>7} {'spins':<10} {'own':>8} {'graph':>8} {'ratio':>6}")
    for case in chosen.case:
        line = sequence(case, chosen.matrix)
        full, truth = print_truth(case, line, voxels, chosen.spins, chosen.max_states)
        if not chosen.no_tol:
            print_tolerances(line, voxels, full, truth, chosen.max_states)


if __name__ == "__main__":
    main()
