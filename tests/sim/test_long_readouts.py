"""Readouts by NUFFTs: against direct sums in double precision, and against the matrix."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pulsetwin.sim import graph_chunks, graph_long_readout
from pulsetwin.sim.coil_array import with_coils
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.graph_fused import fused_signal
from pulsetwin.sim.graph_readout_encoding import nufft_encodings
from pulsetwin.sim.graph_tables import graph_tables
from pulsetwin.sim.graph_torch import graph_signal
from pulsetwin.sim.grid_encoding import grid_encoding, grid_of
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.time_expansion import expand_in_time
from pulsetwin.sim.timeline import Timeline

FOV = 0.22
VALUES = ("flip_angle", "phase", "duration", "moment")
MAPS = ("position", "proton_density", "t1", "t2", "t2_prime", "b0", "b1", "coils")


def spiral(n: int, turns: float) -> Tensor:
    """k of a spiral out to the edge of k-space for `n` voxels along FOV, ``[sample, 3]`` [1/m]."""
    part = torch.linspace(0, 1, n * n // 2, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * turns * part
    return n / 2 / FOV * part * torch.cat((torch.cos(angle), torch.sin(angle), 0 * part), 1)


def echo_planar(n: int) -> Tensor:
    """k of lines to and fro along x, ``[sample, 3]`` [1/m]."""
    ramp = torch.arange(n, dtype=torch.float64) - n // 2
    x = torch.stack([ramp if line % 2 == 0 else ramp.flip(0) for line in range(n)])
    y = ramp[:, None].expand(n, n)
    return torch.stack((x, y, torch.zeros_like(x)), -1).flatten(0, 1) / FOV


def sequence(k: Tensor, dwell: float, refocused: bool) -> Timeline:
    """One long readout along `k`, after an excitation, or around the spin echo of a second pulse."""
    count, pulses = len(k), 2 if refocused else 1
    middle = count // 2 if refocused else 0
    duration = torch.full((pulses, count + 1), dwell, dtype=torch.float64)
    moment = torch.zeros(pulses, count + 1, 3, dtype=torch.float64)
    moment[-1, :-1] = torch.diff(k, dim=0, prepend=torch.zeros(1, 3, dtype=torch.float64))
    duration[-1, 0] = 3e-3
    if refocused:
        duration[0] = 0
        duration[0, 0] = 3e-3 + middle * dwell
        moment[:, -1, 2], duration[-1, -1] = 300.0, 1e-3
        moment[0, -1, 2] = moment[-1, 0, 2] = 300.0
    samples = torch.ones(count + 1, dtype=torch.bool)
    samples[-1] = False
    flip = torch.tensor([math.pi / 2, 0.9 * math.pi], dtype=torch.float64)[:pulses]
    phase = torch.tensor([0.0, math.pi / 2], dtype=torch.float64)[:pulses]
    whole = Timeline.from_repetitions(flip, phase, duration, moment, samples, torch.zeros_like(phase))
    if not refocused:
        return whole
    return dataclasses.replace(
        whole, sample_interval=whole.sample_interval[count:].clone(), sample_phase=whole.sample_phase[count:].clone(),
        readout_start=torch.tensor([0, count]), readout_shape=whole.readout_shape[1:].clone(),
    )  # fmt: skip


def slice_of_brain(n: int, coils: int) -> Voxels:
    voxels = with_coils(brain((1, n, n), (FOV, FOV, 0.005)), coils).voxels()
    return dataclasses.replace(voxels, b0=3 * voxels.b0)


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def counted(monkeypatch) -> list[int]:
    """Return a list that grows with each coil of a readout that is encoded by NUFFTs."""
    seen: list[int] = []

    def counting(*arguments):
        for encoding in nufft_encodings(*arguments):
            seen.append(len(encoding.place))
            yield encoding

    monkeypatch.setattr(graph_long_readout, "nufft_encodings", counting)
    return seen


def signal_and_gradients(line: Timeline, voxels: Voxels, names: tuple[str, ...], fused: bool) -> dict[str, Tensor]:
    """The signal and the gradients of a real sum over it, by the fused engine or by the batched one in doubles."""
    owned = {name: line if hasattr(line, name) else voxels for name in names}
    leaves = {name: getattr(owner, name).clone().requires_grad_() for name, owner in owned.items()}
    moving = dataclasses.replace(line, **{name: leaf for name, leaf in leaves.items() if owned[name] is line})
    tissue = dataclasses.replace(voxels, **{name: leaf for name, leaf in leaves.items() if owned[name] is voxels})
    graph = build_graph(line, voxels)
    if fused:
        signal = fused_signal(graph, moving, tissue)
    else:
        tables = graph_tables(graph, moving, voxels.size, voxels.shape)
        signal = graph_signal(graph, tables, moving, tissue, torch.complex128)
    if names:
        g = torch.Generator().manual_seed(1)
        (signal * torch.randn(signal.shape, generator=g, dtype=torch.complex64)).real.sum().backward()
    return {"signal": signal.detach()} | {name: leaf.grad for name, leaf in leaves.items()}


CASES = [(path, refocused) for path in ("spiral", "echo-planar") for refocused in (False, True)]


def case(n: int, path: str, refocused: bool) -> tuple[Timeline, Voxels]:
    k = spiral(n, n / 4) if path == "spiral" else echo_planar(n)
    return sequence(k, 1e-5 * (48 / n) ** 2, refocused), slice_of_brain(n, 3)


@pytest.mark.parametrize(("path", "refocused"), CASES)
def test_signal_and_gradients(path, refocused, monkeypatch):
    """On both sides of an echo, of several coils, with B0 and T2'; the batched engine in double precision is right."""
    monkeypatch.setattr(graph_long_readout, "_GAIN", 0.0)
    seen, (line, voxels) = counted(monkeypatch), case(32, path, refocused)
    names = VALUES + MAPS if refocused else tuple(name for name in VALUES + MAPS if name != "t1")  # no T1 in an FID
    wanted = signal_and_gradients(line, voxels, names, False)
    got = signal_and_gradients(line, voxels, names, True)
    passes = 3 * 3  # of three coils
    halves = [line.samples, *[line.samples // 2] * 2] if refocused else [line.samples]  # of an FID and of a spin echo
    assert sorted(seen) == sorted(passes * halves)
    assert relative(got.pop("signal"), wanted["signal"]) < 1e-5
    for name, value in got.items():
        assert relative(value, wanted[name]) < 1e-4, name


@pytest.mark.parametrize("wanted", [("flip_angle",), ("duration",), ("moment",), ("coils",), ("b0",)])
def test_single_gradients(wanted, monkeypatch):
    monkeypatch.setattr(graph_long_readout, "_GAIN", 0.0)
    line, voxels = case(24, "spiral", True)
    right = signal_and_gradients(line, voxels, wanted, False)[wanted[0]]
    assert relative(signal_and_gradients(line, voxels, wanted, True)[wanted[0]], right) < 1e-4


def test_chunks_of_voxels(monkeypatch):
    """Each chunk takes the box around its own voxels."""
    monkeypatch.setattr(graph_long_readout, "_GAIN", 0.0)
    line, voxels = case(24, "spiral", True)
    whole = signal_and_gradients(line, voxels, ("moment", "b0"), True)
    seen = counted(monkeypatch)
    monkeypatch.setattr(graph_chunks, "_MEMORY", 1 << 13)
    monkeypatch.setattr(graph_chunks, "_LEAST", 1)
    for name, value in signal_and_gradients(line, voxels, ("moment", "b0"), True).items():
        assert relative(value, whole[name]) < 3e-5, name
    assert len(seen) > 50


def test_interleaves(monkeypatch):
    """Spirals turned against each other, then longer ones: each its own NUFFT, and states of earlier shots in it."""
    monkeypatch.setattr(graph_long_readout, "_GAIN", 0.0)
    seen, voxels, shots = counted(monkeypatch), slice_of_brain(24, 2), 4
    k = spiral(24, 3)[:150]
    angle = torch.arange(shots, dtype=torch.float64)[:, None]
    x = torch.cos(angle) * k[:, 0] - torch.sin(angle) * k[:, 1]
    y = torch.sin(angle) * k[:, 0] + torch.cos(angle) * k[:, 1]
    moment = torch.zeros(shots, 152, 3, dtype=torch.float64)
    moment[:, 1:-1] = torch.diff(torch.stack((x, y, 0 * x), -1), dim=1, prepend=torch.zeros(shots, 1, 3))
    moment[:, -1, 0], moment[:, 0, 0] = 2e2, 0.0
    duration = torch.full((shots, 152), 2e-5, dtype=torch.float64)
    duration[2:] *= 1.5
    taken = torch.ones(152, dtype=torch.bool)
    taken[[0, -1]] = False
    phase = torch.tensor([0.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    line = Timeline.from_repetitions(
        torch.full((shots,), 0.6, dtype=torch.float64), phase, duration, moment, taken, phase
    )
    names = ("flip_angle", "moment", "duration", "b0", "coils")
    wanted = signal_and_gradients(line, voxels, names, False)
    for name, value in signal_and_gradients(line, voxels, names, True).items():
        assert relative(value, wanted[name]) < 3e-5, name
    assert len(seen) >= 3 * 2 * shots


def test_choice(monkeypatch):
    """Single-shot spirals of a brain take NUFFTs; short readouts, and voxels off a grid, take the matrix."""
    seen, (line, voxels) = counted(monkeypatch), case(64, "spiral", False)
    got = signal_and_gradients(line, voxels, (), True)["signal"]
    assert len(seen) == 3
    g = torch.Generator().manual_seed(0)
    moved = voxels.position + 1e-6 * torch.randn(voxels.position.shape, generator=g, dtype=torch.float64)
    near = signal_and_gradients(line, dataclasses.replace(voxels, position=moved), (), True)["signal"]
    assert len(seen) == 3
    assert relative(got, near) < 1e-3  # it was the other way, of the same signal
    short = sequence(spiral(64, 16)[:100], 1e-5, False)
    signal_and_gradients(short, voxels, (), True)
    assert len(seen) == 3


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("length", [1e-5, 5e-3, 0.05])
def test_expansion(side, length):
    """For all voxels of rates that fill a range, lie apart, or are alone, the sum is the exponential."""
    g = np.random.default_rng(0)
    b0 = np.concatenate((20 * g.standard_normal(5000), -440 + 3 * g.standard_normal(500), [900.0, -700.0, 320.0]))
    t2, t2_prime = (
        0.2 * 10 ** (-2 * g.random(len(b0))),
        np.where(g.random(len(b0)) < 0.1, np.inf, 0.01 + g.random(len(b0))),
    )
    rate = 1 / t2 + side / t2_prime + 2j * np.pi * b0
    time = side * np.linspace(0, length, 300)
    found = expand_in_time(rate, time)
    got = np.exp(-np.outer(rate - 1j * found.centre, found.times)) @ found.course.numpy()
    wanted = np.exp(-np.outer(rate, time))
    assert np.all(np.abs(got - wanted).max(1) < 1e-5 * np.abs(wanted).max(1))
    assert len(found.times) < 20 + 1.2 * length * np.ptp(b0)
    assert expand_in_time(rate, time / length) is None  # a second: too many terms
    assert expand_in_time(np.array([2000.0 + 0j]), -np.linspace(0, 0.05, 20)) is None  # exp(100) times what is left


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 8, 5), (7, 1, 6), (6, 4, 5), (1, 1, 1)])
def test_grid_encoding(shape):
    """A grid off the centre, with holes and two voxels in one cell, against the sum over its voxels; the adjoint."""
    g = np.random.default_rng(0)
    index = np.argwhere(g.random(shape) < 0.8)[:, ::-1]
    index = np.concatenate((index, index[:1]) if len(index) else (index, np.zeros((1, 3), int)))
    position = index * [0.003, 0.002, 0.004] + [0.05, -0.02, 0.011]
    count, k, time = len(position), 400 * (g.random((50, 3)) - 0.5), np.sort(0.03 * g.random(50))
    rate = 5 + 20 * g.random(count) + 2j * np.pi * 80 * g.standard_normal(count)
    encoding = grid_encoding(grid_of(position), k, rate, expand_in_time(rate, time), [])
    x = g.standard_normal((2, count)) + 1j * g.standard_normal((2, count))
    matrix = np.exp(-2j * np.pi * position @ k.T - np.outer(rate, time))
    got = encoding(torch.from_numpy(x).to(torch.complex64))
    assert relative(got, torch.from_numpy(x @ matrix)) < 2e-5
    y = g.standard_normal((3, 50)) + 1j * g.standard_normal((3, 50))
    back = encoding.adjoint(torch.from_numpy(y).to(torch.complex64))
    assert relative(back, torch.from_numpy(y @ matrix.conj().T)) < 2e-5


def test_grids():
    """Voxels that are spread at random, turned, or far apart are on none; edges differ between axes."""
    index = np.argwhere(np.ones((3, 5, 4))).astype(float)[:, ::-1]
    grid = grid_of(index * [1e-3, 2e-3, 5e-3] + 0.1)
    assert np.allclose(grid.step, [1e-3, 2e-3, 5e-3])
    assert grid.lengths.tolist() == [4, 5, 3]
    assert grid_of(np.random.default_rng(0).random((60, 3))) is None
    turned = index @ np.array([[math.cos(0.1), math.sin(0.1), 0], [-math.sin(0.1), math.cos(0.1), 0], [0, 0, 1]])
    assert grid_of(turned) is None
    assert grid_of(np.array([[0.0, 0, 0], [1e-4, 1e-4, 1e-4], [1, 1, 1]])) is None
