"""What the public Bruker interpreter would drop, misread or cannot play of a sequence.

The rules are read from the last public state of its code, which knows the columns of Pulseq 1.4 only, has tables of
fixed size, and does not complain. It was never at hand to play anything; another interpreter may do better. That is why
these are warnings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pulsetwin.export.findings import WARNING, Finding, at_blocks
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import ADC, EXT, GX, GZ, RF, SeqFile

MOST_BLOCKS, MOST_EVENTS, MOST_GRADIENT_SHAPES, LONGEST_NAME = 2048, 256, 32, 63
MOST_SHAPES = 511
"""Its table has 512 rows, but the row after the 511th shape is never filled."""
MOST_SAMPLES = 2_000_000
"""It loses shapes behind one that is run-length coded, so that all samples are written; this is where we stop."""
LEAST_ADC_GAP = 700e-6
DIGITISER_CLOCK = 20e6
INTERPRETER_RASTER = 8e-6
COMMON_RASTER = 40e-6
REPORTED = ("bruker-grid", "bruker-gradient-delay")
"""Findings that are told, but do not forbid to write for this interpreter."""
MENDED = ("bruker-version", "bruker-labels", "bruker-phase", "bruker-rf-time", "bruker-numbers")
"""Findings on a file that writing it for this interpreter mends."""
_TIME = 0.6e-9
_GRADIENTS = slice(GX, GZ + 1)


def bruker_findings(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Return what the public Bruker interpreter drops, misreads or cannot play, as warnings.

    Parameters
    ----------
    seq
        The sequence.
    scanner
        A Bruker scanner; for others there is nothing to say.
    """
    if scanner.vendor.lower() != "bruker":
        return []
    return [*_text(seq), *left_out(seq), *_tables(seq), *_pulses(seq), *_acquisitions(seq), *_gradients(seq)]


def left_out(seq: SeqFile) -> list[Finding]:
    """Return what a text of 1.4.1 without extensions has no place for, and an index table neither."""
    extensions, row = seq.extensions, seq.events[:, EXT]
    kinds = {
        "triggers": (extensions.triggers, "play it without gating or output"),
        "soft delays": (extensions.soft_delays, "fix them with Sequence.apply_soft_delay"),
        "RF shims": (extensions.shims, "apply them to the pulses"),
        "unknown extensions": (extensions.unknown, "leave them out"),
    }
    found = []
    for name, (lists, remedy) in kinds.items():
        used = np.array([len(entries) > 0 for entries in lists] + [False])[row]
        found += _warn(seq, used, "bruker-extension", f"{name} are ignored: {remedy}")
    turned = seq.rotation != NONE
    found += _warn(seq, turned, "bruker-extension", "rotations are ignored: rotate the gradients themselves")
    modulated = np.append(seq.adc.phase_shape != NONE, False)[seq.events[:, ADC]]
    return found + _warn(
        seq, modulated, "bruker-adc-phase", "the phase modulation of an acquisition is ignored: leave it out"
    )


def allowed_dwell(dwell: Array) -> Array:
    """Return whether each dwell time [s] is a decimation 2^a 5^b of the digitiser's 20 MHz, bool ``[...]``."""
    ticks = np.rint(np.asarray(dwell, float) * DIGITISER_CLOCK)
    whole = (ticks >= 1) & (np.abs(ticks / DIGITISER_CLOCK - dwell) < 1e-12)
    for prime in (2, 5):
        for _ in range(40):
            ticks = np.where((ticks >= prime) & (ticks % prime == 0), ticks / prime, ticks)
    return np.asarray(whole & (ticks == 1))


def nearest_dwells(dwell: float) -> tuple[float, float]:
    """Return the longest allowed dwell time up to `dwell`, and the shortest above it [s]."""
    powers = [2**a * 5**b / DIGITISER_CLOCK for a in range(31) for b in range(14)]
    return max((one for one in powers if one <= dwell), default=min(powers)), min(one for one in powers if one > dwell)


def _warn(seq: SeqFile, bad: Array, rule: str, message: str) -> list[Finding]:
    return at_blocks(seq, bad, WARNING, rule, message) if np.any(bad) else []


def _over(seq: SeqFile, bad: Array, rule: str, message: str, size: int, most: int, unit: str) -> list[Finding]:
    """Return a finding with the size of a table, at the first block that is lost."""
    if size <= most:
        return []
    found = _warn(seq, bad, rule, message)
    lost = found[0] if found else Finding(WARNING, rule, message, count=0)
    return [replace(lost, value=float(size), limit=float(most), unit=unit)]


def _text(seq: SeqFile) -> Iterator[Finding]:
    """Find what is due to the version and the text, not to what is played."""
    if not (1, 4, 0) <= seq.version < (1, 5, 0):
        version = ".".join(map(str, seq.version))
        message = f"version {version} is read by the columns of 1.4, wrongly and without a word: export it for Bruker"
        yield Finding(WARNING, "bruker-version", message)
    labelled = np.array([len(entries) > 0 for entries in seq.extensions.labels] + [False])[seq.events[:, EXT]]
    message = "labels are ignored and do not reach the data: sort them by the index table that the export writes"
    yield from _warn(seq, labelled, "bruker-labels", message)
    for column, table, what in ((RF, seq.rf, "the phase of a pulse"), (ADC, seq.adc, "the phase of an acquisition")):
        beyond = np.append((table.phase < 0) | (table.phase >= 2 * np.pi), False)[seq.events[:, column]]
        yield from _warn(seq, beyond, "bruker-phase", f"{what} is outside one turn: wrap it")
    name = str(seq.definitions.get("Name", ""))
    if len(name) > LONGEST_NAME:
        message = "the definition Name is longer than its memory: shorten it"
        yield Finding(WARNING, "bruker-name", message, None, None, len(name), LONGEST_NAME, "letters")


def _tables(seq: SeqFile) -> Iterator[Finding]:
    """Find what exceeds the tables of the interpreter, and events whose numbers are not their places."""
    blocks = np.arange(len(seq)) >= MOST_BLOCKS
    message = f"blocks above {MOST_BLOCKS} are dropped: shorten the sequence, or split it into files"
    yield from _over(seq, blocks, "bruker-blocks", message, len(seq), MOST_BLOCKS, "blocks")
    traps = seq.gradients.kind == "t"
    for columns, ids, what, remedy in (
        (RF, seq.rf.id, "pulses", "repeat phases and offsets"),
        (_GRADIENTS, seq.gradients.id[traps], "trapezoids", "take fewer phase-encoding steps, or split it into files"),
        (ADC, seq.adc.id, "acquisitions", "repeat phases and offsets"),
    ):
        played = seq.events[:, columns].reshape(len(seq), -1)
        lost = np.any((played >= MOST_EVENTS) & (played < len(ids)), axis=1)
        message = f"{what} above {MOST_EVENTS} are dropped: {remedy}"
        yield from _over(seq, lost, "bruker-events", message, len(ids), MOST_EVENTS, what)
        if np.any(ids != np.arange(len(ids)) + 1):
            message = f"{what} are not numbered 1, 2, 3, ... as they stand, and others are played: export it for Bruker"
            yield Finding(WARNING, "bruker-numbers", message)
    nothing = np.zeros(len(seq), bool)
    message = "the last shapes are dropped: use fewer distinct pulses"
    yield from _over(seq, nothing, "bruker-shapes", message, len(seq.shapes), MOST_SHAPES, "shapes")
    samples = sum(shape.num_samples for shape in seq.shapes)
    message = (
        "shapes are too long to be written in full: shorten or repeat pulses, or saturate by ParaVision's own module"
    )
    yield from _over(seq, nothing, "bruker-samples", message, samples, MOST_SAMPLES, "samples")


def _pulses(seq: SeqFile) -> Iterator[Finding]:
    """Find pulses that are played with another shape, or not at all."""
    rf, row = seq.rf, seq.events[:, RF]
    if not len(rf):
        return
    both = (row != NONE) & (seq.events[:, ADC] != NONE)
    yield from _warn(seq, both, "bruker-block", "a block with a pulse does not acquire: put them into two blocks")
    timed = np.append(rf.time_shape != NONE, False)[row]
    message = "the times of a pulse's samples are ignored: sample it on the RF raster"
    yield from _warn(seq, timed, "bruker-rf-time", message)
    _, first = np.unique(rf.magnitude, return_index=True)
    usual = np.full(len(seq.shapes) + 1, NONE)
    usual[rf.magnitude[first]] = rf.phase_shape[first]
    other = np.append(rf.phase_shape != usual[rf.magnitude], False)[row]
    message = "a magnitude shape is kept with the phase shape of its first pulse only: make the magnitudes differ"
    yield from _warn(seq, other, "bruker-rf-shape", message)
    bare = np.append(rf.phase_shape == NONE, False)[row]
    yield from _warn(seq, bare, "bruker-rf-shape", "a pulse without a phase shape is not loaded: export it for Bruker")


def _acquisitions(seq: SeqFile) -> Iterator[Finding]:
    """Find acquisitions of several shapes, dwell times without a digital filter, and gaps that are too short."""
    adc, acquires = seq.adc, np.nonzero(seq.events[:, ADC] != NONE)[0]
    if not len(acquires):
        return
    row = seq.events[:, ADC]
    first = row[acquires[0]]
    same = (adc.num_samples == adc.num_samples[first]) & (np.abs(adc.dwell - adc.dwell[first]) < 1e-12)
    message = "samples or dwell time differ from those of the first acquisition, which all get: make them equal"
    yield from _warn(seq, np.append(~same, False)[row], "bruker-adc-shape", message)
    odd = np.append(~allowed_dwell(adc.dwell), False)[row]
    if odd.any():
        dwell = float(adc.dwell[row[np.argmax(odd)]])
        below, above = (1e6 * one for one in nearest_dwells(dwell))
        message = (
            f"a dwell time of {1e6 * dwell:g} us is no decimation 2^a 5^b of 20 MHz: take {below:g} or {above:g} us, "
            "by bandwidth per pixel = 1 / (samples x dwell)"
        )
        yield from _warn(seq, odd, "bruker-dwell", message)
    start = seq.block_start[acquires] + adc.delay[row[acquires]]
    end = start + adc.num_samples[row[acquires]] * adc.dwell[row[acquires]]
    gap = np.full(len(seq), np.inf)
    gap[acquires[1:]] = start[1:] - end[:-1]
    short = gap < LEAST_ADC_GAP - _TIME
    if short.any():
        (found,) = _warn(
            seq, short, "bruker-adc-gap", "an acquisition starts too soon after the one before: wait longer"
        )
        worst = int(np.argmin(np.round(gap, 9)))
        found = replace(found, block=int(seq.number[worst]), time=float(seq.block_start[worst]))
        yield replace(found, value=1e6 * float(gap[worst]), limit=1e6 * LEAST_ADC_GAP, unit="us")


def _gradients(seq: SeqFile) -> Iterator[Finding]:
    """Find gradients that are no trapezoids, too many of their timings, and what its raster of 8 us changes."""
    gradients, events = seq.gradients, seq.events[:, _GRADIENTS]
    traps = np.append(gradients.kind == "t", True)[events]
    message = "a shaped gradient is not read: use trapezoids"
    yield from _warn(seq, np.any(~traps, axis=1), "bruker-shaped", message)
    count = int(np.sum(gradients.kind == "t"))
    corners = gradients.time[: 4 * count].reshape(count, 4)
    timing = np.rint(1e9 * np.diff(corners, axis=1)).astype(np.int64)
    block, axis = np.nonzero((events != NONE) & traps)
    duration = np.rint(1e9 * seq.block_duration[block]).astype(np.int64)
    keys = np.column_stack((timing[events[block, axis]], duration))
    _, first = np.unique(keys, axis=0, return_index=True)
    late = np.isin(np.arange(len(seq)), block[np.sort(first)[MOST_GRADIENT_SHAPES:]])
    message = "trapezoids differ in rise, flat and fall time or in the length of their block: make timings equal"
    yield from _over(seq, late, "bruker-gradient-shapes", message, len(first), MOST_GRADIENT_SHAPES, "timings")
    delayed = np.any(np.append(corners[:, 0] > _TIME, False)[np.where(traps, events, NONE)], axis=1)
    message = "the delay of a trapezoid is not read: it begins with its block, unless the interpreter was mended"
    yield from _warn(seq, delayed, "bruker-gradient-delay", message)
    off = np.abs(corners - INTERPRETER_RASTER * np.rint(corners / INTERPRETER_RASTER)).max(1, initial=0) > _TIME
    rounded = np.any(np.append(off, False)[np.where(traps, events, NONE)], axis=1)
    message = "corners of trapezoids are rounded to 8 us: whole numbers of 40 us are on both rasters"
    yield from _warn(seq, rounded, "bruker-grid", message)
