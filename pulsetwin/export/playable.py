"""Is a sequence playable? Rasters, dead times, limits, continuity and labels, checked on what is played."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulsetwin.export.acoustics import acoustic_findings
from pulsetwin.export.findings import ERROR, WARNING, CheckReport, Finding, at_blocks
from pulsetwin.export.limits import amplitude_findings
from pulsetwin.export.nerve_stimulation import nerve_findings
from pulsetwin.export.rf_power import rf_peaks
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.labels import evaluate
from pulsetwin.sequences.seqfile import ADC, EXT, GX, RF, SeqFile, read_seq

_TIME = 0.6e-9
_COUNTERS = ("SLC", "SEG", "REP", "AVG", "SET", "ECO", "PHS", "LIN", "PAR", "ACQ", "TRID")
_FLAGS = ("NAV", "REV", "SMS", "REF", "IMA", "NOISE", "OFF", "PMC", "NOROT", "NOPOS", "NOSCL")
_LARGEST_COUNTER = 65535
_RASTERS = (
    ("GradientRasterTime", "gradient_raster"),
    ("BlockDurationRaster", "block_raster"),
    ("RadiofrequencyRasterTime", "rf_raster"),
    ("AdcRasterTime", "adc_raster"),
)


def check(seq: SeqFile | str | Path, scanner: Scanner) -> CheckReport:
    """Check whether `scanner` can play `seq`.

    Each rule that is broken gives one finding, at its worst block. Nerve stimulation and
    mechanical resonances take the sequence's x, y and z as the axes of the scanner. RF power is told but not judged, as
    no scanner states a limit that holds for every coil and patient.

    Parameters
    ----------
    seq
        A sequence, or the path of a `.seq` file.
    scanner
        The limits.
    """
    seq = seq if isinstance(seq, SeqFile) else read_seq(seq)
    amplitudes, peaks = amplitude_findings(seq, scanner)
    nerves, nerve_peaks = nerve_findings(seq, scanner)
    resonances, resonance_peaks = acoustic_findings(seq, scanner)
    findings = [
        *_file(seq),
        *_declared_rasters(seq, scanner),
        *_blocks(seq, scanner),
        *_rf(seq, scanner),
        *_gradient_times(seq, scanner),
        *_adc(seq, scanner),
        *amplitudes,
        *nerves,
        *resonances,
        *_labels(seq),
    ]
    peaks |= rf_peaks(seq, scanner) | nerve_peaks | resonance_peaks
    findings.sort(key=lambda finding: finding.severity != ERROR)
    return CheckReport(
        f"{scanner.vendor} {scanner.name}",
        tuple(findings),
        peaks | rf_peaks(seq, scanner) | nerve_peaks | resonance_peaks,
    )


def _file(seq: SeqFile) -> list[Finding]:
    notes = [Finding(WARNING, "file", warning) for warning in seq.warnings]
    if seq.signature is None:
        notes.append(Finding(WARNING, "signature", "the file is not signed, so that later edits go unnoticed"))
    return notes


def _off(time: np.ndarray, raster: float) -> np.ndarray:
    """Return whether each time [s] misses the raster [s] by more than rounding of the file's nanoseconds."""
    return np.abs(time - np.round(time / raster) * raster) > _TIME


def _declared_rasters(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    found = []
    for name, attribute in _RASTERS:
        value, needed = seq.rasters[name], getattr(scanner, attribute)
        whole = name in ("GradientRasterTime", "BlockDurationRaster")
        wrong = abs(value - needed) > _TIME if whole else bool(_off(np.array([value]), needed)[0])
        if wrong:
            message = f"the file's {name} is not that of the scanner"
            found.append(Finding(ERROR, "raster", message, value=1e6 * value, limit=1e6 * needed, unit="us"))
    return found


def _blocks(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    off = _off(seq.block_duration, scanner.block_raster)
    found = at_blocks(seq, off, ERROR, "block-raster", "a block's duration is off the raster", 1e6 * seq.block_duration)
    unknown = np.array([bool(names) for names in seq.extensions.unknown] + [False])[seq.events[:, EXT]]
    return found + at_blocks(seq, unknown, WARNING, "extension", "an extension is unknown and may not be played")


def _rf(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    rf, row = seq.rf, seq.events[:, RF]
    if not len(rf):
        return []
    has = row != NONE
    late = rf.delay[row] + rf.duration[row] + scanner.rf_ringdown_time - seq.block_duration
    dead, end, off = rf.delay[row] < scanner.rf_dead_time - _TIME, late > _TIME, _off(rf.delay[row], scanner.rf_raster)
    return [
        *at_blocks(
            seq, has & dead, ERROR, "rf-dead-time", "a pulse starts too early", 1e6 * rf.delay[row],
            1e6 * scanner.rf_dead_time, "us",
        ),
        *at_blocks(
            seq, has & end, ERROR, "rf-ringdown", "a pulse and its ring-down outlast the block by", 1e6 * late, 0.0,
            "us",
        ),
        *at_blocks(seq, has & off, ERROR, "rf-raster", "a pulse's delay is off the RF raster", 1e6 * rf.delay[row]),
    ]  # fmt: skip


def _gradient_times(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    gradients, found = seq.gradients, []
    if not len(gradients):
        return []
    owner = np.repeat(np.arange(len(gradients)), np.diff(gradients.start))
    own_times = np.isin(gradients.kind, ("t", "e"))[owner]
    late = np.bincount(owner, own_times & _off(gradients.time, scanner.gradient_raster)) > 0
    late |= _off(gradients.delay, scanner.gradient_raster)
    for axis, name in enumerate("xyz"):
        row = seq.events[:, GX + axis]
        has, over = row != NONE, gradients.end[row] - seq.block_duration
        message = f"G{name} has a delay or corner off the gradient raster"
        found += at_blocks(seq, has & late[row], ERROR, f"gradient-raster-{name}", message)
        message = f"G{name} outlasts its block by"
        found += at_blocks(seq, has & (over > _TIME), ERROR, f"gradient-end-{name}", message, 1e6 * over, 0.0, "us")
    return found


def _adc(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    adc, row = seq.adc, seq.events[:, ADC]
    if not len(adc):
        return []
    has, count = row != NONE, adc.num_samples[row]
    late = adc.end[row] + scanner.adc_dead_time - seq.block_duration
    early = has & (adc.delay[row] < scanner.adc_dead_time - _TIME)
    divisor, limit = scanner.adc_samples_divisor, scanner.adc_samples_limit
    start, dead = 1e6 * adc.delay[row], 1e6 * scanner.adc_dead_time
    many = has & (limit > 0) & (count > limit)
    no_dwell = has & (adc.dwell[row] <= 0)
    off_dwell = has & _off(adc.dwell[row], scanner.adc_raster) | no_dwell
    off_start = has & _off(adc.delay[row], scanner.rf_raster)
    return [
        *at_blocks(seq, early, ERROR, "adc-dead-time", "an acquisition starts too early", start, dead, "us"),
        *at_blocks(
            seq, has & (late > _TIME), ERROR, "adc-end", "an acquisition and its dead time outlast the block by",
            1e6 * late, 0.0, "us",
        ),
        *at_blocks(seq, off_dwell, ERROR, "adc-raster", "a dwell time is off the ADC raster", 1e6 * adc.dwell[row]),
        *at_blocks(seq, off_start, ERROR, "adc-start", "an acquisition's delay is off the RF raster", start),
        *at_blocks(
            seq, has & (count % divisor != 0), ERROR, "adc-divisor", f"samples are no multiple of {divisor}", count
        ),
        *at_blocks(seq, many, ERROR, "adc-samples", "an acquisition is too long", count, limit, "samples"),
    ]  # fmt: skip


def _labels(seq: SeqFile) -> list[Finding]:
    found = []
    acquires = seq.events[:, ADC] != NONE
    first_adc = int(np.argmax(acquires)) if acquires.any() else len(seq)
    for name, value in evaluate(seq).items():
        if name not in (*_COUNTERS, *_FLAGS, "ONCE"):
            found.append(Finding(WARNING, "label", f"label {name} is unknown"))
            continue
        largest = _LARGEST_COUNTER if name in _COUNTERS else 2 if name == "ONCE" else 1
        bad = (value < 0) | (value > largest)
        found += at_blocks(seq, bad, ERROR, "label-range", f"label {name} is out of range", value, largest)
        set_at = _blocks_with(seq, name, is_set=True)
        if not np.any(set_at[: first_adc + 1]):
            found.append(Finding(WARNING, "label-start", f"label {name} is not set before the first acquisition"))
        counted = _blocks_with(seq, name, is_set=False) & (name not in _COUNTERS)
        found += at_blocks(seq, counted, ERROR, "label-flag", f"flag {name} is incremented: set it instead")
    return found


def _blocks_with(seq: SeqFile, name: str, *, is_set: bool) -> np.ndarray:
    """Return whether each block sets (or increments) the label, bool ``[block]``."""
    lists = [any(entry[:2] == (is_set, name) for entry in entries) for entries in seq.extensions.labels]
    return np.array([*lists, False])[seq.events[:, EXT]]
