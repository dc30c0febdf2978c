"""Isochromats: time per spin and event, spins needed by accuracy, cost of finite pulses; phase graphs as the truth.

A spoiled gradient echo of n lines on n x n voxels, and sequences from `.seq` files on a brain with eight coils. Seconds
are those of the process's own threads, least of a few runs.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from examples.twin_sequences import flash as played_flash
from examples.twin_sequences import rare as played_rare
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.isochromats import simulate_isochromats, two_seed_error
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantoms import phantom_by_name
from pulsetwin.sim.timeline import PulseShape, Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

F64 = torch.float64
FOV = 0.2
ROUNDS = 2
WALKERS = 8  # spins per voxel that walk
EPI = Path(__file__).parents[1] / "examples/data/pulseq_epi/basic_epi_pe_plus.seq"
SHARE = 150  # voxels of the brain that are timed


def flash(lines: int, flip: float = 10.0) -> Timeline:
    """Gradient echo with RF spoiling by 117 degrees and a spoiler of two cycles a voxel, TR 10.5 ms at 64 lines."""
    events = lines + 3
    duration = torch.full((lines, events), 8e-5, dtype=F64)
    duration[:, 0], duration[:, 1], duration[:, -1] = 5e-4, 1.5e-3, 3e-3
    moment = torch.zeros(lines, events, 3, dtype=F64)
    moment[:, 1, 0], moment[:, 2:-1, 0], moment[:, -1, 0] = -lines / 2 / FOV, 1 / FOV, 2 * lines / FOV
    moment[:, 1, 1] = (torch.arange(lines) - lines // 2) / FOV
    moment[:, -1, 1] = -moment[:, 1, 1]
    samples = torch.zeros(events, dtype=torch.bool)
    samples[2:-1] = True
    number = torch.arange(lines, dtype=F64)
    phase = math.radians(117) * number * (number + 1) / 2
    return Timeline.from_repetitions(
        torch.full((lines,), math.radians(flip), dtype=F64), phase, duration, moment, samples, -phase
    )


def with_shapes(line: Timeline, segments: int = 1000) -> Timeline:
    """The same with 1 ms sinc pulses in whose windows the sequence rests."""
    t = (np.arange(segments) + 0.5) / segments - 0.5
    wave = np.sinc(4 * t) * 1.0
    shape = PulseShape(
        torch.full((segments,), 1e-3 / segments, dtype=F64),
        torch.from_numpy(wave / (2 * math.pi * wave.sum() * 1e-3 / segments) + 0j),
        torch.zeros(segments, 3, dtype=F64), 5e-4, 1.0,
    )  # fmt: skip
    inside = torch.zeros(len(line.duration), dtype=torch.bool)
    starts = line.interval_start
    duration, moment = line.duration.clone(), line.moment.clone()
    inside[starts[:-1]] = True
    # The last half millisecond before the next pulse is cut off the spoiler's interval.
    parts = [torch.arange(a, b) for a, b in pairwise(starts.tolist())]
    order = torch.cat([torch.cat((part, part[-1:])) for part in parts])
    last = torch.cumsum(torch.tensor([len(part) + 1 for part in parts]), 0) - 1
    duration, moment, inside = duration[order], moment[order], inside[order]
    duration[last - 1] -= 5e-4
    duration[last], moment[last] = 5e-4, 0.0
    inside[last] = True
    inside[last[-1]] = False
    grown = torch.arange(len(starts)) + starts
    index = line.sample_interval + torch.searchsorted(starts[1:], line.sample_interval, right=True)
    return replace(
        line, duration=duration, moment=moment, in_pulse=inside, interval_start=grown, sample_interval=index,
        shapes=(shape,), shape=torch.zeros(line.pulses, dtype=torch.int64),
    )  # fmt: skip


def head(n: int, seed: int = 0) -> Voxels:
    """A disc of random tissue."""
    rng = np.random.default_rng(seed)
    axis = (torch.arange(n, dtype=F64) - n // 2) * FOV / n
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = x.hypot(y) < 0.45 * FOV
    count = int(inside.sum())

    def between(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, count))

    return Voxels(
        position=torch.stack((x[inside], y[inside], torch.zeros(count, dtype=F64)), 1), proton_density=between(0.7, 1),
        t1=between(0.6, 2), t2=between(0.05, 0.1), t2_prime=between(0.03, 0.1), diffusion=torch.zeros(count, dtype=F64),
        b0=between(-20, 20), b1=between(0.8, 1.2)[None].to(torch.complex128),
        coils=torch.ones(1, count, dtype=torch.complex128), size=(FOV / n, FOV / n, 5e-3),
    )  # fmt: skip


def seconds(work) -> float:
    work()
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def speed(n: int, spins: int) -> str:
    line, voxels = flash(n), head(n)
    shaped = with_shapes(line)
    times = [
        seconds(lambda: simulate_isochromats(line, voxels, spins=spins)),
        seconds(lambda: simulate_isochromats(shaped, voxels, spins=spins)),
        seconds(lambda: simulate_isochromats(line, replace(voxels, diffusion=voxels.diffusion + 1e-9), spins=WALKERS)),
    ]
    events = len(voxels) * len(line.duration)
    counts = (spins, spins, WALKERS)
    each = "  ".join(f"{t:7.2f} s {t / events / n * 1e9:6.2f} ns" for t, n in zip(times, counts, strict=True))
    return f"FLASH {n:3d}  {len(voxels):5d} voxels {spins:5d} spins  {each}"


def played(name: str, line: Timeline, n: int) -> str:
    """Return times on a share of a brain of n x n voxels, without and with diffusion, and that of the whole brain."""
    whole = with_coils(phantom_by_name("brain", (1, n, n), (0.22, 0.22, 5e-3), 3.0), 8).voxels()
    pick = torch.linspace(0, len(whole) - 1, SHARE).long()
    maps = {m: getattr(whole, m)[pick] for m in ("position", "proton_density", "t1", "t2", "t2_prime", "b0")}
    fields = {m: getattr(whole, m)[:, pick].contiguous() for m in ("b1", "coils")}
    walking = replace(whole, diffusion=whole.diffusion[pick], **maps, **fields)
    still = replace(walking, diffusion=0 * walking.diffusion)
    times = [seconds(lambda v=v: simulate_isochromats(line, v, spins=256)) for v in (still, walking)]
    each = "  ".join(f"{t / (SHARE * 256 * len(line.duration)) * 1e9:6.2f} ns" for t in times)
    return f"{name:8s} {len(line.duration):6d} events  {each}  whole brain {times[1] * len(whole) / SHARE:6.1f} s"


def files() -> None:
    print("\n.seq files, 256 spins a voxel, 8 coils: per spin and event at rest and diffusing")
    print(played("EPI 96", timeline_from_seq(EPI), 96), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("FLASH 64", played_flash), ("RARE 64", played_rare)):
            build(64).write(str(Path(folder) / "one.seq"))
            print(played(name, timeline_from_seq(Path(folder) / "one.seq"), 64), flush=True)


def accuracy(n: int, counts: tuple[int, ...]) -> None:
    line, voxels = flash(n), head(n)
    truth = simulate_graphs(line, voxels, dtype=torch.complex128, max_states=20000).signal
    print(f"\nFLASH {n}: error of the mean of two seeds to the full phase graph, and its own estimate")
    for spins in counts:
        mean, estimate = two_seed_error(line, voxels, spins=spins)
        error = float(torch.linalg.norm(mean - truth) / torch.linalg.norm(truth))
        print(f"{spins:6d} spins  error {error:.1e}  estimate {estimate:.1e}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    sizes = [(32, 256)] if "--quick" in sys.argv else [(32, 256), (48, 512), (64, 256)]
    print(
        "CPU time and per spin and event: instantaneous pulses, pulses of 1000 segments, "
        f"random walks of {WALKERS} spins a voxel"
    )
    for n, spins in sizes:
        print(speed(n, spins), flush=True)
    files()
    accuracy(32, (256, 1024, 4096) if "--quick" in sys.argv else (256, 1024, 4096, 16384))


if __name__ == "__main__":
    main()
