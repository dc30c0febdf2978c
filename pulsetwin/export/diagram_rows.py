"""What a sequence diagram shows, picture or page: curves with their limits, acquisitions, labels and pulses' names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.export.diagram_window import Window
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.labels import evaluate
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sequences.waveforms import blocks_between, waveforms

BINS = 1500
_MOST_NAMED = 12
_MOST_LABELS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A curve of a diagram.

    Parameters
    ----------
    name, unit
        What it is and its unit.
    time, value
        Points joined by straight lines: since the sequence's start [s] and [unit]; NaN where there is no value. Of a
        long range, the least and the largest value of equal times among them (`envelope`).
    limits
        Limits of the scanner [unit], or none.
    """

    name: str
    unit: str
    time: Array
    value: Array
    limits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """All that a diagram shows of a window.

    Parameters
    ----------
    window
        What is shown.
    reduced
        Whether any curve is an envelope.
    rows
        The curves: RF magnitude and phase, gradients along x, y, z.
    adc
        Begin and end of the acquisitions [s], float64 ``[adc, 2]``; of many, those without a gap as one.
    acquisitions
        How many there are.
    labels
        By name, the labels at the acquisitions, as curves without unit.
    pulses
        Where the pulses are few, for each: centre [s], flip angle and frequency offset in words.
    """

    window: Window
    reduced: bool
    rows: tuple[Row, ...]
    adc: Array
    acquisitions: int
    labels: tuple[Row, ...]
    pulses: tuple[tuple[float, str, str], ...]


def content(seq: SeqFile, window: Window, *, scanner: Scanner | None = None, bins: int = BINS) -> Content:
    """Return what a diagram of a window shows.

    Parameters
    ----------
    seq, window
        The sequence, and which part of it.
    scanner
        Its limits belong to the curves and its gamma sets their units; without one, there are no limits, and protons.
    bins
        Curves of more than four times as many points are shown by their extremes in so many equal times.
    """
    waves = waveforms(seq, window.start, window.stop)
    gamma = scanner.gamma if scanner else PROTON
    strength = np.abs(waves.rf)
    phase = np.where(strength > 1e-3 * np.nanmax(strength, initial=0.0), np.angle(waves.rf), np.nan)
    most_b1 = (1e6 * scanner.max_b1,) if scanner else ()
    most_gradient = (-1e3 * scanner.max_gradient, 1e3 * scanner.max_gradient) if scanner else ()
    curves = [
        Row("|B₁|", "µT", waves.rf_time, 1e6 / gamma * np.nan_to_num(strength), most_b1),
        Row("phase", "rad", waves.rf_time, phase),
    ]
    for name, (time, value) in zip("xyz", waves.gradients, strict=True):
        curves.append(Row(f"G{name}", "mT/m", time, 1e3 / gamma * value, most_gradient))
    middle = 0.5 * (waves.adc_start + waves.adc_stop)
    marks = [Row(name, "", middle, values) for name, values in _labels(seq, waves.adc_block)]
    rows, labels = [_reduced(row, window, bins) for row in curves], [_reduced(row, window, BINS) for row in marks]
    reduced = any(few is not row for few, row in zip(rows, curves, strict=True))
    adc = np.column_stack((waves.adc_start, waves.adc_stop))
    if len(adc) > 2 * bins:
        adc = joined(adc, (window.stop - window.start) / bins)
    return Content(window, reduced, tuple(rows), adc, len(middle), tuple(labels), _pulses(seq, window))


def envelope(time: Array, value: Array, start: float, stop: float, bins: int = BINS) -> tuple[Array, Array]:
    """Return the points, or where there are many, the first, least, largest and last of each of `bins` equal times.

    Drawn with as many pixels, these look as all would (Jugel et al., VLDB 2014, https://doi.org/10.14778/2732951.2732953).
    """
    if len(time) <= 4 * bins:
        return time, value
    edges = np.unique(np.searchsorted(time, np.linspace(start, stop, bins + 1)[1:-1]))
    first = np.unique(np.append(0, edges[edges < len(time)]))
    last = np.append(first[1:], len(time)) - 1
    place, size = np.arange(len(time)), last - first + 1
    kept = [first, last]
    for extreme in (np.fmin, np.fmax):
        reached = value == np.repeat(extreme.reduceat(value, first), size)
        found = np.minimum.reduceat(np.where(reached, place, len(time)), first)
        kept.append(found[found < len(time)])
    few = np.unique(np.concatenate(kept))
    return time[few], value[few]


def _reduced(row: Row, window: Window, bins: int) -> Row:
    if len(row.time) <= 4 * bins:
        return row
    return Row(row.name, row.unit, *envelope(row.time, row.value, window.start, window.stop, bins), row.limits)


def joined(spans: Array, least: float) -> Array:
    """Return acquisitions ``[adc, 2]`` with those as one whose gap is shorter than `least` [s]."""
    apart = np.nonzero(spans[1:, 0] - spans[:-1, 1] > least)[0]
    if not len(spans):
        return spans
    return np.column_stack((spans[np.append(0, apart + 1), 0], spans[np.append(apart, len(spans) - 1), 1]))


def _labels(seq: SeqFile, blocks: Array) -> list[tuple[str, Array]]:
    """Return the labels at the acquisitions of `blocks`: those that are used, first those that change most often."""
    values = {name: label[blocks] for name, label in evaluate(seq).items() if np.any(label)}
    order = sorted(values, key=lambda name: -len(np.unique(values[name])))
    return [(name, values[name]) for name in order[:_MOST_LABELS]] if len(blocks) else []


def _pulses(seq: SeqFile, window: Window) -> tuple[tuple[float, str, str], ...]:
    """Name flip angles and frequency offsets of the pulses, where they are few."""
    blocks = blocks_between(seq, window.start, window.stop)
    blocks = blocks[seq.events[blocks, RF] != NONE]
    named = []
    for block in blocks if len(blocks) <= _MOST_NAMED else ():
        row = seq.events[block, RF]
        flip = np.rad2deg(seq.rf.flip[row])
        middle = seq.block_start[block] + seq.rf.delay[row] + 0.5 * seq.rf.duration[row]
        offset = f"{seq.rf.freq[row]:+.0f} Hz" if abs(seq.rf.freq[row]) >= 0.5 else ""
        named.append((float(middle), f"{flip:.0f}°" if flip < 720 else "lock/sat", offset))
    return tuple(named)
