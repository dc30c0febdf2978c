"""Constraints of a scanner on the timing of RF pulses, and what several interpreters get wrong about them."""

from __future__ import annotations

import numpy as np

from pulsetwin.export.findings import ERROR, WARNING, Finding, at_blocks
from pulsetwin.export.safety_rasters import TIME, off_raster
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, SeqFile

LONG_DELAY = 1.0
_FEW_SAMPLES = 4


def pulse_findings(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Return what is wrong with the timing of RF pulses."""
    rf, row = seq.rf, seq.events[:, RF]
    has = row != NONE
    if not np.any(has):
        return []
    delay, late = rf.delay[row], rf.delay[row] + rf.duration[row] + scanner.rf_ringdown_time - seq.block_duration
    samples = np.array([shape.num_samples for shape in seq.shapes])[rf.magnitude[row]]
    # several interpreters of Siemens played block pulses of two samples with times of their own too short or too long
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
            "a pulse of few samples at own times, which several interpreters play too short: sample it densely",
            samples, _FEW_SAMPLES, "samples", among=has & (rf.time_shape[row] != NONE), at_least=True,
        ),
    ]  # fmt: skip
