"""Long readouts by NUFFTs beside the matrix of all samples and voxels: time, difference, and how good the choice is.

A brain with B0, T2' and coils; single-shot spirals and echo-planar readouts of one ADC event, the lines of an
echo-planar readout as events of their own, and a stack of spirals in 3D. One thread, processor time, both ways
interleaved; gradients are those to moments, durations, B0 and coils. The last lines are the seconds that the choice
assumes (`pulsetwin.sim.graph_long_readout`).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time

import numba
import torch
from torch import Tensor

from pulsetwin.operators.nufft import Nufft
from pulsetwin.sim import graph_long_readout
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.graph import Graph
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.graph_fused import fused_signal
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.timeline import Timeline

FOV = 0.22
MOST = 5e8  # samples of a readout times voxels and coils, up to which gradients are timed
GAINS = {"matrix": math.inf, "NUFFT": 0.0}


def spiral(n: int, undersampling: float = 2.0) -> Tensor:
    """k of a spiral, ``[sample, 3]`` [1/m]."""
    part = torch.linspace(0, 1, int(n * n / undersampling), dtype=torch.float64)[:, None]
    angle = math.pi * n / undersampling * part
    return n / 2 / FOV * part * torch.cat((torch.cos(angle), torch.sin(angle), 0 * part), 1)


def turning(n: int) -> Tensor:
    """k of a path through three dimensions, ``[sample, 3]`` [1/m]."""
    part = torch.linspace(0, 1, 8192, dtype=torch.float64)[:, None]
    angle, height = 2 * math.pi * 150 * part, torch.cos(2 * math.pi * 11 * part)
    across = (1 - height**2).sqrt()
    return n / 2 / FOV * part * torch.cat((across * torch.cos(angle), across * torch.sin(angle), height), 1)


def echo_planar(n: int) -> Tensor:
    """k of lines to and fro, ``[sample, 3]`` [1/m]."""
    ramp = torch.arange(n, dtype=torch.float64) - n // 2
    x = torch.stack([ramp if line % 2 == 0 else ramp.flip(0) for line in range(n)])
    return torch.stack((x, ramp[:, None].expand(n, n), torch.zeros_like(x)), -1).flatten(0, 1) / FOV


def shots(k: Tensor, dwell: float, partitions: int = 1, slab: float = 1.0, lines: int = 1) -> Timeline:
    """Excitations, each followed by one readout along `k`, or one for each of the `lines` it has."""
    count = len(k)
    duration = torch.full((partitions, count + 1), dwell, dtype=torch.float64)
    duration[:, 0], duration[:, -1] = 2e-3, 2e-3
    moment = torch.zeros(partitions, count + 1, 3, dtype=torch.float64)
    moment[:, :-1] = torch.diff(k, dim=0, prepend=torch.zeros(1, 3, dtype=torch.float64))
    moment[:, -1, :2] = -k[-1, :2]
    step = (torch.arange(partitions, dtype=torch.float64) - partitions // 2) / slab
    moment[:, 0, 2], moment[:, -1, 2] = step, -step
    flip = torch.full((partitions,), math.radians(90 if partitions == 1 else 10), dtype=torch.float64)
    taken = torch.ones(count + 1, dtype=torch.bool)
    taken[-1] = False
    whole = Timeline.from_repetitions(flip, torch.zeros_like(flip), duration, moment, taken, torch.zeros_like(flip))
    if lines == 1:
        return whole
    return dataclasses.replace(
        whole, readout_start=torch.arange(lines + 1) * (count // lines), readout_shape=torch.arange(lines) % 2
    )


def subject(n: int, slices: int, coils: int) -> Voxels:
    return with_coils(brain((slices, n, n), (FOV, FOV, 0.005 if slices == 1 else 0.18)), coils).voxels()


def cases(large: bool) -> dict[str, tuple[Timeline, Voxels]]:
    """Sequences and objects; the `large` ones take a minute each by the matrix."""
    found = {}
    for coils in (1, 8):
        for n in (64, 128, 192) if large else (64, 128):
            voxels = subject(n, 1, coils)
            found[f"spiral {n}, {coils} coils"] = shots(spiral(n), 5e-6 * (128 / n) ** 2 * 128 / 64), voxels
            found[f"EPI {n}, {coils} coils"] = shots(echo_planar(n), 4e-6 * (128 / n) ** 1), voxels
            found[f"EPI {n} by lines, {coils} coils"] = shots(echo_planar(n), 4e-6 * 128 / n, lines=n), voxels
    if large:
        voxels = subject(64, 64, 1)
        found["stack of 64 spirals 64, 1 coils"] = shots(spiral(64, 4.0), 4e-6, 64, 0.18), voxels
        found["turning spiral 64 in 3D, 1 coils"] = shots(turning(64), 4e-6), voxels
    return found


def forward(graph: Graph, line: Timeline, voxels: Voxels) -> Tensor:
    with torch.no_grad():
        return fused_signal(graph, line, voxels)


def with_gradients(graph: Graph, line: Timeline, voxels: Voxels) -> Tensor:
    moving = dataclasses.replace(
        line, moment=line.moment.clone().requires_grad_(), duration=line.duration.clone().requires_grad_()
    )
    tissue = dataclasses.replace(
        voxels, b0=voxels.b0.clone().requires_grad_(), coils=voxels.coils.clone().requires_grad_()
    )
    fused_signal(graph, moving, tissue).abs().square().sum().backward()
    assert moving.moment.grad is not None
    assert tissue.b0.grad is not None
    return torch.cat((moving.moment.grad.flatten() / moving.moment.grad.norm(), tissue.b0.grad / tissue.b0.grad.norm()))


def compare(name: str, line: Timeline, voxels: Voxels, repeats: int) -> None:
    """Print times by the matrix and by NUFFTs, their ratio, the difference, and which the estimate takes."""
    graph, usual = build_graph(line, voxels), graph_long_readout._GAIN
    small = line.samples / len(line.readout_shape) * len(voxels) * len(voxels.coils) < MOST
    for what, work in (("signal", forward), ("gradients", with_gradients))[: 1 + small]:
        times: dict[str, list[float]] = {way: [] for way in GAINS}
        found = {}
        for _ in range(repeats):
            for way, gain in GAINS.items():
                graph_long_readout._GAIN = gain
                began = time.process_time()
                found[way] = work(graph, line, voxels)
                times[way].append(time.process_time() - began)
        graph_long_readout._GAIN = usual
        taken = next((way for way in GAINS if torch.equal(found[way], work(graph, line, voxels))), "some of both")
        matrix, nufft = (statistics.median(times[way]) for way in GAINS)
        error = float((found["NUFFT"] - found["matrix"]).norm() / found["matrix"].norm())
        print(
            f"{name:33s} {what:9s} {len(voxels):6d} voxels {line.samples:6d} samples  "
            f"matrix {matrix:7.3f} s  NUFFT {nufft:7.3f} s  ratio {matrix / nufft:6.1f}  difference {error:.1e}  "
            f"takes {taken}",
            flush=True,
        )


def costs() -> None:
    """Print seconds of a NUFFT for each sample and each cell."""
    for axes, n in ((1, 4096), (2, 128), (3, 48)):
        seconds = []
        for samples in (1000, 100_000):
            g = torch.Generator().manual_seed(0)
            k = torch.cumsum(torch.randn(samples, axes, generator=g, dtype=torch.float64), 0)
            nufft, image = Nufft(k, (n,) * axes), torch.ones(n**axes, dtype=torch.complex64).reshape((n,) * axes)
            nufft(image)
            runs = []
            for _ in range(7):
                began = time.process_time()
                nufft(image)
                runs.append(time.process_time() - began)
            seconds.append(statistics.median(runs))
        sample = (seconds[1] - seconds[0]) / 99_000
        print(f"{axes}D: {1e9 * sample:.0f} ns a sample, {1e9 * (seconds[0] - 1000 * sample) / n**axes:.0f} ns a cell")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="matrices of 192 and a stack in 3D, minutes")
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    for name, (line, voxels) in cases(options.large).items():
        if options.only in name:
            compare(name, line, voxels, options.repeats)
    costs()


if __name__ == "__main__":
    main()
