"""Late gradients beside the integral of the shifted waveforms."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.twin_sequences import epi
from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.seqfile import RF, read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sim.test_timeline_random import integrals, random_sequence, times

EPI = Path(__file__).parents[2] / "examples/data/pulseq_epi/basic_epi_pe_plus.seq"
DELAYS = [(3.7e-6, 0.0, -12.1e-6), (-50e-6, 210e-6, 1e-9), (1.5e-3, -2.9e-3, 4e-4)]


def shifted(seq, time, delay):
    """The integral of every axis' waveform up to each time, played later by its delay."""
    return np.stack([integrals(seq, time - late)[:, axis] for axis, late in enumerate(delay)], 1)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("seed", range(4))
def test_moments_are_integrals_of_the_shifted_waveforms(tmp_path, seed, delay):
    seq = random_sequence(tmp_path, seed)
    line = timeline_from_seq(seq, gradient_delay=delay)
    plain = timeline_from_seq(seq)
    time = times(line)
    expected = shifted(seq, time, delay)
    moved = np.concatenate((np.zeros((1, 3)), np.cumsum(line.moment.numpy(), axis=0)))
    np.testing.assert_allclose(moved, expected - expected[0], atol=1e-9 * np.abs(expected).max())
    for name in ("flip_angle", "phase", "sample_phase", "readout_start"):
        assert torch.equal(getattr(line, name), getattr(plain, name))
    ours, theirs = (times(one)[one.sample_interval.numpy() + 1] for one in (line, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_shapes_carry_the_shifted_gradient(tmp_path):
    seq, delay = random_sequence(tmp_path, 3), DELAYS[1]
    line = timeline_from_seq(seq, gradient_delay=delay)
    block = np.nonzero(seq.events[:, RF] >= 0)[0]
    for one, number in zip(block, line.shape.numpy()[line.pulses - len(block) :], strict=True):
        shape = line.shapes[number]
        begin = seq.block_start[one] + seq.rf.delay[seq.events[one, RF]]
        moved = shifted(seq, begin + np.append(0.0, np.cumsum(shape.duration.numpy())), delay)
        found = np.cumsum((shape.gradient * shape.duration[:, None]).numpy(), 0)
        np.testing.assert_allclose(found, moved[1:] - moved[0], atol=1e-8)


def test_samples_of_an_echo_planar_scan_shift_against_the_read_gradient():
    """On the flat top k lags by amplitude times delay, forward in even lines and back in odd ones."""
    late = 4e-6
    seq = read_seq(EPI)
    plain, line = timeline_from_seq(seq), timeline_from_seq(seq, gradient_delay=(late, 0.0, 0.0))
    ours, theirs = (one.moment.cumsum(0)[one.sample_interval] for one in (line, plain))
    samples = torch.arange(96 * 96).reshape(96, 96)[:, 10:-10]
    amplitude = plain.moment[plain.sample_interval[samples], 0] / plain.duration[plain.sample_interval[samples]]
    lag = (theirs - ours)[samples, 0]
    assert amplitude.abs().min() > 1e4
    torch.testing.assert_close(lag, amplitude * late, rtol=1e-6, atol=1e-9)
    assert (lag[::2] * lag[1::2] < 0).all()
    torch.testing.assert_close(ours[:, 1:], theirs[:, 1:])


def test_no_delay_changes_nothing():
    seq = read_seq(EPI)
    line, plain = timeline_from_seq(seq, gradient_delay=(0.0, 0.0, 0.0)), timeline_from_seq(seq)
    assert torch.equal(line.moment, plain.moment)
    assert torch.equal(line.duration, plain.duration)


@pytest.mark.parametrize("delay", [(1e-6, 0.0), (math.nan, 0.0, 0.0), (0.0, math.inf, 0.0)])
def test_delays_that_are_not_three_numbers_are_refused(delay):
    with pytest.raises(ProtocolError, match="gradient_delay"):
        timeline_from_seq(read_seq(EPI), gradient_delay=delay)


@pytest.mark.parametrize("engine", ["graphs", "isochromats"])
def test_a_late_read_gradient_moves_the_phase_of_a_point(tmp_path, engine):
    """A point at x meets k that lags: its samples turn by 2 pi G delay x."""
    path, late, x = tmp_path / "epi.seq", 5e-6, 4e-2
    epi(16).write(str(path))
    ones = torch.zeros(1, 1, 3, dtype=torch.float64)
    ones[0, 0, 2] = 1.0
    tissue = ones * 0 + 1
    field = tissue[None].to(torch.complex128)
    phantom = Phantom(
        proton_density=ones, t1=tissue, t2=tissue, t2_prime=tissue * math.inf, diffusion=0 * tissue, b0=0 * tissue,
        b1=field, coils=field, size=(x, 1e-3, 1e-3), shape="point",
    )  # fmt: skip
    seq, spins = read_seq(path), 1 if engine == "isochromats" else None
    plain, moved = (
        acquire(seq, phantom, engine=engine, spins=spins, gradient_delay=delay).groups[0].samples[:, 0]
        for delay in ((0.0, 0.0, 0.0), (late, 0.0, 0.0))
    )
    line = timeline_from_seq(replace(seq))
    at = line.sample_interval
    amplitude = (line.moment[at, 0] / line.duration[at]).reshape(moved.shape).numpy()
    phase = np.angle(moved / plain)[:, 4:-4]
    np.testing.assert_allclose(phase, 2 * np.pi * (amplitude * late * x)[:, 4:-4], atol=1e-4)
