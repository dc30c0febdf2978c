"""Whether two sequences of pypulseq play the same: the round trip of a file."""

from __future__ import annotations

import numpy as np
import pypulseq as pp

from pulsetwin.scanner import Scanner
from tests.export import siemens_cases as cases


def same_played(asked: pp.Sequence, read: pp.Sequence, scanner: Scanner) -> None:
    """Assert equal blocks: gradients and RF to 1e-6 of their peak, phases to 1e-5 rad, times and labels exactly."""
    assert len(read.block_events) == len(asked.block_events)
    larmor = 1e-6 * scanner.gamma * scanner.field_strength
    for one, other in zip(asked.block_events, read.block_events, strict=True):
        before, after = asked.get_block(one), read.get_block(other)
        assert abs(before.block_duration - after.block_duration) < 1e-10
        for axis in ("gx", "gy", "gz"):
            check_gradient(getattr(before, axis), getattr(after, axis))
        for name in ("rf", "adc"):
            check_offsets(getattr(before, name), getattr(after, name), larmor)
        check_pulse(before.rf, after.rf)
        check_acquisition(before.adc, after.adc)
        assert entries(before, "label") == entries(after, "label")
        assert entries(before, "trigger") == entries(after, "trigger")


def same_angle(one, other, tolerance):
    assert np.all(np.abs(np.exp(1j * np.asarray(one)) - np.exp(1j * np.asarray(other))) < tolerance)


def check_gradient(before, after):
    if before is None or after is None:
        assert before is after
        return
    (time, value), (read_time, read_value) = cases.played_gradient(before), cases.played_gradient(after)
    np.testing.assert_allclose(read_time, time, atol=1e-10)
    np.testing.assert_allclose(read_value, value, rtol=0, atol=1e-6 * np.abs(value).max() + 1e-12)


def check_offsets(before, after, larmor):
    if before is None or after is None:
        assert before is after
        return
    frequency = [e.freq_offset + larmor * e.freq_ppm for e in (before, after)]
    phase = [e.phase_offset + larmor * e.phase_ppm for e in (before, after)]
    assert abs(frequency[0] - frequency[1]) < 1e-6 + 1e-8 * abs(frequency[0])
    assert 0 <= after.phase_offset < 2 * np.pi
    same_angle(*phase, 1e-5)
    assert abs(before.delay - after.delay) < 1e-10


def check_pulse(before, after):
    if before is not None:
        assert abs(before.shape_dur - after.shape_dur) < 1e-10
        wave = cases.played_pulse(before)
        np.testing.assert_allclose(cases.played_pulse(after), wave, rtol=0, atol=1e-6 * np.abs(wave).max())


def check_acquisition(before, after):
    if before is not None:
        assert before.num_samples == after.num_samples
        assert abs(before.dwell - after.dwell) < 1e-13


def entries(block, kind):
    return [vars(entry) for entry in (getattr(block, kind, None) or {}).values()]
