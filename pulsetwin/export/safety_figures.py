"""Figures of the safety report: gradients, nerve stimulation, gradient spectra and RF power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.export.acoustics import LIMIT as BAND_LIMIT
from pulsetwin.export.acoustics import largest_spectrum
from pulsetwin.export.figures import new_figure
from pulsetwin.export.gradient_samples import gradient_chunks
from pulsetwin.export.nerve_stimulation import CAUTION, EXAMPLE_AXES, stimulation
from pulsetwin.export.nerve_stimulation import LIMIT as PNS_LIMIT
from pulsetwin.export.rf_power import WINDOWS, power_course
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.seqfile import SeqFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"x": "#1f618d", "y": "#117864", "z": "#6c3483", "limit": "#c0392b", "caution": "#d68910"}
_BINS = 1200
_AROUND = 0.01
_HIGHEST = 3000.0
_WINDOW_NAMES = ("10 s", "6 min")


def gradient_figure(seq: SeqFile, scanner: Scanner) -> Figure:
    """Draw the range of each gradient axis over the whole sequence, with the limits of the scanner."""
    time, low, high = gradient_envelope(seq, scanner.gradient_raster)
    figure = new_figure(11, 5.2)
    limit, (unit, scale) = 1e3 * scanner.max_gradient, _time_unit(seq.duration)
    for number, (axes, name) in enumerate(zip(figure.subplots(3, 1, sharex=True), "xyz", strict=True)):
        bottom, top = (1e3 * part[number] / scanner.gamma for part in (low, high))
        axes.fill_between(scale * time, bottom, top, color=COLORS[name], linewidth=0.4, step="mid")
        for value in (-limit, limit):
            axes.axhline(value, color=COLORS["limit"], linestyle="--", linewidth=0.9)
        reach = 1.15 * max(limit, -bottom.min(initial=0.0), top.max(initial=0.0))
        axes.set_ylim(-reach, reach)
        axes.set_ylabel(f"G{name} [mT/m]")
        _plain(axes)
    axes.set_xlabel(f"time [{unit}]")
    axes.set_xlim(0, scale * seq.duration)
    return figure


def gradient_envelope(seq: SeqFile, raster: float, bins: int = _BINS) -> tuple[Array, Array, Array]:
    """Return times [s] ``[bin]`` and the least and the largest gradient around them [Hz/m], each ``[3, bin]``.

    Parameters
    ----------
    raster
        Of the gradients [s].
    bins
        About how many equal parts the sequence is cut into.
    """
    width = max(1, int(np.ceil(seq.duration / raster / bins)))
    count = max(1, int(np.ceil(seq.duration / raster / width)))
    low, high = np.full((3, count), np.inf), np.full((3, count), -np.inf)
    last, expected = np.zeros((3, 1)), 0
    for first, gradients in gradient_chunks(seq, raster):
        _widen(low, high, slice(expected // width, -(-first // width)), last, last)
        place = np.minimum((first + np.arange(gradients.shape[1])) // width, count - 1)
        start = np.concatenate(([0], np.nonzero(np.diff(place))[0] + 1))
        lows, highs = (extreme.reduceat(gradients, start, axis=1) for extreme in (np.minimum, np.maximum))
        _widen(low, high, place[start], lows, highs)
        last, expected = gradients[:, -1:], first + gradients.shape[1]
    _widen(low, high, slice(expected // width, count), np.zeros((3, 1)), np.zeros((3, 1)))
    return (np.arange(count) + 0.5) * width * raster, low, high


def _widen(low: Array, high: Array, bins: Array | slice, lows: Array, highs: Array) -> None:
    """Let the ranges of some bins hold further values too, in place."""
    low[:, bins] = np.minimum(low[:, bins], lows)
    high[:, bins] = np.maximum(high[:, bins], highs)


def nerve_figure(seq: SeqFile, scanner: Scanner, peak_time: float) -> Figure:
    """Draw the stimulation of each axis and their norm: the largest over the whole sequence, and around the peak."""
    coefficients = EXAMPLE_AXES if scanner.pns is None else scanner.pns
    raster = scanner.gradient_raster
    width = max(1, int(np.ceil(seq.duration / raster / _BINS)))
    whole = np.zeros((4, int(np.ceil(seq.duration / raster / width)) + 1))
    begin = max(0, int((peak_time - _AROUND) / raster))
    near = np.zeros((4, int(2 * _AROUND / raster)))
    for first, percent in stimulation(seq, coefficients, scanner.gamma, raster):
        course = np.concatenate((percent, np.sqrt(np.einsum("an,an->n", percent, percent))[None]))
        place = np.minimum((first + np.arange(course.shape[1])) // width, whole.shape[1] - 1)
        start = np.concatenate(([0], np.nonzero(np.diff(place))[0] + 1))
        whole[:, place[start]] = np.maximum(whole[:, place[start]], np.maximum.reduceat(course, start, axis=1))
        left, right = max(first, begin), min(first + course.shape[1], begin + near.shape[1])
        if left < right:
            near[:, left - begin : right - begin] = course[:, left - first : right - first]
    figure = new_figure(11, 3.6)
    panels = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.2))
    unit, scale = _time_unit(seq.duration)
    _stimulation(panels[0], scale * (np.arange(whole.shape[1]) + 0.5) * width * raster, whole)
    panels[0].set(xlabel=f"time [{unit}]", ylabel="stimulation [% of limit]", xlim=(0, scale * seq.duration))
    panels[0].set_title("whole sequence, largest of each interval", fontsize=9)
    _stimulation(panels[1], 1e3 * ((begin + np.arange(near.shape[1]) + 0.5) * raster - peak_time), near)
    panels[1].set(xlabel=f"time from the peak at {peak_time:.6g} s [ms]", xlim=(-1e3 * _AROUND, 1e3 * _AROUND))
    panels[1].set_title("around the peak", fontsize=9)
    panels[1].legend(loc="upper right", fontsize=8, ncols=4, frameon=False)
    panels[0].set_ylim(0, 1.25 * max(PNS_LIMIT, whole.max()))
    return figure


def _stimulation(axes: Axes, time: Array, course: Array) -> None:
    axes.fill_between(time, course[3], color="0.82", linewidth=0, label="combined")
    for name, values in zip(("x", "y", "z"), course, strict=False):
        axes.plot(time, values, color=COLORS[name], linewidth=0.9, label=name)
    axes.axhline(PNS_LIMIT, color=COLORS["limit"], linestyle="--", linewidth=0.9)
    axes.axhline(CAUTION, color=COLORS["caution"], linestyle=":", linewidth=0.9)
    _plain(axes)


def spectrum_figure(seq: SeqFile, scanner: Scanner) -> Figure:
    """Draw the largest spectral amplitude of each gradient axis, with the forbidden bands and the limit in them."""
    highest = min(max([_HIGHEST, *(1.3 * high for _, high in scanner.forbidden_bands)]), 0.5 / scanner.gradient_raster)
    frequency, amplitude = largest_spectrum(seq, highest, scanner.gamma, scanner.gradient_raster)
    figure = new_figure(11, 3.4)
    axes = figure.subplots()
    for name, values in zip("xyz", amplitude, strict=True):
        axes.plot(frequency, 1e3 * values, color=COLORS[name], linewidth=0.9, label=f"G{name}")
    limit = 1e3 * BAND_LIMIT * scanner.max_gradient
    for number, (low, high) in enumerate(scanner.forbidden_bands):
        axes.axvspan(low, high, color=COLORS["limit"], alpha=0.13, label=None if number else "forbidden band")
        axes.plot((low, high), (limit, limit), color=COLORS["limit"], linewidth=1.4)
    inside = frequency > 60  # below, slow gradients would hide the rest
    axes.set_ylim(0, 1.1 * max(1e3 * float(amplitude[:, inside].max(initial=0.0)), limit, 1e-3))
    axes.set(xlim=(0, highest), xlabel="frequency [Hz]", ylabel="amplitude [mT/m]")
    axes.legend(loc="upper right", fontsize=8, ncols=4, frameon=False)
    _plain(axes)
    return figure


def power_figure(seq: SeqFile, scanner: Scanner) -> Figure:
    """Draw the root mean square B1 of the last 10 s and of the last 6 min."""
    unit, scale = _time_unit(seq.duration)
    figure = new_figure(11, 2.8)
    axes = figure.subplots()
    for window, name, color, style in zip(WINDOWS, _WINDOW_NAMES, ("#b03a2e", "#1f618d"), ("-", "--"), strict=True):
        time, power = power_course(seq, scanner.gamma, window)
        axes.plot(scale * time, 1e6 * np.sqrt(power), color=color, linestyle=style, linewidth=1.3, label=f"last {name}")
    axes.set(xlabel=f"time [{unit}]", ylabel="rms B1 [uT]", xlim=(0, scale * seq.duration))
    axes.set_ylim(0, max(1.2 * axes.get_ylim()[1], 1e-3))
    axes.legend(loc="upper right", fontsize=8, ncols=2, frameon=False)
    _plain(axes)
    return figure


def _time_unit(duration: float) -> tuple[str, float]:
    return ("s", 1.0) if duration > 2 else ("ms", 1e3)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
