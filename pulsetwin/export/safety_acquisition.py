"""Constraints of a scanner on acquisitions: dead times, dwell, number of samples, segments."""

from __future__ import annotations

import numpy as np

from pulsetwin.export.findings import ERROR, Finding, at_blocks
from pulsetwin.export.safety_rasters import TIME, off_raster
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import ADC, SeqFile

MOST_SEGMENTS = 128
_SEGMENT = "MaxAdcSegmentLength"


def acquisition_findings(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Return what is wrong with acquisitions, each event by itself, whatever else the file acquires."""
    adc, row = seq.adc, seq.events[:, ADC]
    has = row != NONE
    if not np.any(has):
        return []
    delay, dwell, count = 1e6 * adc.delay[row], 1e9 * adc.dwell[row], adc.num_samples[row]
    late = 1e6 * (adc.end[row] + scanner.adc_dead_time - seq.block_duration)
    early = has & (adc.delay[row] < scanner.adc_dead_time - TIME)
    off_dwell = has & (off_raster(adc.dwell[row], scanner.adc_raster) | (adc.dwell[row] <= 0))
    off_start = has & off_raster(adc.delay[row], scanner.rf_raster)
    divisor = scanner.adc_samples_divisor
    return [
        *at_blocks(
            seq, early, ERROR, "adc-dead-time", "an acquisition starts too early", delay, 1e6 * scanner.adc_dead_time,
            "us", among=has, at_least=True,
        ),
        *at_blocks(
            seq, has & (late > 1e6 * TIME), ERROR, "adc-end", "an acquisition and its dead time outlast the block by",
            late, 0.0, "us", among=has,
        ),
        *at_blocks(seq, off_dwell, ERROR, "adc-raster", "a dwell time is off the ADC raster", dwell, None, "ns",
                   among=has),
        *at_blocks(seq, off_start, ERROR, "adc-start", "an acquisition's delay is off the RF raster", delay, None, "us",
                   among=has),
        *at_blocks(
            seq, has & (count % divisor != 0), ERROR, "adc-divisor", f"samples are no multiple of {divisor}", count,
            None, "samples", among=has,
        ),
        *_length(seq, scanner, has, count),
    ]  # fmt: skip


def _length(seq: SeqFile, scanner: Scanner, has: Array, count: Array) -> list[Finding]:
    """Judge the samples of one acquisition: a longer one needs segments that the definitions state and that fit."""
    limit = scanner.adc_samples_limit
    if not limit:
        return []
    long = has & (count > limit)
    segment = seq.definitions.get(_SEGMENT)
    if not np.any(long) or segment is None:
        message = f"an acquisition is too long without segments (definition {_SEGMENT})"
        return at_blocks(seq, long, ERROR, "adc-samples", message, count, limit, "samples", among=has)
    if not isinstance(segment, float) or segment < 1 or segment != np.floor(segment) or segment > limit:
        message = f"definition {_SEGMENT} is {segment}, where a whole number of samples up to {limit} belongs"
        return at_blocks(seq, long, ERROR, "adc-segments", message, count, limit, "samples")
    duration = segment * seq.adc.dwell[seq.events[:, ADC]]
    parts, rest = np.divmod(count, int(segment))
    uneven = long & ((rest > 0) | off_raster(duration, scanner.gradient_raster))
    uneven |= long & (segment % scanner.adc_samples_divisor != 0)
    message = (
        f"an acquisition does not fall into segments of {segment:g} samples, whole ones that end on the gradient "
        f"raster and hold a multiple of {scanner.adc_samples_divisor} samples"
    )
    many = long & (parts > MOST_SEGMENTS)
    return [
        *at_blocks(seq, uneven, ERROR, "adc-segments", message, count, None, "samples", among=long),
        *at_blocks(
            seq, many, ERROR, "adc-segments", "an acquisition has too many segments", parts, MOST_SEGMENTS, "segments",
            among=long,
        ),
    ]  # fmt: skip
