"""How the graph engine scales with voxels, states and cores; and two large scans within 8 GB, on request.

`python benchmarks/bench_twin_scaling.py [FIGURE.png]` draws time against voxels and states on one and two threads.
`--large` measures a RARE of 96 x 96 with its gradients, and a 3D gradient echo of `--matrix` cubed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numba
import torch

from benchmarks.truth_sequences import brain_voxels, flash, rare
from pulsetwin.progress import bar
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.timeline import Timeline

EVENTS = ("flip_angle", "phase", "duration", "moment")
SIZES, PULSES, THREADS, RUNS = (16, 32, 64, 96, 128, 192), (16, 32, 64, 128, 256), (1, 2), 3


def threads(count: int) -> None:
    torch.set_num_threads(count)
    numba.set_num_threads(count)


def median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def with_gradients(line: Timeline, voxels: Voxels, graph: object) -> None:
    leaves = {name: getattr(line, name).clone().requires_grad_() for name in EVENTS}
    signal = simulate_graphs(dataclasses.replace(line, **leaves), voxels, graph=graph).signal
    signal.abs().square().sum().backward()


def measured(line: Timeline, voxels: Voxels) -> tuple[int, list[float]]:
    """Return states, and seconds of signal and of signal with gradients for each number of threads."""
    graph = simulate_graphs(line, voxels, tol=1e-3).graph
    seconds = []
    for count in THREADS:
        threads(count)
        seconds.append(median(lambda: simulate_graphs(line, voxels, graph=graph)))
        seconds.append(median(lambda: with_gradients(line, voxels, graph)))
    return graph.states, seconds


def scaling(path: str) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    line = flash(64)
    by_voxels = [(len(voxels), measured(line, voxels)[1]) for voxels in map(brain_voxels, SIZES)]
    voxels = brain_voxels(64)
    by_states = [measured(flash(64, pulses), voxels) for pulses in PULSES]
    for axis, table, what in zip(axes, (by_voxels, by_states), ("voxels", "states"), strict=True):
        counts = [count for count, _ in table]
        for column, style in enumerate(("C0-o", "C1-o", "C0--s", "C1--s")):
            label = f"{'signal' if column % 2 == 0 else 'and gradients'}, {THREADS[column // 2]} thread(s)"
            axis.loglog(counts, [seconds[column] for _, seconds in table], style, label=label, markersize=4)
        axis.set_xlabel(what)
        axis.set_ylabel("time [s]")
        axis.grid(alpha=0.3, which="both")
        for count, (one, both, one2, both2) in table:
            print(
                f"{count:8d} {what}: signal {one:7.3f} s, {one / one2:4.2f} times as fast on 2 threads; "
                f"with gradients {both:7.3f} s, {both / both2:4.2f}"
            )
    axes[0].set_title("FLASH 64 x 64, error 1e-3", fontsize=10)
    axes[1].set_title(f"FLASH of 16 to 256 pulses, {len(voxels)} voxels", fontsize=10)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def gradient_echo_3d(matrix: int, field_of_view: float = 0.22) -> Timeline:
    """Return an RF-spoiled 3D gradient echo of 8 degrees, TR 8 ms, spoiled by three cycles a voxel along x."""
    n = torch.arange(matrix * matrix, dtype=torch.float64)
    step, samples = 1 / field_of_view, torch.zeros(matrix + 2, dtype=torch.bool)
    samples[1:-1] = True
    duration = torch.full((len(n), matrix + 2), 3e-3 / matrix, dtype=torch.float64)
    duration[:, 0], duration[:, -1] = 2e-3, 3e-3
    moment = torch.zeros(len(n), matrix + 2, 3, dtype=torch.float64)
    moment[:, 0, 0], moment[:, 1:-1, 0], moment[:, -1, 0] = -(matrix // 2 + 1) * step, step, (2.5 * matrix + 1) * step
    for axis, number in ((1, n % matrix), (2, n // matrix)):
        moment[:, 0, axis] = (number - matrix // 2) * step
        moment[:, -1, axis] = -moment[:, 0, axis]
    phase = math.radians(117) * n * (n + 1) / 2 % (2 * math.pi)
    flip = torch.full_like(n, math.radians(8))
    return Timeline.from_repetitions(flip, phase, duration, moment, samples, -phase)


def large(matrix: int, max_states: int) -> None:
    """Print time and memory of a RARE with gradients and of a 3D gradient echo."""
    line, voxels = rare(96, math.pi), brain_voxels(96)
    began = time.perf_counter()
    whole = build_graph(line, voxels)
    with_gradients(line, voxels, whole)
    took = time.perf_counter() - began
    print(f"RARE of 96 echoes, {len(voxels)} voxels, all {whole.states} states: {took:.1f} s with gradients", end="")
    print(f", at most {peak():.2f} GiB", flush=True)
    line, voxels = gradient_echo_3d(matrix), brain((matrix,) * 3, (0.22,) * 3).voxels()
    began = time.perf_counter()
    result = simulate_graphs(line, voxels, max_states=max_states, progress=bar())
    took = time.perf_counter() - began
    print(
        f"3D gradient echo of {matrix}^3, {len(voxels)} voxels, {line.pulses} pulses, {result.states} states: ", end=""
    )
    print(f"{took:.0f} s, at most {peak():.2f} GiB; share of magnetisation left out {result.graph.lost:.1e}")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", nargs="?", default="twin_scaling.png")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--matrix", type=int, default=128)
    parser.add_argument("--max-states", type=int, default=64, help="of one repetition of the 3D gradient echo")
    chosen = parser.parse_args()
    if chosen.large:
        large(chosen.matrix, chosen.max_states)
    else:
        scaling(chosen.figure)


if __name__ == "__main__":
    sys.exit(main())
