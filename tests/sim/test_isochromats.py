"""Isochromats beside sums written out, closed forms and what must not change the signal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim import isochromats
from pulsetwin.sim.isochromat_program import compile_timeline
from pulsetwin.sim.isochromats import simulate_isochromats, spin_points, two_seed_error
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Pool, Voxels
from pulsetwin.sim.timeline import PulseShape, Timeline, equal_readouts

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
    cloud, shift = spin_points(spins, len(voxels), seed)
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


def train(flips, durations, moments, sampled=(), *, phases=None) -> Timeline:
    """A timeline of one interval list a pulse; `sampled` names intervals of all."""
    start = np.cumsum([0, *(len(d) for d in durations)])
    duration = torch.tensor([t for d in durations for t in d], dtype=F64)
    moment = torch.tensor([m for rows in moments for m in rows], dtype=F64).reshape(-1, 3)
    at = torch.tensor(list(sampled), dtype=torch.int64)
    pulses = len(flips)
    return Timeline(
        flip_angle=torch.tensor(flips, dtype=F64), phase=torch.tensor(phases or [0.0] * pulses, dtype=F64),
        frequency=torch.zeros(pulses, dtype=F64), shape=torch.full((pulses,), -1), shapes=(), duration=duration,
        moment=moment, in_pulse=torch.zeros(len(duration), dtype=torch.bool), interval_start=torch.from_numpy(start),
        sample_interval=at, sample_phase=torch.zeros(len(at), dtype=F64), readout_start=torch.arange(len(at) + 1),
        readout_shape=equal_readouts(duration, moment, at, torch.arange(len(at) + 1)),
    )  # fmt: skip


def test_free_induction_decays_by_t2_and_t2_prime():
    t = [1e-3] * 40
    line = train([math.pi / 2], [t], [[[0, 0, 0]] * 40], range(40))
    voxels = tissue(1, t2=0.05, t2_prime=0.02, b0=30.0, shape="point")
    found = simulate_isochromats(line, voxels, spins=16384)[0]
    time = torch.arange(1, 41, dtype=F64) * 1e-3
    expected = -1j * torch.exp(-time * (1 / 0.05 + 1 / 0.02) - 2j * math.pi * 30 * time)
    assert (found - expected).abs().max() < 1e-3


def test_t2_prime_is_refocused_and_t1_recovers():
    line = train(
        [math.pi, math.pi / 2, math.pi],
        [[0.2], [0.01], [0.01, 0.005]],
        [[[0, 0, 0]], [[0, 0, 0]], [[0, 0, 0]] * 2],
        [2, 3],
    )
    voxels = tissue(1, t1=0.5, t2=0.05, t2_prime=0.004, shape="point")
    echo, later = simulate_isochromats(line, voxels, spins=8192)[0].abs().tolist()
    ready = abs(1 - 2 * math.exp(-0.2 / 0.5))
    assert echo == pytest.approx(ready * math.exp(-0.02 / 0.05), rel=1e-9)
    assert later == pytest.approx(ready * math.exp(-0.025 / 0.05 - 0.005 / 0.004), rel=0.02)


def test_a_box_dephases_as_its_fourier_transform():
    steps = [[30.0, 0, -50]] * 30
    line = train([0.5], [[1e-3] * 30], [steps], range(30))
    found = simulate_isochromats(line, tissue(1, size=(2e-3, 1e-3, 3e-3)), spins=4096)[0]
    k = np.outer(np.arange(1, 31), steps[0])
    expected = -1j * math.sin(0.5) * np.sinc(k * np.array([2e-3, 1e-3, 3e-3])).prod(1)
    assert np.abs(found.numpy() - expected).max() < 2e-3


@pytest.mark.parametrize("pieces", [1, 4])
def test_diffusion_attenuates_a_spin_echo_as_stejskal_and_tanner_say(pieces):
    lobe, gap, m, d = 0.01, 0.02, 16000.0, 2e-9
    part = [[m / pieces, 0, 0]] * pieces
    wait, rest = [lobe / pieces] * pieces, [[0, 0, 0]]
    line = train(
        [math.pi / 2, math.pi], [[*wait, gap / 2], [gap / 2, *wait]], [part + rest, rest + part], [2 * pieces + 1]
    )
    voxels = tissue(1, diffusion=d, shape="point")
    found = simulate_isochromats(line, voxels, spins=32768)[0, 0]
    b = (2 * math.pi * m) ** 2 * (lobe + gap - lobe / 3)
    assert 0.2 < b * d < 1
    # Standard error of the mean of cos(phase) for normal phases of variance 2 b d.
    error = math.sqrt((1 + math.exp(-4 * b * d)) / 2 - math.exp(-2 * b * d)) / math.sqrt(32768)
    assert abs(found - 1j * math.exp(-b * d)) < 5 * error + 3 * math.exp(-b * d) / math.sqrt(32768)


def test_diffusion_of_an_unbalanced_moment_at_rest():
    """A stimulated echo's longitudinal storage: attenuation by (2 pi k)^2 D T alone when lobes are instants."""
    k, stored, d = 5000.0, 0.3, 1.5e-9
    moments = [[[k, 0, 0]], [[0, 30000.0, 0]], [[k, 0, 0]]]
    line = train([math.pi / 2] * 3, [[0.0], [stored], [0.0]], moments, [2])
    voxels = tissue(1, diffusion=d, size=(5e-3, 1e-3, 1e-3))
    found = simulate_isochromats(line, voxels, spins=32768)[0, 0].abs()
    assert found == pytest.approx(0.5 * math.exp(-((2 * math.pi * k) ** 2) * d * stored), abs=0.012)


def shaped(count: int, duration: float, flip: float) -> PulseShape:
    t = (np.arange(count) + 0.5) / count - 0.5
    wave = np.sinc(2 * t) * np.exp(3j * t**2)
    wave *= flip / (2 * math.pi * abs(wave.sum()) * duration / count)
    gradient = np.outer(np.ones(count), [9e3, -4e3, 2e3]) * np.cos(2 * t)[:, None]
    parts = torch.full((count,), duration / count, dtype=F64), torch.from_numpy(wave), torch.from_numpy(gradient)
    return PulseShape(*parts, 0.4 * duration, flip)


def finite_train(frequency: float = 0.0) -> Timeline:
    """Two shaped pulses of different angles and an instantaneous one between them."""
    shape = shaped(20, 2e-3, 1.0)
    before, after = shape.center, 2e-3 - shape.center
    line = train(
        [1.2, 0.6, 2.0], [[after, 3e-3, 1e-3], [2e-3, before], [after, 1e-3, 1e-3, 1e-3]],
        [[[7, 1, 2], [50.0, 20, -10], [0, 0, 5]], [[-20, 0, 30], [9, 9, 9]],
         [[1, 2, 3], [20, 20, 20], [0, 0, 0], [5, 0, 0]]],
        [1, 6, 8], phases=[0.3, -1.0, 2.0],
    )  # fmt: skip
    inside = torch.tensor([True, False, False, False, True, True, False, False, False])
    offsets = torch.tensor([frequency, 0, -frequency], dtype=F64)
    return replace(line, shape=torch.tensor([0, -1, 0]), shapes=(shape,), in_pulse=inside, frequency=offsets)


def integrated(line: Timeline, voxels: Voxels) -> np.ndarray:
    """The Bloch equations of a spin in each voxel's centre, integrated through `finite_train`, ``[sample]``."""
    shape, total = line.shapes[0], np.zeros(3, complex)
    for v in range(len(voxels)):
        place, b0, b1 = voxels.position[v].numpy(), float(voxels.b0[v]), complex(voxels.b1[0, v])
        t1, t2, m, got = float(voxels.t1[v]), float(voxels.t2[v]), np.array([0, 0, 1.0]), []

        def bloch(t, m, field, gradient, place=place, b0=b0, t1=t1, t2=t2):
            b = field(t)
            turn = np.cross(2 * np.pi * np.array([b.real, b.imag, -b0 - gradient @ place]), m)
            return turn - np.array([m[0] / t2, m[1] / t2, (m[2] - 1) / t1])

        def go(m, began, length, field, gradient, bloch=bloch):
            solved = solve_ivp(bloch, (began, began + length), m, args=(field, gradient), method="DOP853", rtol=1e-9)
            return solved.y[:, -1]

        for r, (first, end) in enumerate(
            zip(line.interval_start[:-1].tolist(), line.interval_start[1:].tolist(), strict=True)
        ):
            scale, p, f = float(line.flip_angle[r]), float(line.phase[r]), float(line.frequency[r])
            if int(line.shape[r]) < 0:
                # An instant of B1, 1e-8 s of a field that turns as far.
                m = go(m, 0.0, 1e-8, lambda t, a=scale * b1, p=p: a / (2 * np.pi * 1e-8) * np.exp(1j * p), np.zeros(3))
            else:
                began = -shape.center
                for length, wave, gradient in zip(
                    shape.duration.tolist(), shape.b1.tolist(), shape.gradient.numpy(), strict=True
                ):

                    def field(t, w=wave * b1 * scale / shape.flip_angle, p=p, f=f):
                        return w * np.exp(1j * p - 2j * np.pi * f * t)

                    m, began = go(m, began, length, field, gradient), began + length
            for i in range(first, end):
                if not line.in_pulse[i]:
                    t = float(line.duration[i])
                    m = go(m, 0.0, t, lambda t: 0j, line.moment[i].numpy() / t)
                if i in line.sample_interval.tolist():
                    got.append(m[0] + 1j * m[1])
        total += complex(voxels.coils[0, v]) * float(voxels.proton_density[v]) * np.array(got)
    return total


@pytest.mark.parametrize("frequency", [0.0, 130.0])
def test_finite_pulses_equal_integrated_bloch_equations(frequency):
    line, voxels = finite_train(frequency), replace(random_voxels(2, 4), shape="point")
    voxels = replace(voxels, t2_prime=torch.full((2,), math.inf, dtype=F64), position=voxels.position / 5)
    found = simulate_isochromats(line, voxels, spins=1)[0].numpy()
    expected = integrated(line, voxels)
    assert np.abs(found - expected).max() < 3e-5 * np.abs(expected).max()


def test_finite_pulses_may_be_played_as_instants():
    line, voxels = finite_train(80.0), random_voxels(3, 6)
    bare = replace(
        line, shape=torch.full((3,), -1), in_pulse=torch.zeros(9, dtype=torch.bool), frequency=0 * line.frequency
    )
    found = simulate_isochromats(line, voxels, spins=64, finite_rf=False)
    assert torch.equal(found, simulate_isochromats(bare, voxels, spins=64))
    assert not torch.allclose(found, simulate_isochromats(line, voxels, spins=64), rtol=1e-2)


def pose(angle: float, shift: list[float]) -> tuple[Tensor, Tensor]:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=F64), torch.tensor(shift, dtype=F64)


def test_an_object_moved_for_good_is_an_object_elsewhere():
    line, voxels = finite_train(60.0), replace(random_voxels(4, 7), shape="point")
    rotation, shift = pose(0.4, [0.01, -0.02, 0.005])
    elsewhere = replace(voxels, position=voxels.position @ rotation.T + shift)
    found = simulate_isochromats(line, voxels, spins=64, motion=lambda t: (rotation, shift))
    expected = simulate_isochromats(line, elsewhere, spins=64)
    assert torch.linalg.norm(found - expected) < 1e-4 * torch.linalg.norm(expected)


def test_flow_through_a_bipolar_gradient():
    m, lobe, speed = 400.0, 2e-3, 0.1
    line = train([math.pi / 2], [[lobe, lobe]], [[[m, 0, 0], [-m, 0, 0]]], [1])
    line = replace(line, start_time=0.3)
    found = simulate_isochromats(line, tissue(3), motion=lambda t: pose(0.0, [speed * t, 0, 0]), spins=8)[0, 0] / 3
    assert abs(found - -1j * np.exp(2j * math.pi * m * speed * lobe)) < 1e-9


def test_agrees_with_phase_graphs_within_its_own_error():
    line, voxels = random_timeline(5, 6, 9), random_voxels(6, 8)
    mean, error = two_seed_error(line, voxels, spins=8192)
    truth = simulate_graphs(line, voxels, dtype=torch.complex128, max_states=100000).signal
    assert 1e-5 < error < 2e-2
    assert torch.linalg.norm(mean - truth) < 2.5 * error * torch.linalg.norm(truth)


def test_portions_of_voxels_change_nothing(monkeypatch):
    line, voxels = random_timeline(4, 6, 3), replace(random_voxels(9, 2), diffusion=torch.full((9,), 1e-9, dtype=F64))
    whole = simulate_isochromats(line, voxels, spins=20)
    monkeypatch.setattr(isochromats, "_RESULT_BYTES", 16 * 16 * 4)
    told = []
    portions = simulate_isochromats(line, voxels, spins=20, progress=lambda *what: told.append(what))
    assert len(told) > 1
    assert told[-1] == (9, 9, "isochromats")
    assert torch.allclose(whole, portions, rtol=1e-12, atol=1e-14)


def test_threads_change_nothing():
    line, voxels = random_timeline(4, 6, 3), random_voxels(30, 2)
    alone = simulate_isochromats(line, voxels, spins=50)
    torch.set_num_threads(3)
    assert torch.allclose(alone, simulate_isochromats(line, voxels, spins=50), rtol=1e-12, atol=1e-14)


def test_seeds_repeat_and_differ():
    line, voxels = random_timeline(4, 6, 3), replace(random_voxels(3, 2), diffusion=torch.full((3,), 1e-9, dtype=F64))
    one, again, other = (simulate_isochromats(line, voxels, spins=32, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, rtol=1e-4)


def test_more_spins_mean_less_error():
    line, voxels = random_timeline(6, 6, 1), random_voxels(4, 1)
    few, many = (two_seed_error(line, voxels, spins=n)[1] for n in (64, 4096))
    assert many < few / 8


def test_what_cannot_be_simulated_is_refused():
    line, voxels = finite_train(), random_voxels(2, 0)
    pool = Pool(torch.ones(2), torch.tensor(50.0), 3.5, torch.tensor(1.0), torch.tensor(0.1))
    with pytest.raises(ProtocolError, match="shape='box'"):
        simulate_isochromats(line, replace(voxels, shape="sinc"))
    with pytest.raises(ProtocolError, match="pools"):
        simulate_isochromats(line, replace(voxels, pools=(pool,)))
    with pytest.raises(ProtocolError, match="T2'"):
        simulate_isochromats(line, voxels, spins=1)
    with pytest.raises(ProtocolError, match="at least 1"):
        simulate_isochromats(line, voxels, spins=0)
    with pytest.raises(ShapeError, match="2 channels"):
        simulate_isochromats(
            replace(line, shim=torch.ones(3, 1, dtype=torch.complex128)), random_voxels(2, 0, channels=2)
        )
    with pytest.raises(ProtocolError, match="within an RF pulse"):
        simulate_isochromats(replace(line, sample_interval=torch.tensor([0, 6, 8])), voxels)
    with pytest.raises(ProtocolError, match="repetition 1"):
        simulate_isochromats(replace(line, in_pulse=line.in_pulse & (torch.arange(9) != 4)), voxels)


def test_work_is_shared_between_equal_pulses_and_intervals():
    pulses, samples = 50, 64
    duration = torch.full((pulses, samples + 2), 1e-5, dtype=F64)
    moment = torch.zeros(pulses, samples + 2, 3, dtype=F64)
    moment[:, 1:-1, 0], moment[:, 0, 1] = 5.0, torch.arange(pulses)
    taken = (torch.arange(samples + 2) > 0) & (torch.arange(samples + 2) <= samples)
    phase = torch.arange(pulses, dtype=F64) ** 2
    line = Timeline.from_repetitions(torch.full((pulses,), 0.2, dtype=F64), phase, duration, moment, taken, phase)
    program = compile_timeline(line, random_voxels(2, 0), finite_rf=True, motion=None)
    assert len(program.step_start) == 2
    assert len(program.intervals) == 3 * pulses
    assert program.intervals[1, 7] == samples - 1  # the first is joined to what precedes it
