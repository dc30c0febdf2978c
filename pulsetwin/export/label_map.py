"""Labels of a sequence against its trajectory: they must say where in k-space the data belong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.export.findings import ERROR, WARNING, Finding, at_blocks
from pulsetwin.export.label_map_cells import cell_findings
from pulsetwin.export.label_map_lines import complement, fit, middles, moving
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import SeqFile

_TOLERANCE = 1e-3
_OTHER_CELL = 0.5
_ENCODING = ("LIN", "PAR")


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Readouts of one orientation.

    Parameters
    ----------
    event
        ADC events, int64 ``[readout]``.
    offset
        Where they lie in the directions in which none moves, but they differ [1/m], ``[readout, direction]``.
    along
        Which way they run along the common direction of straight parallel lines: 1 or -1, 0 for other readouts.
    across
        In how many directions none moves: 3 without gradients, 2 for parallel lines, 1 in a plane, or 0.
    aside
        Which of them are not straight or parallel, or do not lie in the plane of the others, bool ``[readout]``.
    """

    event: Array
    offset: Array
    along: Array
    across: int
    aside: Array


def label_findings(seq: SeqFile) -> list[Finding]:
    """Return where labels and trajectory disagree, where data overwrite each other, and where lines are missing.

    LIN and PAR must be linear in k across the lines, in whatever direction these lie:
    ``label = centre + k . v``, with one centre and one vector ``v`` for the scan, or for each slice if slices are
    tilted against each other. Half a step off is an error, as the data belong to another cell; less is told. For
    spokes and spiral arms only PAR of a stack counts positions; LIN is a number. REV marks lines that run backwards. No
    two image readouts have all counters in common, and none of a range of lines is missing, unless by a regular
    undersampling, by one that leaves out a quarter or more, or at the edges of k-space.
    """
    played = played_readouts(seq)
    image = np.nonzero(played.flags["imaging"])[0]
    if len(played) < 2:
        return []
    if not len(image):
        message = "each acquisition is flagged as noise, navigator or reference: none is left for an image"
        return _at(played, np.arange(len(played)) == 0, WARNING, "label-image", message)
    if not played.labels:
        message = "the acquisitions have no labels: only readers that know the sequence can sort them"
        return _at(played, np.arange(len(played)) == image[0], WARNING, "label-none", message)
    middle, scatter, motion = middles(played)
    found: list[Finding] = []
    for one in _orientations(played, image, middle, scatter, motion):
        found += _positions(played, one)
        found += _directions(played, one)
    return found + cell_findings(played, image)


def _at(
    played: PlayedReadouts, bad: Array, severity: str, rule: str, message: str, value: Array | None = None,
    limit: float | None = None, unit: str = "",
) -> list[Finding]:  # fmt: skip
    """Return a finding as `at_blocks` does, for marks and values of ADC events ``[event]``."""
    marks, values = np.zeros(len(played.seq), bool), np.zeros(len(played.seq))
    marks[played.block] = bad
    if value is not None:
        values[played.block] = value
    return at_blocks(played.seq, marks, severity, rule, message, None if value is None else values, limit, unit)


def _orientations(played: PlayedReadouts, image: Array, middle: Array, scatter: Array, motion: Array) -> list[_Encoded]:
    """Return the image readouts together, or slice by slice where only the lines of a slice are parallel."""
    whole = _encoded(image, middle, scatter, motion)
    slices = played.labels.get("SLC", np.zeros(len(played), np.int32))[image]
    numbers = np.unique(slices)
    if np.any(whole.along) or len(numbers) < 2:
        return [whole]
    parts = [_encoded(image[slices == number], middle, scatter, motion) for number in numbers]
    return parts if all(np.any(part.along) for part in parts) else [whole]


def _encoded(event: Array, middle: Array, scatter: Array, motion: Array) -> _Encoded:
    across, direction, aside = complement(scatter[event])
    along = np.zeros(len(event)) if direction is None else np.sign(motion[event] @ direction)
    offset = middle[event] @ across.T
    return _Encoded(event, offset @ moving(offset).T, along, len(across), aside)


def _positions(played: PlayedReadouts, one: _Encoded) -> list[Finding]:
    """Compare LIN and PAR with k across the readouts, in steps of the label."""
    encoded = _ENCODING if one.across > 1 else _ENCODING[1:] if one.across else ()
    names = [name for name in encoded if name in played.labels]
    moves = one.offset.shape[1] > 0
    found: list[Finding] = []
    for name in names:
        centre, steps = fit(played.labels[name][one.event], one.offset)
        size = np.zeros(len(played))
        size[one.event] = steps
        size[np.abs(size) < _TOLERANCE] = 0.0
        rule, far = f"label-{name}", (np.abs(size) >= _OTHER_CELL) & moves
        message = f"{name} is that of another line than is measured, off by"
        found += _at(played, far, ERROR, rule, message, size, 0.0, "steps")
        message = f"k lies beside the line that {name} says, off by" if moves else f"{name} counts, but k stays, by"
        found += _at(played, (size != 0) & ~far, WARNING, rule, message, size, 0.0, "steps")
        if name == "LIN" and moves:
            found += _centre(played.seq, centre)
    return found


def _centre(seq: SeqFile, centre: float) -> list[Finding]:
    """Compare the central line that the file states with the one where k is 0."""
    stated = seq.definitions.get("kSpaceCenterLine")
    if not isinstance(stated, float) or abs(stated - centre) < _OTHER_CELL:
        return []
    message = "kSpaceCenterLine is not the line where k is 0"
    return [Finding(WARNING, "label-centre", message, value=stated, limit=round(centre, 3))]


def _directions(played: PlayedReadouts, one: _Encoded) -> list[Finding]:
    """Find readouts that run in another direction than the others, and compare REV with which way lines run."""
    aside, wrong = np.zeros((2, len(played)), bool)
    aside[one.event] = one.aside
    message = "an acquisition runs in another direction than the others"
    found = _at(played, aside, ERROR, "label-direction", message)
    agreed = one.along * np.where(played.flags["reversed"][one.event], -1, 1)
    wrong[one.event] = agreed == (-1 if agreed.sum() >= 0 else 1)
    if "REV" in played.labels:
        return found + _at(played, wrong, ERROR, "label-REV", "REV is not that of the way a line runs")
    message = "lines run both ways, but REV does not tell which"
    return found + _at(played, wrong, WARNING, "label-REV", message)
