"""Timelines realised as sequences: pulses, times and moments are those asked for, and the scanner plays them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.export.realise import Realised, realise
from pulsetwin.export.realise_readout import _integrals, readout_gradients, window
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

PRISMA = Scanner.preset("siemens-prisma")
FOV = (0.2, 0.2, 5e-3)
SIZE, DWELL, TE, TR = 16, 80e-6, 5e-3, 20e-3


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gre(size: int = SIZE, te: float = TE, tr: float = TR, dwell: float = DWELL, jitter: float = 0.0) -> Timeline:
    """Return a spoiled GRE of hard pulses; with `jitter`, moments between samples differ by that share at random."""
    step = 1 / FOV[0]
    duration = np.full((size, size + 2), dwell)
    duration[:, 0] = te - (size // 2) * dwell - dwell
    duration[:, -1] = tr - duration[:, :-1].sum(1)
    moment = np.zeros((size, size + 2, 3))
    moment[:, 1:-1, 0] = step
    moment[:, 1:-1, :2] += jitter * step * random().standard_normal((size, size, 2))
    moment[:, 0, 0] = -(size // 2 + 1) * step
    moment[:, 0, 1] = (np.arange(size) - size // 2) * step
    moment[:, -1, 0], moment[:, -1, 1] = 300.0, -moment[:, 0, 1]
    order = torch.arange(size, dtype=torch.float64)
    samples = torch.zeros(size + 2, dtype=torch.bool)
    samples[1:-1] = True
    phase = math.radians(117) * order * (order + 1) / 2
    return Timeline.from_repetitions(
        torch.full((size,), math.radians(8), dtype=torch.float64), phase, torch.from_numpy(duration),
        torch.from_numpy(moment), samples, phase,
    )  # fmt: skip


def written(own: Realised, path: Path) -> SeqFile:
    report = write_siemens(own.sequence, path, scanner=PRISMA, version="1.5")
    assert report.playable
    return read_seq(path)


def at_samples(timeline: Timeline) -> tuple[Array, Array]:
    """Return times since the pulse [s] and moments since it [1/m] of all samples."""
    time = np.concatenate(([0.0], timeline.duration.cumsum(0).numpy()))
    k = np.concatenate((np.zeros((1, 3)), timeline.moment.cumsum(0).numpy()))
    taken = timeline.sample_interval.numpy() + 1
    begin = timeline.interval_start.numpy()
    pulse = begin[np.searchsorted(begin, taken, side="left") - 1]
    return time[taken] - time[pulse], k[taken] - k[pulse]


def between_pulses(timeline: Timeline) -> tuple[Array, Array]:
    """Return times [s] and moments [1/m] from pulse to pulse, apart from the last."""
    bounds = timeline.interval_start.numpy()[:-1]
    parts = [np.add.reduceat(value.numpy(), bounds, axis=0)[:-1] for value in (timeline.duration, timeline.moment)]
    return parts[0], parts[1]


def require_same(learnt: Timeline, played: Timeline, ripple: float) -> None:
    torch.testing.assert_close(played.flip_angle, learnt.flip_angle, rtol=ripple, atol=1e-7)
    turn = played.phase - learnt.phase
    np.testing.assert_allclose(np.exp(1j * turn.numpy()), 1, atol=1e-6)
    np.testing.assert_allclose(np.exp(1j * (played.sample_phase - learnt.sample_phase).numpy()), 1, atol=1e-6)
    for now, was in zip(at_samples(played), at_samples(learnt), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-3 if now.ndim == 2 else 0.6e-6)
    for now, was in zip(between_pulses(played), between_pulses(learnt), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-3 if now.ndim == 2 else 1e-6)


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["even", "uneven"])
@pytest.mark.parametrize("pulse", ["sinc", "slr"])
def test_moments_and_times_are_played(tmp_path, pulse, jitter):
    learnt = gre(jitter=jitter)
    own = realise(learnt, PRISMA, fov=FOV, pulse=pulse)
    assert own.longer == {}
    assert math.isclose(own.duration, own.learnt_duration, abs_tol=1e-9)
    require_same(learnt, timeline_from_seq(written(own, tmp_path / "a.seq")), {"sinc": 1e-5, "slr": 0.01}[pulse])


def test_an_even_readout_is_a_trapezoid(tmp_path):
    seq = written(realise(gre(), PRISMA, fov=FOV), tmp_path / "a.seq")
    assert set(seq.gradients.kind.tolist()) == {"t"}


def test_times_grow_where_the_limits_ask_for_it(tmp_path):
    """TE 1.9 ms leaves too little for the lobes: each repetition grows alike, and is told to."""
    learnt = gre(te=1.9e-3, tr=3.5e-3)
    own = realise(learnt, PRISMA, fov=FOV)
    played = timeline_from_seq(written(own, tmp_path / "a.seq"))
    later = own.longer["pulse to readout"]
    assert later > 1e-4
    time, k = at_samples(played)
    wanted = at_samples(learnt)
    np.testing.assert_allclose(time - later, wanted[0], atol=0.6e-6)
    np.testing.assert_allclose(k, wanted[1], atol=1e-3)
    total, moment = between_pulses(played)
    np.testing.assert_allclose(total - sum(own.longer.values()), between_pulses(learnt)[0], atol=1e-6)
    np.testing.assert_allclose(moment, between_pulses(learnt)[1], atol=1e-3)


def test_a_readout_too_fast_is_slowed(tmp_path):
    learnt = gre(dwell=5e-6, jitter=1.0)
    own = realise(learnt, PRISMA, fov=FOV)
    ((name, longer),) = ((name, value) for name, value in own.longer.items() if name.startswith("readout 1"))
    played = timeline_from_seq(written(own, tmp_path / "a.seq"))
    time, k = at_samples(played)
    np.testing.assert_allclose(k, at_samples(learnt)[1], atol=1e-3)
    first, last = time.reshape(SIZE, SIZE)[:, [0, -1]].T
    np.testing.assert_allclose(last - first, 15 * (5e-6 + longer / 16), atol=1e-9)
    middle = at_samples(learnt)[0].reshape(SIZE, SIZE)[:, [0, -1]].mean(1)
    np.testing.assert_allclose((first + last) / 2, middle, atol=5e-6)
    np.testing.assert_allclose(between_pulses(played)[0], TR, atol=1e-9)
    assert "16 samples" in name


def test_smooth_waveform_has_least_slew():
    """No waveform with the same moments, such as that of a spline through k, is steeper less in the mean square."""
    moments = random(1).standard_normal((1, 15, 3))
    own = window(16, 80e-6, 3e-6, moments, PRISMA)
    events, head, tail = readout_gradients(own, moments[0])
    wave = events[1].waveform
    samples = own.first + np.arange(16) * own.dwell
    passed = _integrals(len(wave), 10e-6, np.concatenate((samples, [own.duration]))) @ wave
    np.testing.assert_allclose(np.diff(passed[:-1]), moments[0, :, 1], atol=1e-9)
    np.testing.assert_allclose((passed[0], passed[-1] - passed[-2]), (head[1], tail[1]), atol=1e-9)
    time = np.concatenate(([0.0], samples, [own.duration]))
    k = np.concatenate(([0.0], passed))
    other = CubicSpline(time, k, bc_type="clamped")
    spline = np.mean(other(np.linspace(0, own.duration, 100001), 2) ** 2)
    points = np.pad(wave, 1)
    step = np.full(len(points) - 1, 10e-6)
    step[[0, -1]] /= 2
    mine = np.sum(np.diff(points) ** 2 / step) / own.duration
    assert spline * 0.98 < mine < spline * 1.1


def test_integrals_are_those_of_a_straight_line_between_points():
    times = np.array([0.0, 3e-6, 5e-6, 12e-6, 40e-6, 61e-6, 80e-6])
    wave = random().standard_normal(8)
    place = np.concatenate(([0.0], (np.arange(8) + 0.5) * 10e-6, [80e-6]))
    fine = np.linspace(0, 80e-6, 800001)
    value = np.interp(fine, place, np.pad(wave, 1))
    total = np.concatenate(([0.0], np.cumsum((value[1:] + value[:-1]) / 2 * np.diff(fine))))
    np.testing.assert_allclose(_integrals(8, 10e-6, times) @ wave, np.interp(times, fine, total), atol=1e-12)


def test_negative_and_absent_pulses(tmp_path):
    learnt = gre()
    learnt.flip_angle[1] *= -1
    learnt.flip_angle[2] = 0
    played = timeline_from_seq(written(realise(learnt, PRISMA, fov=FOV), tmp_path / "a.seq"))
    assert played.pulses == learnt.pulses - 1
    np.testing.assert_allclose(np.exp(1j * float(played.phase[1] - learnt.phase[1] - math.pi)), 1, atol=1e-6)


def test_what_cannot_be_is_refused(tmp_path):
    learnt = gre()
    with pytest.raises(ProtocolError, match="choose sinc or slr"):
        realise(learnt, PRISMA, fov=FOV, pulse="gauss")
    with pytest.raises(ProtocolError, match="finite pulses"):
        realise(timeline_from_seq(written(realise(learnt, PRISMA, fov=FOV), tmp_path / "a.seq")), PRISMA, fov=FOV)
    learnt.sample_phase[3] += 1
    with pytest.raises(ProtocolError, match="phase changes within readout 0"):
        realise(learnt, PRISMA, fov=FOV)
    learnt.duration[4] += 1e-6
    with pytest.raises(ProtocolError, match="not evenly spaced"):
        realise(learnt, PRISMA, fov=FOV)
    learnt = gre()
    learnt.flip_angle[0] = 60.0
    with pytest.raises(ProtocolError, match="is the least that works"):
        realise(learnt, PRISMA, fov=FOV)


def test_other_numbers_of_refocusings_than_pulses_are_refused():
    with pytest.raises(ShapeError, match=f"{SIZE - 1} values for {SIZE} pulses"):
        realise(gre(), PRISMA, fov=FOV, refocusing=torch.zeros(SIZE - 1, dtype=torch.bool))
