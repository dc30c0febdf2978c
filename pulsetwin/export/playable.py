"""Is a sequence playable? Rasters, dead times, limits, continuity and labels, checked on what is played."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulsetwin.export.acoustics import LIMIT as ACOUSTIC_LIMIT
from pulsetwin.export.acoustics import acoustic_findings
from pulsetwin.export.bruker_findings import bruker_findings
from pulsetwin.export.findings import ERROR, PASSED, UNSAFE, WARNING, CheckReport, Finding, at_blocks, split
from pulsetwin.export.interpreters import Verdict, verdicts
from pulsetwin.export.label_map import label_findings
from pulsetwin.export.limits import amplitude_findings
from pulsetwin.export.nerve_stimulation import LIMIT as PNS_LIMIT
from pulsetwin.export.nerve_stimulation import nerve_findings
from pulsetwin.export.rf_power import rf_findings
from pulsetwin.export.safety_acquisition import acquisition_findings
from pulsetwin.export.safety_pulses import pulse_findings
from pulsetwin.export.safety_rasters import TIME, off_raster
from pulsetwin.export.seq_rules import text_faults
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.labels import evaluate
from pulsetwin.sequences.seqfile import ADC, EXT, GX, SeqFile, read_seq

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

    Each rule gives one finding at its worst block, or stands among the rules that are kept. Nerve stimulation and
    mechanical resonances take the sequence's x, y and z as the axes of the scanner. RF power is told but not judged, as
    no scanner states a limit that holds for every coil and patient.

    Parameters
    ----------
    seq
        A sequence, or the path of a `.seq` file, whose text is then checked too.
    scanner
        The limits.
    """
    path = None if isinstance(seq, SeqFile) else seq
    seq = seq if isinstance(seq, SeqFile) else read_seq(seq)
    amplitudes, peaks = amplitude_findings(seq, scanner)
    nerves, nerve_peaks = nerve_findings(seq, scanner)
    resonances, resonance_peaks = acoustic_findings(seq, scanner)
    power, power_peaks = rf_findings(seq, scanner)
    known = verdicts(seq)
    found = [
        *_file(seq),
        *_text(path, scanner),
        *_interpreters(known, seq, scanner),
        *_declared_rasters(seq, scanner),
        *_blocks(seq, scanner),
        *pulse_findings(seq, scanner),
        *_gradient_times(seq, scanner),
        *acquisition_findings(seq, scanner),
        *amplitudes,
        *(nerves or _kept_nerves(nerve_peaks)),
        *resonances,
        *_kept_resonances(resonances, resonance_peaks, scanner),
        *_labels(seq),
        *label_findings(seq),
        *power,
    ]
    broken, kept = split(found)
    return CheckReport(
        f"{scanner.vendor} {scanner.name}", broken, peaks | power_peaks | nerve_peaks | resonance_peaks, kept, known
    )


def _kept_nerves(peaks: dict[str, float]) -> list[Finding]:
    """Return that the nerves are not stimulated, from the peaks in % and where they are."""
    percent = next(value for name, value in peaks.items() if name.endswith("[%]"))
    where = int(peaks["PNS block"]), peaks["PNS time [s]"]
    return [Finding(PASSED, "pns", "", *where, percent, PNS_LIMIT, "%")]


def _kept_resonances(found: list[Finding], peaks: dict[str, float], scanner: Scanner) -> list[Finding]:
    """Return the axes that stay out of the forbidden bands."""
    broken = {finding.rule[-1] for finding in found}
    limit = 1e3 * ACOUSTIC_LIMIT * scanner.max_gradient
    axes = {name.split()[1]: value for name, value in peaks.items()}
    return [
        Finding(PASSED, f"acoustic-{axis}", "", value=value, limit=limit, unit="mT/m")
        for axis, value in axes.items()
        if axis not in broken
    ]


def _file(seq: SeqFile) -> list[Finding]:
    """Pass on what the reader noticed; judge the signature."""
    notes = [Finding(WARNING, "signature" if "signature" in text else "file", text) for text in seq.warnings]
    if seq.signature is None:
        notes.append(Finding(WARNING, "signature", "the file is not signed, so that later edits go unnoticed"))
    elif seq.signature_valid:
        notes.append(Finding(PASSED, "signature", ""))
    unsafe = seq.definitions.get(UNSAFE)
    if unsafe is not None:
        notes.append(Finding(WARNING, "unsafe", f"the file says that it was written although checks failed: {unsafe}"))
    return notes


def _text(path: str | Path | None, scanner: Scanner) -> list[Finding]:
    """Judge the text as the official reader parses it, which Siemens interpreters share."""
    if path is None:
        return []
    faults = [fault for fault in text_faults(path) if fault.section != "[SIGNATURE]"]
    shared = scanner.vendor.lower() == "siemens"
    return [
        Finding(fault.severity if shared else WARNING, "text", f"line {fault.line}, {fault.section}: {fault.problem}")
        for fault in faults
    ] or [Finding(PASSED, "text", "")]


def _interpreters(known: tuple[Verdict, ...], seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Warn where not every known interpreter of the vendor plays the file as meant."""
    mine = [verdict for verdict in known if verdict.vendor == scanner.vendor.lower()]
    if not mine:
        return []
    if special := bruker_findings(seq, scanner):
        return special
    refusing = [f"{verdict.interpreter} {', '.join(verdict.reasons)}" for verdict in mine if not verdict.plays]
    return [Finding(WARNING if refusing else PASSED, "interpreter", "; ".join(refusing))]


def _declared_rasters(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    found = []
    for name, attribute in _RASTERS:
        value, needed = seq.rasters[name], getattr(scanner, attribute)
        whole = name in ("GradientRasterTime", "BlockDurationRaster")
        wrong = abs(value - needed) > TIME if whole else bool(off_raster(np.array([value]), needed)[0])
        if wrong:
            message = f"the file's {name} is not that of the scanner"
            found.append(Finding(ERROR, "raster", message, value=1e6 * value, limit=1e6 * needed, unit="us"))
    return found or [Finding(PASSED, "raster", "")]


def _blocks(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    off = off_raster(seq.block_duration, scanner.block_raster)
    found = at_blocks(seq, off, ERROR, "block-raster", "a block's duration is off the raster", 1e6 * seq.block_duration)
    unknown = np.array([bool(names) for names in seq.extensions.unknown] + [False])[seq.events[:, EXT]]
    return found + at_blocks(seq, unknown, WARNING, "extension", "an extension is unknown and may not be played")


def _gradient_times(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    gradients, found = seq.gradients, []
    if not len(gradients):
        return []
    owner = np.repeat(np.arange(len(gradients)), np.diff(gradients.start))
    own_times = np.isin(gradients.kind, ("t", "e"))[owner]
    late = np.bincount(owner, own_times & off_raster(gradients.time, scanner.gradient_raster)) > 0
    late |= off_raster(gradients.delay, scanner.gradient_raster)
    for axis, name in enumerate("xyz"):
        row = seq.events[:, GX + axis]
        has, over = row != NONE, gradients.end[row] - seq.block_duration
        message = f"G{name} has a delay or corner off the gradient raster"
        found += at_blocks(seq, has & late[row], ERROR, f"gradient-raster-{name}", message, among=has)
        message = f"G{name} outlasts its block by"
        found += at_blocks(
            seq, has & (over > TIME), ERROR, f"gradient-end-{name}", message, 1e6 * over, 0.0, "us", among=has
        )  # fmt: skip
    return found


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
        late = (np.arange(len(seq)) == first_adc) & ~np.any(set_at[: first_adc + 1])
        found += at_blocks(seq, late, WARNING, "label-start", f"label {name} is not set before the first acquisition")
        counted = _blocks_with(seq, name, is_set=False) & (name not in _COUNTERS)
        found += at_blocks(seq, counted, ERROR, "label-flag", f"flag {name} is incremented: set it instead")
    return found


def _blocks_with(seq: SeqFile, name: str, *, is_set: bool) -> np.ndarray:
    """Return whether each block sets (or increments) the label, bool ``[block]``."""
    lists = [any(entry[:2] == (is_set, name) for entry in entries) for entries in seq.extensions.labels]
    return np.array([*lists, False])[seq.events[:, EXT]]
