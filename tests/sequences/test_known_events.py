"""Known events: a sequence made with them is the one that pypulseq makes by itself, and events may be changed."""

from __future__ import annotations

import sys

import numpy as np
import pypulseq as pp

from pulsetwin.sequences.known_events import add_block

from .made import SYSTEM


def blocks():
    """Yield blocks with pulses, gradients, acquisitions and labels, some of which are changed from block to block."""
    pulse, select, _ = pp.make_sinc_pulse(
        0.3, slice_thickness=5e-3, delay=1e-4, use="excitation", return_gz=True, system=SYSTEM
    )  # fmt: skip
    wave = pp.make_arbitrary_grad("x", 1e4 * np.sin(np.linspace(0, np.pi, 50)), first=0, last=0, system=SYSTEM)
    read = pp.make_trapezoid("x", flat_area=320, flat_time=3.2e-3, system=SYSTEM)
    adc = pp.make_adc(64, duration=3.2e-3, delay=read.rise_time, system=SYSTEM)
    for number in range(12):
        pulse.phase_offset = adc.phase_offset = 0.5 * (number % 5)
        pulse.freq_offset = 100.0 * (number % 3)
        yield pulse, select
        yield wave, pp.make_trapezoid("y", area=10.0 * (number % 4), duration=2e-3, system=SYSTEM)
        yield read, adc, pp.make_label("LIN", "SET", number // 2), pp.make_label("PAR", "INC", 1)
        yield (pp.make_delay(1e-3 * (1 + number)),)


def test_the_file_is_that_of_pypulseq_alone(tmp_path):
    known, plain = pp.Sequence(SYSTEM), pp.Sequence(SYSTEM)
    for block in blocks():
        add_block(known, *block)
    for block in blocks():
        plain.add_block(*block)
    for name, seq in (("known", known), ("plain", plain)):
        seq.write(str(tmp_path / f"{name}.seq"))
    assert (tmp_path / "known.seq").read_bytes() == (tmp_path / "plain.seq").read_bytes()


def test_a_pulse_is_compressed_once(monkeypatch):
    calls = []
    block = sys.modules["pypulseq.Sequence.block"]
    compress = block.compress_shape
    monkeypatch.setattr(block, "compress_shape", lambda shape: calls.append(1) or compress(shape))
    pulse = pp.make_gauss_pulse(0.3, delay=1e-4, use="excitation", system=SYSTEM)
    seq = pp.Sequence(SYSTEM)
    for number in range(10):
        pulse.phase_offset = 0.1 * number
        add_block(seq, pulse)
    assert len(calls) == 2  # magnitude and phase
    assert len(seq.rf_library.data) == 10


def test_sequences_do_not_share_numbers():
    """The same events are numbered by each sequence for itself."""
    lobes = [pp.make_trapezoid("z", area=area, system=SYSTEM) for area in (10, 20)]
    first, second = pp.Sequence(SYSTEM), pp.Sequence(SYSTEM)
    for one in lobes:
        add_block(first, one)
    for one in reversed(lobes):
        add_block(second, one)
    assert [second.get_block(n).gz.area for n in (1, 2)] == [first.get_block(n).gz.area for n in (2, 1)]


def test_pulses_of_other_samples_are_others():
    """Also where one pulse is made when another is gone, and may lie in its place in memory."""
    seq = pp.Sequence(SYSTEM)
    for angle in np.linspace(0.1, 0.5, 20):
        add_block(seq, pp.make_gauss_pulse(angle, delay=1e-4, use="excitation", system=SYSTEM))
    peaks = [np.abs(seq.get_block(n).rf.signal).max() for n in seq.block_events]
    assert np.allclose(np.diff(peaks), peaks[0] * 0.4 / 19 / 0.1)
