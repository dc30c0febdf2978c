"""Isochromats beside sums written out, closed forms and what must not change the signal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pulsetwin.sim.isochromats import _points, simulate_isochromats
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

F64 = torch.float64


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tissue(count: int, *, size: tuple[float, float, float] = (1e-3, 1e-3, 1e-3), shape: str = "box", **given) -> Voxels:
    """A row of voxels along x without relaxation, offset or diffusion, but for what is given."""
    maps = {"proton_density": 1.0, "t1": math.inf, "t2": math.inf, "t2_prime": math.inf, "diffusion": 0.0, "b0": 0.0}
    maps = {name: torch.as_tensor(given.get(name, value), dtype=F64).expand(count) for name, value in maps.items()}
    position = torch.zeros(count, 3, dtype=F64)
    position[:, 0] = (torch.arange(count) - count // 2) * size[0]
    ones = torch.ones(1, count, dtype=torch.complex128)
    return Voxels(
        position=given.get("position", position), **maps, b1=given.get("b1", ones), coils=given.get("coils", ones),
        size=size, shape=shape,
    )  # fmt: skip


def random_voxels(count: int, seed: int, *, channels: int = 1, coils: int = 2) -> Voxels:
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, count))

    def field(n: int) -> Tensor:
        return torch.from_numpy(rng.uniform(0.7, 1.2, (n, count)) * np.exp(1j * rng.uniform(-1, 1, (n, count))))

    return Voxels(
        position=torch.from_numpy(rng.uniform(-0.1, 0.1, (count, 3))), proton_density=between(0.5, 1),
        t1=between(0.3, 2), t2=between(0.03, 0.2), t2_prime=between(0.02, 0.2), diffusion=torch.zeros(count, dtype=F64),
        b0=between(-50, 50), b1=field(channels), coils=field(coils), size=(4e-3, 3e-3, 5e-3),
    )  # fmt: skip


def random_timeline(pulses: int, intervals: int, seed: int) -> Timeline:
    """Repetitions of random angles and phases, with some moments all alike and some unlike any other."""
    rng = np.random.default_rng(seed)
    duration = np.full((pulses, intervals), 1e-4)
    duration[:, 0] = rng.uniform(1e-3, 5e-3, pulses)
    moment = np.tile(np.array([20.0, 0, -3]), (pulses, intervals, 1))
    moment[:, 0] = rng.uniform(-200, 200, (pulses, 3))
    samples = torch.arange(intervals) % 3 == 1
    angles = rng.uniform(0.1, 3, pulses), rng.uniform(-3, 3, pulses), rng.uniform(-3, 3, pulses)
    flip, phase, receiver = (torch.from_numpy(a) for a in angles)
    return Timeline.from_repetitions(
        flip, phase, torch.from_numpy(duration), torch.from_numpy(moment), samples, receiver
    )


def written_out(line: Timeline, voxels: Voxels, spins: int, seed: int, shim: np.ndarray) -> np.ndarray:
    """The sum over spins of the textbook's rotations, one event after another, ``[coil, sample]``."""
    cloud, shift = _points(spins, len(voxels), seed)
    u = (cloud[None] + shift[:, None]) % 1 - 0.5
    place = voxels.position.numpy()[:, None] + u[..., :3] * np.array(voxels.size)
    offset = voxels.b0.numpy()[:, None] + np.tan(np.pi * u[..., 3]) / (2 * np.pi * voxels.t2_prime.numpy()[:, None])
    t1, t2 = voxels.t1.numpy()[:, None], voxels.t2.numpy()[:, None]
    plus, z = np.zeros(offset.shape, complex), np.ones(offset.shape)
    start, found = line.interval_start.tolist(), []
    for r in range(line.pulses):
        b1 = (shim[r][:, None] * voxels.b1.numpy()).sum(0)[:, None]
        a, p = float(line.flip_angle[r]) * abs(b1), float(line.phase[r]) + np.angle(b1)
        plus, z = (
            np.cos(a / 2) ** 2 * plus
            + np.sin(a / 2) ** 2 * np.exp(2j * p) * plus.conj()
            - 1j * np.sin(a) * np.exp(1j * p) * z,
            np.cos(a) * z + np.sin(a) * (np.exp(-1j * p) * plus).imag,
        )
        for i in range(start[r], start[r + 1]):
            t = float(line.duration[i])
            plus = plus * np.exp(-2j * np.pi * (place @ line.moment[i].numpy() + offset * t) - t / t2)
            z = 1 + (z - 1) * np.exp(-t / t1)
            for _ in range(int((line.sample_interval == i).sum())):
                found.append(voxels.coils.numpy() @ (voxels.proton_density.numpy() * plus.mean(1)))
    return np.array(found).T * np.exp(1j * line.sample_phase.numpy())


@pytest.mark.parametrize(("count", "spins"), [(1, 300), (7, 16), (5, 128)])
def test_equals_the_sum_written_out(count, spins):
    line, voxels = random_timeline(12, 9, count), random_voxels(count, 1)
    expected = written_out(line, voxels, spins, 5, np.ones((12, 1)))
    found = simulate_isochromats(line, voxels, spins=spins, seed=5).numpy()
    assert np.linalg.norm(found - expected) < 1e-11 * np.linalg.norm(expected)


def test_parallel_transmission_equals_the_sum_written_out():
    line, voxels = random_timeline(6, 5, 2), random_voxels(4, 3, channels=3)
    rng = np.random.default_rng(0)
    shim = rng.uniform(-1, 1, (6, 3)) + 1j * rng.uniform(-1, 1, (6, 3))
    expected = written_out(line, voxels, 32, 0, shim)
    found = simulate_isochromats(replace(line, shim=torch.from_numpy(shim)), voxels, spins=32).numpy()
    assert np.linalg.norm(found - expected) < 1e-11 * np.linalg.norm(expected)
