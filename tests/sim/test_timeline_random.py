"""Timelines of random sequences against waveforms integrated point by point."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.sequences.seqfile import ADC, GX, RF, SeqFile, read_seq
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sequences import made

SHAPES = (
    "shape_id 1\nnum_samples 300\n1\n0\n0\n297\n"
    "shape_id 2\nnum_samples 4\n0\n1\n-0.5\n0\n"
    "shape_id 3\nnum_samples 4\n0\n10\n33\n50\n"
    "shape_id 4\nnum_samples 80\n" + "".join(f"{math.sin(0.3 * n):.9f}\n" for n in range(80))
    + "shape_id 5\nnum_samples 7\n0.2\n0.5\n1\n-0.3\n0.5\n0.1\n0.3\n"
)  # fmt: skip


def random_sequence(folder: Path, seed: int) -> SeqFile:
    """Return 24 blocks of pulses, gradients of every kind, rotations and acquisitions drawn at random."""
    rng = np.random.default_rng(seed)
    traps = [[rng.uniform(-2e4, 2e4), *(rng.integers(0, 30, 4) * 10)] for _ in range(6)]
    trap = "".join(f"{n + 1} {row[0]:.6f} {row[1]} {row[2] + 10} {row[3]} {row[4]}\n" for n, row in enumerate(traps))
    gradients = "".join(
        f"{11 + n} {rng.uniform(-2e4, 2e4):.6f} {first} {last} {shape} {time} {10 * rng.integers(0, 20)}\n"
        for n, (first, last, shape, time) in enumerate([(0, 0, 2, 3), (500, -900, 4, 0), (0, 700, 5, 0), (0, 0, 5, -1)])
    )
    rf = "".join(
        f"{n} {rng.uniform(-500, 500):.3f} 1 0 0 {center} {delay} 0 0 {rng.uniform(-900, 900):.2f} 0.4 {use}\n"
        for n, center, delay, use in ((1, 150, 100, "e"), (2, 150, 0, "r"), (3, 0, 30, "e"), (4, 300, 70, "u"))
    )
    adc = "1 7 50000 100 0 0 0 0 0\n2 64 3700 33 0 0 40 0.1 0\n3 1 100 0 0 0 0 0 0\n4 3 200000 10 0 0 0 0 0\n"
    turns = "".join(f"{n} {' '.join(f'{v:.9f}' for v in rng.normal(size=4))}\n" for n in (1, 2))
    extensions = f"1 1 1 0\n2 1 2 0\n\nextension ROTATIONS 1\n{turns}"
    play = [0, 0, 0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14]
    rows = [
        [n + 1, 130 + int(rng.integers(0, 5)), rng.choice([0, 0, 1, 2, 3, 4]), *rng.choice(play, 3),
         rng.choice([0, 0, 1, 2, 3, 4]), rng.choice([0, 0, 1, 2])]
        for n in range(24)
    ]  # fmt: skip
    rows[3][2] = 1
    path = folder / "random.seq"
    blocks = "".join(" ".join(str(v) for v in row) + "\n" for row in rows)
    text = made.text(
        "1.5.1", blocks, rf=rf, trap=trap, gradients=gradients, adc=adc, extensions=extensions, shapes=SHAPES
    )
    path.write_text(text)
    return read_seq(path)


def integrals(seq: SeqFile, time: np.ndarray) -> np.ndarray:
    """Integrate the lines of every gradient up to each time since the sequence's start, ``[time, 3]``."""
    moment = np.zeros((len(time), 3))
    for block in range(len(seq)):
        local = np.clip(time - seq.block_start[block], 0, seq.block_duration[block])
        own = np.zeros((len(time), 3))
        for axis in range(3):
            event = seq.events[block, GX + axis]
            if event < 0:
                continue
            at, value = seq.gradients.points(event)
            for left, right, low, high in zip(at[:-1], at[1:], value[:-1], value[1:], strict=True):
                if right > left:
                    step = np.clip(local, left, right) - left
                    own[:, axis] += step * (low + 0.5 * (high - low) * step / (right - left))
        turn = seq.rotation[block]
        moment += own if turn < 0 else own @ seq.extensions.rotations[turn].T
    return moment


def times(line: Timeline) -> np.ndarray:
    return line.start_time + np.append(0.0, np.cumsum(line.duration.numpy()))


@pytest.mark.parametrize("seed", range(12))
def test_random_sequences_keep_moments_times_and_windows(tmp_path, seed):
    seq = random_sequence(tmp_path, seed)
    line = timeline_from_seq(seq)
    time = times(line)
    expected = integrals(seq, time)
    moved = np.concatenate((np.zeros((1, 3)), np.cumsum(line.moment.numpy(), axis=0)))
    np.testing.assert_allclose(moved, expected - expected[0], atol=1e-9 * np.abs(expected).max())
    assert math.fsum([line.start_time, *line.duration.tolist()]) == pytest.approx(seq.duration, abs=1e-12)

    block = np.nonzero(seq.events[:, RF] >= 0)[0]
    row = seq.events[block, RF]
    begin = seq.block_start[block] + seq.rf.delay[row]
    centers = time[line.interval_start.numpy()[:-1]]
    extra = line.pulses - len(block)
    np.testing.assert_allclose(centers[extra:], begin + seq.rf.center[row], atol=1e-12)
    middle = 0.5 * (time[1:] + time[:-1])
    inside = np.any((middle[:, None] > begin) & (middle[:, None] < begin + seq.rf.duration[row]), axis=1)
    np.testing.assert_array_equal(line.in_pulse.numpy() & (line.duration.numpy() > 0), inside)

    sampled = [
        seq.block_start[b] + seq.adc.delay[a] + (np.arange(seq.adc.num_samples[a]) + 0.5) * seq.adc.dwell[a]
        for b, a in enumerate(seq.events[:, ADC])
        if a >= 0
    ]
    np.testing.assert_allclose(time[line.sample_interval.numpy() + 1], np.concatenate(sampled), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_sequences_keep_the_diffusion_weighting(tmp_path, seed):
    seq = random_sequence(tmp_path, seed)
    line = timeline_from_seq(seq)
    time = times(line)
    k = np.concatenate((np.zeros((1, 3)), np.cumsum(line.moment.numpy(), axis=0)))
    mine = np.sum(line.duration.numpy()[:, None] * (k[1:] ** 2 + k[1:] * k[:-1] + k[:-1] ** 2) / 3, axis=0)
    fine = np.linspace(time[0], time[-1], 40_001)
    exact = integrals(seq, fine)
    exact -= exact[0]
    # a ramp counts as one straight line of k, which is not quite right
    np.testing.assert_allclose(mine, np.trapezoid(exact**2, fine, axis=0), rtol=1e-2)


@pytest.mark.parametrize("seed", range(4))
def test_shapes_carry_the_gradient_of_their_window(tmp_path, seed):
    seq = random_sequence(tmp_path, seed)
    line = timeline_from_seq(seq)
    block = np.nonzero(seq.events[:, RF] >= 0)[0]
    numbers = line.shape.numpy()[line.pulses - len(block) :]
    for one, number in zip(block, numbers, strict=True):
        shape, row = line.shapes[number], seq.events[one, RF]
        begin = seq.block_start[one] + seq.rf.delay[row]
        edges = begin + np.append(0.0, np.cumsum(shape.duration.numpy()))
        assert edges[-1] - begin == pytest.approx(seq.rf.duration[row], abs=1e-12)
        moved = integrals(seq, edges)
        np.testing.assert_allclose(
            np.cumsum((shape.gradient * shape.duration[:, None]).numpy(), 0), moved[1:] - moved[0], atol=1e-8
        )
