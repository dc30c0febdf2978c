"""Pictures of sequences: RF, gradients, acquisitions and labels over time, and the k-space that is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import ProtocolError
from pulsetwin.export.describe import describe_seq
from pulsetwin.export.diagram_kspace import kspace
from pulsetwin.export.diagram_rows import Content, Row, content, joined
from pulsetwin.export.diagram_window import Window, say_times, window_of_repetition
from pulsetwin.export.figures import save_png
from pulsetwin.export.kspace_panel import draw_kspace, write_summary
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import SeqFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {
    "|B₁|": "#b03a2e", "phase": "#a04000", "Gx": "#1f618d", "Gy": "#117864", "Gz": "#6c3483", "ADC": "#34495e",
}  # fmt: skip
SUFFIXES = (".png", ".svg", ".html")
_LANE = "#34495e"
_SMALL: dict[str, Any] = {"fontsize": 7, "color": "0.4"}
_MOST_NUMBERS = 24
_FAR = 3.0
_PIXELS = 800


def save(
    seq: SeqFile, path: str | Path, *, scanner: Scanner | None = None, window: Window | None = None, force: bool = False
) -> None:
    """Write a diagram: a picture (PNG, SVG) or a page to zoom in (HTML), as the name ends.

    Raises
    ------
    ProtocolError
        If the name ends otherwise.
    """
    require_suffix(path)
    suffix = Path(path).suffix.lower()
    if suffix == ".html":
        from pulsetwin.export.interactive import page

        text = page(seq, scanner=scanner, window=window)
        with atomic_file(path, force=force) as temporary:
            temporary.write_text(text, "utf-8")
        return
    figure = diagram(seq, scanner=scanner, window=window)
    if suffix == ".png":
        save_png(figure, path, force=force)
        return
    import matplotlib

    reproducible = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pulsetwin"})
    with reproducible, atomic_file(path, force=force) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def require_suffix(path: str | Path) -> None:
    """Raise `ProtocolError` unless a diagram can be written to a file of this name."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ProtocolError(f"{path}: a diagram is {', '.join(SUFFIXES)}: give one of these endings")


def diagram(seq: SeqFile, *, scanner: Scanner | None = None, window: Window | None = None) -> Figure:
    """Draw what a sequence plays.

    Parameters
    ----------
    seq
        The sequence.
    scanner
        Its limits are drawn as dashed lines, and its gamma sets the units; without one, no limits and protons.
    window
        What to show; by default the first repetition that acquires.
    """
    from matplotlib.figure import Figure

    played = played_readouts(seq)
    window = window or window_of_repetition(seq, played)
    shown = content(seq, window, scanner=scanner)
    unit, scale = ("s", 1.0) if window.stop - window.start > 2 else ("ms", 1e3)
    figure = Figure(figsize=(14, 7.5), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    lanes = shown.labels if shown.acquisitions > 1 else ()
    heights = [1.2, 0.7, 1, 1, 1, 0.35] + [0.12 + 0.16 * len(lanes)] * bool(lanes)
    axes = left.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_rf(axes[0], axes[1], shown, scale)
    strongest = max(float(np.abs(row.value).max()) for row in shown.rows[2:])
    for row, one in zip(shown.rows[2:], axes[2:5], strict=True):
        _draw_gradient(one, row, scale, strongest)
    _draw_adc(axes[5], shown, scale)
    if lanes:
        _draw_labels(axes[6], lanes, scale)
    _dress(axes, window, scale, unit)
    above, below = right.subfigures(2, 1, height_ratios=(2.2, 1))
    draw_kspace(above, kspace(played, window))
    write_summary(below, describe_seq(seq))
    figure.suptitle(title(seq, shown), x=0.01, ha="left", fontsize=11)
    return figure


def title(seq: SeqFile, shown: Content) -> str:
    """Return what is shown, in a line."""
    name = seq.definitions.get("Name", seq.path.stem)
    window = shown.window
    times = say_times(window.start, window.stop)
    parts = [
        *([name] if isinstance(name, str) and name and name != seq.path.stem else []), seq.path.name,
        f"Pulseq {'.'.join(map(str, seq.version))}", *([window.name] if window.name != times else []),
        f"{times} of {say_times(seq.duration)}", *(["envelope"] if shown.reduced else []),
    ]  # fmt: skip
    return " · ".join(parts)


def _curve(axes: Axes, row: Row, scale: float, *, width: float = 1.0, filled: bool = True) -> None:
    if filled:
        axes.fill_between(scale * row.time, row.value, color=COLORS[row.name], alpha=0.22, linewidth=0)
    axes.plot(scale * row.time, row.value, color=COLORS[row.name], linewidth=width)
    axes.set_ylabel(f"{row.name}\n{row.unit}")


def _draw_rf(top: Axes, bottom: Axes, shown: Content, scale: float) -> None:
    strength, phase = shown.rows[:2]
    _curve(top, strength, scale)
    _curve(bottom, phase, scale, width=0.8, filled=False)
    bottom.set_ylim(-3.8, 5.8 if any(offset for *_, offset in shown.pulses) else 3.8)
    bottom.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    if not np.any(strength.value):
        top.annotate("no RF", (0.5, 0.5), xycoords="axes fraction", ha="center", **_SMALL)
        top.set_yticks([])
    top.set_ylim(0, 1.3 * (float(strength.value.max(initial=0)) or 1.0))
    _limits(top, strength)
    for when, flip, offset in shown.pulses:
        for axes, words in ((top, flip), (bottom, offset)):
            axes.annotate(
                words, (scale * when, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8,
                color="0.25",
            )  # fmt: skip


def _draw_gradient(axes: Axes, row: Row, scale: float, strongest: float) -> None:
    """Draw a gradient in its own range, or where there is none, in that of the strongest."""
    axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    _curve(axes, row, scale)
    peak = float(np.abs(row.value).max())
    peak = next(value for value in (peak, strongest, 1.0) if value > 1e-3)
    axes.set_ylim(-1.15 * peak, 1.15 * peak)
    axes.locator_params(axis="y", nbins=5)
    _limits(axes, row)


def _limits(axes: Axes, row: Row) -> None:
    """Draw limits as dashed lines; a limit far above the waveform is written beside it instead."""
    values = row.limits
    low, high = axes.get_ylim()
    if values and values[-1] > _FAR * high:
        text = f"limit\n{values[-1]:.3g} {row.unit}"
        axes.annotate(text, (1.005, 0.5), xycoords="axes fraction", va="center", **_SMALL)
    if not values or values[-1] > _FAR * high:
        return
    for value in values:
        axes.axhline(value, color="0.45", linestyle="--", linewidth=0.8)
    headroom = 1.1 if low < 0 else 1.3
    axes.set_ylim(min(low, headroom * values[0]) if low < 0 else low, max(high, headroom * values[-1]))


def _draw_adc(axes: Axes, shown: Content, scale: float) -> None:
    """Draw the acquisitions; beside a single one, its labels."""
    adc = joined(shown.adc, (shown.window.stop - shown.window.start) / _PIXELS)
    spans = np.column_stack((adc[:, 0], np.diff(adc, axis=1))) * scale
    axes.broken_barh(spans.tolist(), (0, 1), color=COLORS["ADC"], alpha=0.8, linewidth=0.3, snap=False)
    axes.set_ylim(-0.1, 1.3)
    axes.set_yticks([])
    axes.set_ylabel("ADC", rotation=0, ha="right", va="center")
    if shown.acquisitions == 1:
        text = "  ".join(f"{label.name} {label.value[0]:.0f}" for label in shown.labels)
        axes.text(spans[0, 0] + 0.5 * spans[0, 1], 0.5, text, ha="center", va="center", fontsize=7, color="white")


def _draw_labels(axes: Axes, labels: tuple[Row, ...], scale: float) -> None:
    """Draw each label in a lane of its own: its numbers, or where they are many, a curve and their range."""
    for lane, label in enumerate(labels):
        low, high = label.value.min(), label.value.max()
        if len(label.value) <= _MOST_NUMBERS:
            for when, value in zip(scale * label.time, label.value, strict=True):
                axes.text(when, lane, f"{value:.0f}", ha="center", va="center", fontsize=7, color=_LANE)
            continue
        height = (label.value - low) / max(high - low, 1)
        axes.plot(scale * label.time, lane + 0.35 - 0.7 * height, color=_LANE, linewidth=0.9, drawstyle="steps-mid")
        span = f"{low:.0f}…{high:.0f}" if high > low else f"{low:.0f}"
        axes.annotate(span, (1.005, lane), xycoords=("axes fraction", "data"), va="center", **_SMALL)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), [label.name for label in labels])


def _dress(axes: Any, window: Window, scale: float, unit: str) -> None:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
        one.yaxis.label.set_size(9)
        one.grid(axis="x", color="0.92", linewidth=0.6)
        one.set_axisbelow(True)
    axes[-1].set_xlabel(f"time [{unit}]", fontsize=9)
    axes[-1].ticklabel_format(axis="x", style="plain", useOffset=False)
    pad = 0.01 * (window.stop - window.start)
    axes[-1].set_xlim(scale * (window.start - pad), scale * (window.stop + pad))
