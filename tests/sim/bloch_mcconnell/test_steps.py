"""Pulses in steps: on their raster, joined, and as Pulseq-CEST samples them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell import compile_seq as compiling
from pulsetwin.sim.bloch_mcconnell.coarse import coarser
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.play import play, simulate
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from pulsetwin.sim.bloch_mcconnell.steps import exact_steps, sampled_steps

SCANNER = Scanner.preset("siemens-prisma")
MODEL = PoolModel(1.3, 0.08, (Pool("amide", 0.01, 60, 3.5, 1, 0.05),), SCANNER.field_strength, max_pulse_samples=300)


def written(path, signal, **settings):
    """Return a sequence of one pulse on the raster of 1 us and one sample."""
    seq = pp.Sequence(SCANNER.opts)
    rf = pp.make_arbitrary_rf(
        signal, flip_angle=1.0, no_signal_scaling=True, use="saturation", delay=100e-6, system=SCANNER.opts, **settings
    )
    seq.add_block(rf, pp.make_delay(round(100e-6 + 1e-6 * len(signal), 5) + 50e-6))
    seq.add_block(pp.make_adc(2, duration=200e-6, delay=20e-6, system=SCANNER.opts), pp.make_delay(1e-3))
    seq.write(str(path / "pulse.seq"))
    return read_seq(path / "pulse.seq")


def sinc(samples):
    x = np.linspace(-2, 2, samples)
    return 300 * np.sinc(x) * np.cos(math.pi * x / 4) ** 2


def swept(samples):
    x = np.linspace(-1, 1, samples)
    return 800 / np.cosh(4 * x) * np.exp(-1j * 15 * np.log(np.cosh(4 * x)))


@pytest.mark.parametrize("wave", [sinc(2500), swept(8000)], ids=["sinc", "swept"])
def test_joined_steps_do_the_same(tmp_path, wave, monkeypatch):
    seq = written(tmp_path, wave)
    shifts = torch.linspace(-2, 2, 9, dtype=torch.float64)
    joined = compile_seq(seq, MODEL)
    monkeypatch.setattr(compiling, "coarser", lambda steps, model: steps)
    exact = compile_seq(seq, MODEL)
    assert len(joined.duration) < 0.5 * len(exact.duration)
    for observe in ("z", "transverse"):
        few, many = (play(program, MODEL, {"b0_shift": shifts}, observe=observe) for program in (joined, exact))
        np.testing.assert_allclose(few.numpy(), many.numpy(), rtol=0, atol=1e-6)


def test_joined_steps_keep_length_and_area(tmp_path):
    steps = exact_steps(written(tmp_path, swept(8000)), 0)
    few = coarser(steps, MODEL)
    assert few.duration.sum() == pytest.approx(steps.duration.sum(), rel=1e-12)
    area, other = (np.sum(part.amplitude * np.exp(1j * part.phase) * part.duration) for part in (steps, few))
    assert other == pytest.approx(area, abs=1e-9)


def test_samples_of_pulseq_cest(tmp_path):
    """Of 1000 samples and 300 allowed, each fourth is held, the last 1000 - 250 * 4 are dropped; phases go back."""
    wave = np.linspace(1, 2, 1003) * 100 * np.exp(1j * np.linspace(0, 2, 1003))
    steps = sampled_steps(written(tmp_path, wave), 0, 300)
    np.testing.assert_allclose(steps.amplitude, np.abs(wave)[:1000:4], rtol=1e-5)
    np.testing.assert_allclose(np.exp(1j * steps.phase), np.exp(-1j * np.angle(wave))[:1000:4], atol=1e-4)
    np.testing.assert_allclose(steps.duration, 4e-6, rtol=1e-9)
    assert steps.length == pytest.approx(1003e-6)


def test_few_runs_are_not_sampled(tmp_path):
    wave = np.repeat([100.0, 50.0, 0.0], [700, 200, 60])
    steps = sampled_steps(written(tmp_path, wave), 0, 300)
    np.testing.assert_allclose(steps.amplitude, [100, 50], rtol=1e-6)
    np.testing.assert_allclose(steps.duration, [700e-6, 200e-6], rtol=1e-9)
    assert steps.length == pytest.approx(900e-6)


def test_phase_of_samples_is_frequency(tmp_path):
    """A pulse whose phase runs is one of another frequency; Pulseq-CEST takes it for the opposite."""
    time, frequency = (np.arange(4000) + 0.5) * 1e-6, 447.0
    running = written(tmp_path, 60 * np.exp(2j * math.pi * frequency * time))
    fine = replace(MODEL, max_pulse_samples=1000)
    z = {mode: simulate(running, fine, mode=mode)[0].item() for mode in compiling.MODES}
    literal = {sign: simulate(written(tmp_path, np.full(4000, 60.0), freq_offset=sign * frequency), MODEL)[0].item()
               for sign in (1, -1)}  # fmt: skip
    assert z["physical"] == pytest.approx(literal[1], abs=1e-6)
    assert z["pulseq_cest"] == pytest.approx(literal[-1], abs=1e-6)
    assert abs(literal[1] - literal[-1]) > 5e-4


def test_frame_of_pulseq_cest_turns_by_whole_degrees(tmp_path):
    """Of 2.7 turns of a pulse, 972 degrees and 0.36, the next pulse sees 252."""
    frequency, duration = 2.701e3, 1e-3
    seq = pp.Sequence(SCANNER.opts)
    for _ in range(2):
        seq.add_block(pp.make_block_pulse(0.5, duration=duration, freq_offset=frequency, delay=100e-6,
                                          use="saturation", system=SCANNER.opts))  # fmt: skip
    seq.add_block(pp.make_adc(2, duration=200e-6, delay=20e-6, system=SCANNER.opts), pp.make_delay(1e-3))
    seq.write(str(tmp_path / "two.seq"))
    turns = {
        mode: compile_seq(read_seq(tmp_path / "two.seq"), MODEL, mode=mode).path_turn[3] for mode in compiling.MODES
    }  # fmt: skip
    assert math.degrees(turns["physical"]) % 360 == pytest.approx(252.36, abs=1e-3)
    assert math.degrees(turns["pulseq_cest"]) % 360 == pytest.approx(252, abs=1e-9)
