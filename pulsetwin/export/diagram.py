"""Sequence diagrams: RF, gradients, acquisitions and labels over time, and the k-space that is sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.export.describe import describe_seq
from pulsetwin.export.kspace_panel import draw_kspace, write_summary
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.labels import evaluate
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sequences.waveforms import Waveforms, blocks_between, waveforms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 1500
_MOST_NAMED = 12
_MOST_LABELS = 4
_MOST_WRITTEN = 3
_COLORS = {"rf": "#b03a2e", "phase": "#a04000", "x": "#1f618d", "y": "#117864", "z": "#6c3483", "adc": "#34495e"}
_LABEL_COLORS = ("#1f618d", "#b9770e", "#117864", "#6c3483")


def diagram(seq: SeqFile, *, scanner: Scanner | None = None, window: tuple[float, float] | None = None) -> Figure:
    """Draw what a sequence plays.

    Parameters
    ----------
    seq
        The sequence.
    scanner
        Its limits are drawn as dashed lines, and its gamma sets the units; without one, no limits and protons.
    window
        Start and end [s]; by default the first repetition that acquires.

    Raises
    ------
    ProtocolError
        If the window holds nothing.
    """
    from matplotlib.figure import Figure

    played = played_readouts(seq)
    start, stop = window or first_repetition(seq, played)
    if not start < stop or not len(blocks_between(seq, start, stop)):
        raise ProtocolError(f"window {start:g} to {stop:g} s holds no block: the sequence lasts {seq.duration:g} s")
    waves = waveforms(seq, start, stop)
    unit, scale = ("s", 1.0) if stop - start > 2 else ("ms", 1e3)
    labels = _changing_labels(seq, waves)
    figure = Figure(figsize=(14, 7.5), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    heights = [1.2, 0.7, 1, 1, 1, 0.35] + [0.7] * bool(labels)
    axes = left.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    gamma = scanner.gamma if scanner else PROTON
    _draw_rf(axes[0], axes[1], seq, waves, scale, gamma, scanner)
    for axis, name in enumerate("xyz"):
        _draw_gradient(axes[2 + axis], name, waves.gradients[axis], waves, scale, gamma, scanner)
    _draw_adc(axes[5], waves, scale)
    if not labels:
        _write_labels(axes[5], seq, waves, scale)
    if labels:
        _draw_labels(axes[6], waves, labels, scale)
    _dress(axes, waves, scale, unit)
    above, below = right.subfigures(2, 1, height_ratios=(2.2, 1))
    draw_kspace(above, played)
    write_summary(below, describe_seq(seq))
    figure.suptitle(_title(seq, waves, unit, scale), x=0.01, ha="left", fontsize=11)
    return figure


def first_repetition(seq: SeqFile, played: PlayedReadouts) -> tuple[float, float]:
    """Return start and end [s] of the first repetition that acquires images: preparation, excitation, readouts.

    It begins after the readouts before it, or one repetition time before its end where dummy scans come first; it ends
    with the readouts and what follows at once.
    """
    picked = np.nonzero(played.flags["imaging"])[0]
    if not len(picked):
        return 0.0, seq.duration
    excitation = played.excitation_time[picked]
    changes = np.nonzero(excitation != excitation[0])[0]
    known = np.isfinite(excitation[0])
    last = played.block[picked[changes[0] - 1 if len(changes) and known else len(picked) - 1 if known else 0]]
    before = played.block[played.block < played.block[picked[0]]]
    begin = int(before.max()) + 1 if len(before) else 0
    stop = _end_of_action(seq, int(last), begin)
    if len(changes) and known:
        repetition = excitation[changes[0]] - excitation[0]
        if seq.block_start[stop] - seq.block_start[begin] > 1.5 * repetition:
            begin = int(np.searchsorted(seq.block_start, seq.block_start[stop] - repetition))
    begin += int(np.argmax((seq.events[begin:] != NONE).any(1)))
    return float(seq.block_start[begin]), float(seq.block_start[stop] + seq.block_duration[stop])


def _end_of_action(seq: SeqFile, last: int, begin: int) -> int:
    """Return the last block that belongs to a repetition: up to the next pulse or the next long pause."""
    elapsed = seq.block_start[last] + seq.block_duration[last] - seq.block_start[begin]
    for block in range(last + 1, len(seq)):
        idle = np.all(seq.events[block] == NONE)
        if seq.events[block, RF] != NONE or (idle and seq.block_duration[block] > 0.2 * elapsed):
            return block - 1
    return len(seq) - 1


def envelope(time: np.ndarray, value: np.ndarray, start: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the points, or where there are many, the least and the largest of each of `BINS` equal times."""
    if len(time) <= 4 * BINS:
        return time, value
    edges = np.searchsorted(time, np.linspace(start, stop, BINS + 1)[:-1])
    edges = np.unique(np.minimum(edges, len(time) - 1))
    low, high = np.minimum.reduceat(value, edges), np.maximum.reduceat(value, edges)
    return np.repeat(time[edges], 2), np.stack((low, high), 1).reshape(-1)


def _draw_rf(
    top: Axes, bottom: Axes, seq: SeqFile, waves: Waveforms, scale: float, gamma: float, scanner: Scanner | None
) -> None:
    field = 1e6 * np.abs(waves.rf) / gamma
    time = scale * waves.rf_time
    many = len(time) > 40 * BINS
    step = slice(None, None, max(1, len(time) // (40 * BINS))) if many else slice(None)
    top.fill_between(time[step], field[step], color=_COLORS["rf"], alpha=0.25, linewidth=0)
    top.plot(time[step], field[step], color=_COLORS["rf"], linewidth=1)
    phase = np.where(np.abs(waves.rf) > 1e-3 * np.nanmax(np.abs(waves.rf), initial=0), np.angle(waves.rf), np.nan)
    bottom.plot(time[step], phase[step], color=_COLORS["phase"], linewidth=0.8)
    bottom.set_ylim(-3.8, 5.8)
    bottom.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    peak = float(np.nanmax(field, initial=0)) or 1.0
    top.set_ylim(0, 1.3 * peak)
    if scanner:
        _limits(top, (1e6 * scanner.max_b1,))
    top.set_ylabel("|B₁|\nµT")
    bottom.set_ylabel("phase\nrad")
    _name_pulses(top, bottom, seq, waves, scale)


def _name_pulses(top: Axes, bottom: Axes, seq: SeqFile, waves: Waveforms, scale: float) -> None:
    """Write flip angles over the pulses and frequency offsets over their phases, where there are few."""
    blocks = blocks_between(seq, waves.start, waves.stop)
    blocks = blocks[seq.events[blocks, RF] != NONE]
    if len(blocks) > _MOST_NAMED:
        return
    for block in blocks:
        row = seq.events[block, RF]
        flip = np.rad2deg(seq.rf.flip[row])
        when = scale * (seq.block_start[block] + seq.rf.delay[row] + 0.5 * seq.rf.duration[row])
        text = f"{flip:.0f}°" if flip < 720 else "lock/sat"
        offset = f"{seq.rf.freq[row]:+.0f} Hz" if abs(seq.rf.freq[row]) >= 0.5 else ""
        for axes, words in ((top, text), (bottom, offset)):
            axes.annotate(
                words, (when, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8, color="0.25"
            )


def _draw_gradient(
    axes: Axes, name: str, wave: tuple[np.ndarray, np.ndarray], waves: Waveforms, scale: float, gamma: float,
    scanner: Scanner | None,
) -> None:  # fmt: skip
    time, value = envelope(*wave, waves.start, waves.stop)
    value = 1e3 * value / gamma
    axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    axes.fill_between(scale * time, value, color=_COLORS[name], alpha=0.2, linewidth=0)
    axes.plot(scale * time, value, color=_COLORS[name], linewidth=1)
    peak = float(np.abs(value).max())
    peak = peak if peak > 1e-3 else 1.0
    axes.set_ylim(-1.15 * peak, 1.15 * peak)
    if scanner:
        _limits(axes, (-1e3 * scanner.max_gradient, 1e3 * scanner.max_gradient))
    axes.set_ylabel(f"G{name}\nmT/m")


def _limits(axes: Axes, values: tuple[float, ...]) -> None:
    """Draw limits as dashed lines; a limit far above the waveform is written in the corner instead."""
    low, high = axes.get_ylim()
    if values[-1] > 3 * high:
        axes.annotate(
            f"limit {values[-1]:.3g}", (0.995, 0.06), xycoords="axes fraction", ha="right", fontsize=7, color="0.5"
        )
        return
    for value in values:
        axes.axhline(value, color="0.45", linestyle="--", linewidth=0.8)
    headroom = 1.1 if low < 0 else 1.3
    axes.set_ylim(min(low, headroom * values[0]) if low < 0 else low, max(high, headroom * values[-1]))


def _draw_adc(axes: Axes, waves: Waveforms, scale: float) -> None:
    spans = np.column_stack((waves.adc_start, waves.adc_stop - waves.adc_start)) * scale
    if len(spans) > 2 * BINS:
        spans = spans[:: len(spans) // (2 * BINS)]
    axes.broken_barh(spans.tolist(), (0, 1), facecolor=_COLORS["adc"], alpha=0.8, linewidth=0)
    axes.set_ylim(-0.1, 1.3)
    axes.set_yticks([])
    axes.set_ylabel("ADC", rotation=0, ha="right", va="center")


def _changing_labels(seq: SeqFile, waves: Waveforms) -> dict[str, np.ndarray]:
    """Return the labels to draw, ``[adc]``: first those that change in the window."""
    if len(waves.adc_block) <= _MOST_WRITTEN:
        return {}
    values = {name: label[waves.adc_block] for name, label in evaluate(seq).items()}
    values = {name: label for name, label in values.items() if len(label) and np.any(label)}
    order = sorted(values, key=lambda name: -len(np.unique(values[name])))
    return {name: values[name] for name in order[:_MOST_LABELS]}


def _write_labels(axes: Axes, seq: SeqFile, waves: Waveforms, scale: float) -> None:
    """Write the labels beside the acquisitions, where there are few."""
    labels = evaluate(seq)
    for block, start in zip(waves.adc_block[:_MOST_WRITTEN], waves.adc_start, strict=False):
        text = "  ".join(f"{name} {values[block]}" for name, values in labels.items())
        axes.text(scale * start, 0.5, f"{text}  ", ha="right", va="center", fontsize=7, color="0.3")


def _draw_labels(axes: Axes, waves: Waveforms, labels: dict[str, np.ndarray], scale: float) -> None:
    middle = 0.5 * scale * (waves.adc_start + waves.adc_stop)
    for (name, values), color in zip(labels.items(), _LABEL_COLORS, strict=False):
        marker = "o" if len(values) <= 200 else ""
        axes.plot(middle, values, color=color, marker=marker, markersize=2.5, linewidth=0.9, label=name)
    axes.set_ylabel("labels")
    axes.margins(y=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False, handlelength=1)


def _dress(axes: Any, waves: Waveforms, scale: float, unit: str) -> None:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
        one.yaxis.label.set_size(9)
        one.grid(axis="x", color="0.92", linewidth=0.6)
        one.set_axisbelow(True)
    axes[-1].set_xlabel(f"time [{unit}]", fontsize=9)
    pad = 0.01 * (waves.stop - waves.start)
    axes[-1].set_xlim(scale * (waves.start - pad), scale * (waves.stop + pad))


def _title(seq: SeqFile, waves: Waveforms, unit: str, scale: float) -> str:
    name = seq.definitions.get("Name", seq.path.stem)
    name = f"{name} · " if isinstance(name, str) and name and name != seq.path.stem else ""
    shown = f"{scale * waves.start:.6g} to {scale * waves.stop:.6g} {unit} of {seq.duration:.6g} s"
    return f"{name}{seq.path.name} · Pulseq {'.'.join(map(str, seq.version))} · {shown}"
