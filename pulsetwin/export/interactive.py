"""Sequence diagrams as one HTML page to zoom and pan in, that needs no network."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from pulsetwin.export.diagram import COLORS, title
from pulsetwin.export.diagram_kspace import KSpace, kspace
from pulsetwin.export.diagram_rows import Content, Row, content
from pulsetwin.export.diagram_window import Window, window_of_repetition
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sequences.waveforms import blocks_between

BINS = 5000
_TICK = 1e-7
_STEPS = 20_000
_MOST_BLOCKS = 40_000
_KSPACE_POINTS = 20_000


def page(seq: SeqFile, *, scanner: Scanner | None = None, window: Window | None = None) -> str:
    """Return a sequence diagram as HTML, with its data and script within itself: 3 MB at most.

    Long ranges are shown by their extremes, see `diagram_rows.envelope`.

    Parameters
    ----------
    seq
        The sequence.
    scanner
        Its limits are drawn as dashed lines, and its gamma sets the units; without one, no limits and protons.
    window
        What to show; by default the first repetition that acquires.
    """
    played = played_readouts(seq)
    window = window or window_of_repetition(seq, played)
    shown = content(seq, window, scanner=scanner, bins=BINS)
    facts = {
        "title": title(seq, shown), "start": window.start, "stop": window.stop,
        "bin": (window.stop - window.start) / BINS if shown.reduced else 0.0,
        "rows": [_curve(row, window.start) | {"color": COLORS[row.name]} for row in shown.rows],
        "adc": _times(shown.adc.ravel(), window.start) | {"color": COLORS["ADC"]},
        "labels": [_curve(row, window.start, whole=True) for row in shown.labels],
        "blocks": _blocks(seq, shown), "kspace": _kspace(kspace(played, window, points=_KSPACE_POINTS)),
    }  # fmt: skip
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    template = resources.files("pulsetwin").joinpath("export", "interactive.html").read_text("utf-8")
    return template.replace("{{title}}", escape(facts["title"])).replace("{{data}}", text)


def _times(times: Array, start: float) -> dict[str, Any]:
    """Return times as steps from one to the next, in a unit [s] of which all are multiples."""
    steps = np.diff(np.rint((times - start) / _TICK).astype(np.int64), prepend=0)
    unit = max(int(np.gcd.reduce(steps)), 1) if len(steps) else 1
    return {"unit": unit * _TICK, "t": (steps // unit).tolist()}


def _curve(row: Row, start: float, *, whole: bool = False) -> dict[str, Any]:
    """Return a curve with values as whole multiples of a step, null where there is none."""
    peak = float(np.nanmax(np.abs(row.value), initial=0.0))
    step = 1.0 if whole or not peak else peak / _STEPS
    values = [None if value != value else int(value) for value in np.rint(row.value / step).tolist()]
    return {
        "name": row.name, "unitName": row.unit, "limits": list(row.limits), "step": step, "v": values,
        **_times(row.time, start),
    }  # fmt: skip


def _blocks(seq: SeqFile, shown: Content) -> dict[str, Any]:
    """Return where blocks begin, and their numbers in the file; of very many, every second, third, ..."""
    blocks = blocks_between(seq, shown.window.start, shown.window.stop)
    every = -(-len(blocks) // _MOST_BLOCKS)
    blocks = blocks[:: max(every, 1)]
    numbers = np.diff(seq.number[blocks], prepend=0).tolist()
    same = numbers[1] if len(numbers) > 1 and len(set(numbers[1:])) == 1 else None
    named = {"first": numbers[0], "next": same} if same else {"numbers": numbers}
    return _times(seq.block_start[blocks], shown.window.start) | named | {"every": every}


def _kspace(shown: KSpace) -> dict[str, Any]:
    """Return what is shown of k-space; the third axis of a plane is left at 0."""
    size = float(np.abs(shown.positions).max(initial=0.0)) or 1.0
    steps = np.rint(shown.positions * np.isin(np.arange(3), shown.axes) / size * 5000).astype(np.int64)
    return {
        "title": shown.title, "axes": list(shown.axes), "size": size, "order": np.diff(shown.order, prepend=0).tolist(),
        "marked": np.nonzero(shown.marked)[0].tolist(),
        "lines": [path.ravel().tolist() for path in steps],
    }  # fmt: skip
