"""Cells of an image, one for each combination of counters: those that readouts share, and those that none fills."""

from __future__ import annotations

import itertools

import numpy as np

from pulsetwin.export.findings import ERROR, WARNING, Finding, at_blocks
from pulsetwin.rawdata import LABELS
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.readouts import PlayedReadouts

_IMAGE = ("SLC", "REP", "AVG", "SET", "ECO", "PHS")
_DELIBERATE = 0.25
_FEWEST_STEPS, _LARGEST_STEP = 3, 32


def cell_findings(played: PlayedReadouts, image: Array) -> list[Finding]:
    """Return which of the image readouts `image` ``[readout]`` share a cell, and which cells have none."""
    return _shared(played, image) + _missing(played, image)


def _number(played: PlayedReadouts, image: Array, names: tuple[str, ...]) -> Array:
    """Return one number for each combination of labels, in their order, int64 ``[readout]``."""
    number = np.zeros(len(image), np.int64)
    for name in names:
        if name in played.labels:
            values, index = np.unique(played.labels[name][image], return_inverse=True)
            number = number * len(values) + index.reshape(-1)
    return number


def _finding(played: PlayedReadouts, events: Array, severity: str, rule: str, message: str) -> list[Finding]:
    marks = np.zeros(len(played.seq), bool)
    marks[played.block[events]] = True
    return at_blocks(played.seq, marks, severity, rule, message)


def _shared(played: PlayedReadouts, image: Array) -> list[Finding]:
    """Find readouts whose counters are all those of an earlier one."""
    _, first, cell, count = np.unique(
        _number(played, image, LABELS), return_index=True, return_inverse=True, return_counts=True
    )
    again = first[cell.reshape(-1)] != np.arange(len(image))
    if not any(np.ptp(played.labels[name][image]) for name in ("LIN", "PAR") if name in played.labels):
        message = "neither LIN nor PAR tells the acquisitions apart"
        return _finding(played, image[again], WARNING, "label-cell", message)
    if np.any(again) and np.all(count == count[0]):
        message = f"each acquisition comes {count[0]} times with the same labels: readers add them up, or keep one"
        return _finding(played, image[again], WARNING, "label-cell", message)
    message = "an acquisition has the labels of an earlier one: readers overwrite it or add them up"
    return _finding(played, image[again], ERROR, "label-cell", message)


def _missing(played: PlayedReadouts, image: Array) -> list[Finding]:
    """Find lines and partitions that are left out in the middle of others."""
    found: list[Finding] = []
    for name, other in (("LIN", "PAR"), ("PAR", "")):
        if name in played.labels:
            rows = _number(played, image, (*_IMAGE, other) if other else _IMAGE)
            found += _holes(played, image, rows, name)
    return found


def _holes(played: PlayedReadouts, image: Array, row: Array, name: str) -> list[Finding]:
    """Find the values of label `name` that are left out among the readouts of one `row` number, ``[readout]``."""
    label = played.labels[name][image].astype(np.int64)
    label -= label.min()
    span = int(label.max()) + 1
    cell, where = np.unique(row * span + label, return_index=True)
    edges = np.concatenate(([0], np.nonzero(np.diff(cell // span))[0] + 1, [len(cell)]))
    step = np.diff(cell, append=0)
    step[edges[1:] - 1] = 0  # from one row to the next
    stride = np.repeat(np.maximum(np.gcd.reduceat(step, edges[:-1]), 1), np.diff(edges))
    steps = step // stride
    left_out = np.maximum(steps - 1, 0).sum()
    if not left_out or left_out >= _DELIBERATE * (left_out + len(cell)):
        return []
    before: list[int] = []
    known: dict[bytes, bool] = {}
    for begin, end in itertools.pairwise(edges):
        mine = steps[begin : end - 1]
        key = mine.tobytes()
        known[key] = known[key] if key in known else _is_regular(mine)
        before += [] if known[key] else list(begin + np.nonzero(mine > 1)[0])
    if not before:
        return []
    lost = int(played.labels[name][image[where[before[0]]]] + stride[before[0]])
    after = image[where[np.array(before) + 1]]
    return _finding(played, after, WARNING, "label-missing", f"{name} {lost} is left out before this acquisition")


def _is_regular(steps: Array) -> bool:
    """Return whether values with these steps are all of a range, or every n-th with one dense part."""
    stride = int(steps.max(initial=1))
    if stride == 1:
        return True
    place = np.concatenate(([0], np.cumsum(steps)))
    for start in range(min(stride, _LARGEST_STEP)):
        lattice = np.arange(start, place[-1] + 1, stride)
        extra = np.setdiff1d(place, lattice)
        dense = np.arange(extra.min(initial=0), extra.max(initial=-1) + 1)
        if np.isin([*lattice, *dense], place).all() and np.sum(steps == stride) >= _FEWEST_STEPS:
            return True
    return False
