"""Phase distribution graphs beside MRzero-Core: speed, memory and difference; same sequence and voxels, interleaved.

One thread each. MRzero-Core drops states of little signal, by a threshold that is not its error. Ours drop those that
an error allows, once of the size of this threshold, once of the error that MRzero-Core makes; errors are those to all
states. Both reuse their graph; building it is timed by itself. Gradients are those of ``sum |signal|^2``. MRzero-Core
(AGPL) is only run: ``pip install mrzerocore==1.2.0``.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numba
import torch
from torch import Tensor

from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

FOV, GRID = 0.2, 64
PULSES, EVENTS = ("flip_angle", "phase"), ("flip_angle", "phase", "duration", "moment")


def peer() -> ModuleType:
    """Return MRzero-Core."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import MRzeroCore
    except ImportError as error:
        raise SystemExit("MRzero-Core is missing: pip install mrzerocore==1.2.0") from error
    return MRzeroCore


def readouts(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Durations, moments and samples of repetitions of a prephaser, a readout along x and a rephaser of ky."""
    moment = torch.zeros(count, GRID + 2, 3, dtype=torch.float64)
    moment[:, 1:-1, 0] = 1 / FOV
    line = (torch.arange(GRID) - GRID // 2) / FOV
    moment[-GRID:, 0, 1], moment[-GRID:, -1, 1] = line, -line
    taken = torch.zeros(GRID + 2, dtype=torch.bool)
    taken[1:-1] = True
    return torch.zeros(count, GRID + 2, dtype=torch.float64), moment, taken


def times(duration: Tensor, dwell: float, repetition: float) -> None:
    duration[:, 1:-1] = dwell
    duration[:, 0] = duration[:, -1] = (repetition - GRID * dwell) / 2


def flash() -> Timeline:
    duration, moment, taken = readouts(GRID)
    times(duration, 8e-5, 10.6e-3)
    moment[:, 0, 0], moment[:, -1, 0] = -(GRID // 2 + 1) / FOV, 1.5 * GRID / FOV
    count = torch.arange(GRID, dtype=torch.float64)
    phase = torch.deg2rad(117 * count * (count + 1) / 2) % (2 * math.pi)
    return Timeline.from_repetitions(torch.full_like(phase, math.radians(10)), phase, duration, moment, taken, -phase)


def bssfp() -> Timeline:
    duration, moment, taken = readouts(GRID)
    times(duration, 2e-5, 2.86e-3)
    moment[:, 0, 0] = moment[:, -1, 0] = -GRID / 2 / FOV
    flip = torch.full((GRID,), math.radians(60), dtype=torch.float64)
    flip[0] /= 2
    phase = math.pi * (torch.arange(GRID, dtype=torch.float64) % 2)
    return Timeline.from_repetitions(flip, phase, duration, moment, taken, -phase)


def rare(degrees: float) -> Timeline:
    spacing = 12.8e-3
    duration, moment, taken = readouts(GRID + 1)
    times(duration, 1e-4, spacing)
    moment[:, 0, 0] = moment[:, -1, 0] = GRID / FOV
    duration[0], moment[0] = 0, 0
    duration[0, 0], moment[0, 0, 0] = spacing / 2, 1.5 * GRID / FOV
    flip = torch.full((GRID + 1,), math.radians(degrees), dtype=torch.float64)
    phase = torch.zeros_like(flip)
    flip[0], phase[0] = math.pi / 2, math.pi / 2
    whole = Timeline.from_repetitions(flip, phase, duration, moment, taken, torch.zeros_like(phase))
    return dataclasses.replace(
        whole, sample_interval=whole.sample_interval[GRID:].clone(), sample_phase=whole.sample_phase[GRID:].clone(),
        readout_start=torch.arange(GRID + 1) * GRID, readout_shape=whole.readout_shape[1:].clone(),
    )  # fmt: skip


CASES = {
    "FLASH": (flash, 1e-3, True), "RARE 120": (lambda: rare(120), 1e-3, True),
    "RARE 180": (lambda: rare(180), 1e-3, True), "bSSFP": (bssfp, 1e-2, False),
}  # fmt: skip


def their_object() -> object:
    """Three tissues in an ellipse of about 2500 voxels, with smooth fields, as MRzero-Core takes them."""
    at = torch.arange(GRID) - GRID // 2
    x, y = at[:, None].float(), at[None].float()
    radius = ((x / 27) ** 2 + (y / 30) ** 2).sqrt()
    fluid, white = ((x / 7) ** 2 + (y / 9) ** 2).sqrt() < 1, radius < 0.75
    pick = lambda grey, whites, fluids: torch.where(fluid, fluids, torch.where(white, whites, grey))  # noqa: E731
    maps = [
        (radius < 1) * pick(torch.tensor(0.8), torch.tensor(0.7), torch.tensor(1.0)),
        pick(torch.tensor(1.5), torch.tensor(0.9), torch.tensor(4.0)),
        pick(torch.tensor(0.1), torch.tensor(0.07), torch.tensor(1.5)), torch.full_like(radius, 0.03),
        pick(torch.tensor(0.8), torch.tensor(0.7), torch.tensor(3.0)), 15 * torch.sin(x / 13) * torch.cos(y / 17),
    ]  # fmt: skip
    b1 = (1.1 - 0.3 * radius**2)[None, ..., None].to(torch.complex64)
    edge = 1e3 * FOV / GRID
    affine = torch.tensor([[edge, 0, 0, -FOV * 500], [0, edge, 0, -FOV * 500], [0, 0, 5, 0]], dtype=torch.float32)
    phantom = peer().VoxelGridPhantom(*[m[..., None].float() for m in maps], b1, torch.ones_like(b1), affine)
    return phantom.build()


def our_voxels(data: object) -> Voxels:
    """The same voxels: shape sinc, which is their default."""
    names = {"proton_density": "PD", "t1": "T1", "t2": "T2", "t2_prime": "T2dash", "b0": "B0", "position": "voxel_pos"}
    maps = {ours: getattr(data, theirs).double() for ours, theirs in names.items()}
    return Voxels(
        **maps, diffusion=data.D.double() * 1e-9, b1=data.B1.to(torch.complex128),
        coils=data.coil_sens.to(torch.complex128), size=(FOV / GRID, FOV / GRID, 0.005), shape="sinc",
    )  # fmt: skip


def their_sequence(line: Timeline, gradients: bool) -> tuple[object, list[Tensor]]:
    """The timeline as MRzero-Core takes it, and the tensors that carry gradients."""
    package, leaves = peer(), []
    sequence = package.Sequence(normalized_grads=False)
    sampled = torch.zeros(len(line.duration), dtype=torch.int32)
    sampled[line.sample_interval] = 1
    phase = torch.zeros(len(line.duration))
    phase[line.sample_interval] = line.sample_phase.float()
    for r, (begin, end) in enumerate(zip(line.interval_start[:-1], line.interval_start[1:], strict=True)):
        repetition = sequence.new_rep(int(end - begin))
        values = [line.flip_angle[r], line.phase[r], line.duration[begin:end], line.moment[begin:end]]
        values = [value.float().clone().contiguous().requires_grad_(gradients) for value in values]
        repetition.pulse.angle, repetition.pulse.phase, repetition.event_time, repetition.gradm = values
        repetition.pulse.usage = package.PulseUsage.EXCIT
        repetition.adc_usage, repetition.adc_phase = sampled[begin:end].clone(), phase[begin:end].clone()
        leaves += values
    return sequence, leaves


def theirs(line: Timeline, data: object, graph: object, threshold: float, gradients: bool = False) -> Tensor:
    sequence, _ = their_sequence(line, gradients)
    with warnings.catch_warnings(), torch.set_grad_enabled(gradients):
        warnings.simplefilter("ignore")
        signal = peer().execute_graph(graph, sequence, data, threshold, threshold, print_progress=False)
    if gradients:
        signal.abs().square().sum().backward()
    return signal.detach()


def ours(line: Timeline, voxels: Voxels, graph: object, names: tuple[str, ...] = ()) -> Tensor:
    line = dataclasses.replace(line, **{name: getattr(line, name).clone().requires_grad_() for name in names})
    signal = simulate_graphs(line, voxels, graph=graph, backend="numba").signal
    if names:
        signal.abs().square().sum().backward()
    return signal.detach()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def beside(label: str, mine: Callable[[], object], their: Callable[[], object], runs: int) -> None:
    """Print the medians of interleaved runs and their ratio."""
    pairs = [(seconds(mine), seconds(their)) for _ in range(runs)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"  {label:26s} ours {a:7.3f} s   MRzero-Core {b:7.3f} s   ratio {b / a:6.1f}")


def compare(name: str, runs: int) -> None:
    make, threshold, backward = CASES[name]
    line, data = make(), their_object()
    voxels = our_voxels(data)
    sequence, _ = their_sequence(line, False)
    whole, graph_seconds = build_graph(line, voxels), seconds(lambda: build_graph(line, voxels))
    began = time.perf_counter()
    their_graph = peer().compute_graph(sequence, data, 2000, 1e-5)
    their_seconds = time.perf_counter() - began
    exact, their = ours(line, voxels, whole), theirs(line, data, their_graph, threshold).flatten()
    their_error = float((exact.flatten() - their).norm() / exact.norm())
    print(f"{name} {GRID}^2, {len(voxels)} voxels, {whole.states} states; threshold of theirs {threshold:g}")
    print(f"  building the graph         ours {graph_seconds:7.3f} s   MRzero-Core {their_seconds:7.3f} s")
    print(f"  signal of all states       ours {seconds(lambda: ours(line, voxels, whole)):7.3f} s")
    for label, tol in (("same threshold", threshold), ("same error", their_error)):
        chosen = simulate_graphs(line, voxels, tol=min(tol, 0.3))
        graph = chosen.graph
        for names in ((), PULSES, EVENTS):
            ours(line, voxels, graph, names)  # compiles
        error = float((ours(line, voxels, graph) - exact).norm() / exact.norm())
        print(f"  {label}: {graph.states} states, error {error:.1e}, of theirs {their_error:.1e}")
        work = lambda: theirs(line, data, their_graph, threshold)  # noqa: E731
        beside("signal", lambda g=graph: ours(line, voxels, g), work, runs if backward else 1)
        if backward:
            both = lambda: theirs(line, data, their_graph, threshold, True)  # noqa: E731
            beside("and gradients: all events", lambda g=graph: ours(line, voxels, g, EVENTS), both, runs)
        for names, what in ((PULSES, "angle, phase"), (EVENTS, "all events"))[: 1 if backward else 2]:
            took = statistics.median(seconds(lambda n=names, g=graph: ours(line, voxels, g, n)) for _ in range(runs))
            print(f"  and gradients: {what:12s} ours {took:7.3f} s" + ("" if backward else "   MRzero-Core > 14 GB"))


def kilobytes(name: str) -> int:
    """Return a size of this process (Linux): VmRSS now, VmHWM the largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def memory(name: str, backward: bool, mine: bool, queue: multiprocessing.Queue) -> None:
    """Put how far a run takes the size of the process [MiB] above what it was before."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    make, threshold, _ = CASES[name]
    line, data = make(), their_object()
    voxels = our_voxels(data)
    graph = (
        build_graph(line, voxels) if mine else peer().compute_graph(their_sequence(line, False)[0], data, 2000, 1e-5)
    )
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest size so far
    before = kilobytes("VmRSS")
    if mine:
        ours(line, voxels, graph, EVENTS if backward else ())
    else:
        theirs(line, data, graph, threshold, backward)
    queue.put((kilobytes("VmHWM") - before) / 1024)


def growth(name: str, backward: bool, mine: bool) -> float:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=memory, args=(name, backward, mine, queue))
    child.start()
    size = queue.get(timeout=600)
    child.join()
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="also measure memory, each in a process of its own")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    for name in chosen.cases:
        compare(name, chosen.runs)
        if chosen.memory:
            backward = CASES[name][2]
            print(f"  memory, with gradients   ours {growth(name, True, True):7.0f} MiB", end="")
            print(f" MRzero-Core {growth(name, backward, False):7.0f} MiB" + ("" if backward else " without"))


if __name__ == "__main__":
    main()
