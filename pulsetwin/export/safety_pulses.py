"""Constraints of a scanner on the timing of RF pulses, and what several interpreters get wrong about them."""

from __future__ import annotations

import numpy as np

from pulsetwin.export.findings import ERROR, WARNING, Finding, at_blocks
from pulsetwin.export.safety_rasters import TIME, off_raster
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import ADC, RF, SeqFile

LONG_DELAY = 1.0
_FEW_SAMPLES = 4
_ROUNDING = 1e-5


def pulse_findings(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Return what is wrong with the timing of RF pulses."""
    rf, row = seq.rf, seq.events[:, RF]
    has = row != NONE
    if not np.any(has):
        return []
    delay, late = rf.delay[row], rf.delay[row] + rf.duration[row] + scanner.rf_ringdown_time - seq.block_duration
    samples = np.array([shape.num_samples for shape in seq.shapes])[rf.magnitude[row]]
    # several interpreters of Siemens played block pulses of two samples with times of their own with wrong durations
    sparse = has & (rf.time_shape[row] != NONE) & (samples < _FEW_SAMPLES) & (scanner.vendor.lower() == "siemens")
    return [
        *at_blocks(
            seq, has & (delay < scanner.rf_dead_time - TIME), ERROR, "rf-dead-time", "a pulse starts too early",
            1e6 * delay, 1e6 * scanner.rf_dead_time, "us", among=has, at_least=True,
        ),
        *at_blocks(
            seq, has & (late > TIME), ERROR, "rf-ringdown", "a pulse and its ring-down outlast the block by",
            1e6 * late, 0.0, "us", among=has,
        ),
        *at_blocks(
            seq, has & off_raster(delay, scanner.rf_raster), ERROR, "rf-raster",
            "a pulse's delay is off the RF raster", 1e6 * delay, None, "us", among=has,
        ),
        *at_blocks(
            seq, has & (delay >= LONG_DELAY - TIME), WARNING, "rf-delay",
            "a pulse waits long in its block, which writers put as 1e+06 and interpreters read as 1: pause in a block "
            "of its own", delay, LONG_DELAY, "s", among=has,
        ),
        *at_blocks(
            seq, sparse, WARNING, "rf-samples",
            "a pulse of few samples at own times, which several interpreters play with a wrong duration: sample it "
            "densely",
            samples, _FEW_SAMPLES, "samples", among=has & (rf.time_shape[row] != NONE), at_least=True,
        ),
        *_shapes(seq, row, has),
        *_received(seq, row, has),
    ]  # fmt: skip


def _shapes(seq: SeqFile, row: Array, has: Array) -> list[Finding]:
    """Find pulses whose shapes leave the range of the format: interpreters clip them."""
    low, high = (np.array([of(shape.value) for shape in seq.shapes]) for of in (np.min, np.max))
    size, phase = seq.rf.magnitude[row], seq.rf.phase_shape[row]
    beyond = np.where(has, np.maximum(high[size], -low[size]), 0.0)
    turns = np.where(has & (phase != NONE), np.maximum(high[phase], 1 - low[phase]), 0.0)
    return [
        *at_blocks(
            seq, beyond > 1 + _ROUNDING, ERROR, "rf-shape", "a pulse's shape exceeds 1, where interpreters clip it",
            beyond, 1.0, among=has,
        ),
        *at_blocks(
            seq, turns > 1 + _ROUNDING, ERROR, "rf-shape",
            "a pulse's phase shape leaves the turn from 0 to 1, where interpreters clip it", turns, 1.0,
            among=has & (phase != NONE),
        ),
    ]  # fmt: skip


def _received(seq: SeqFile, row: Array, has: Array) -> list[Finding]:
    """Find pulses during which samples are acquired."""
    if not len(seq.adc):
        return []
    adc = seq.events[:, ADC]
    begin, end = seq.rf.delay[row], seq.rf.delay[row] + seq.rf.duration[row]
    common = np.minimum(end, seq.adc.end[adc]) - np.maximum(begin, seq.adc.delay[adc])
    both = has & (adc != NONE)
    message = "a pulse and an acquisition overlap by"
    return at_blocks(seq, both & (common > TIME), ERROR, "rf-adc-overlap", message, 1e6 * common, 0.0, "us", among=both)
