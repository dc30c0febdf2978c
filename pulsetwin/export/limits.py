"""Gradient amplitude, slew rate, continuity and B1 of a sequence against a scanner's limits."""

from __future__ import annotations

import numpy as np

from pulsetwin.export.findings import ERROR, PASSED, WARNING, Finding, at_blocks
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.distinct import distinct_rows
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import GX, GZ, RF, SeqFile
from pulsetwin.sequences.waveforms import corners

_SLACK = 1 + 1e-3
_MOST_EXACT = 2000


def amplitude_findings(seq: SeqFile, scanner: Scanner) -> tuple[list[Finding], dict[str, float]]:
    """Return what exceeds or keeps the limits, and the peaks: gradients [mT/m], slew rates [T/m/s] and B1 [uT]."""
    found: list[Finding] = []
    peaks: dict[str, float] = {}
    strength, slew = _played(seq, scanner.gamma)
    distinct, _ = distinct_rows(np.column_stack((seq.events[:, GX : GZ + 1], seq.rotation)))
    for what, values, limit, unit, scale in (
        ("gradient", strength, scanner.max_gradient, "mT/m", 1e3),
        ("slew", slew, scanner.max_slew, "T/m/s", 1.0),
    ):
        for axis, name in enumerate("xyz"):
            value = scale * values[:, axis]
            message = f"G{name} {'is too strong' if what == 'gradient' else 'changes too fast'}"
            bad = value > scale * limit * _SLACK
            found += at_blocks(
                seq, bad, ERROR, f"{what}-{name}", message, value, scale * limit, unit, among=value > 0
            )  # fmt: skip
            peaks[f"{what} {name} [{unit}]"] = float(value.max(initial=0.0))
        peak, block = _vector_peak(seq, distinct, values, what, scanner.gamma)
        peaks[f"{what} vector [{unit}]"] = scale * peak
        found += _vector(seq, what, block, scale * peak, scale * limit, unit, float(scale * values.max(initial=0.0)))
    found += _continuity(seq, scanner)
    b1, peaks["B1 [uT]"] = _b1(seq, scanner)
    return found + b1, peaks


def _vector(
    seq: SeqFile, what: str, block: int, peak: float, limit: float, unit: str, axis_peak: float
) -> list[Finding]:
    """Judge the norm over the axes: beyond one axis's limit, some orientations are not playable."""
    if not peak or axis_peak > limit * _SLACK:
        return []  # nothing plays, or the axis's own rule tells
    noun = "slew rate" if what == "slew" else "strength"
    message = f"the gradient's vector {noun} exceeds one axis's limit, so that not every orientation is playable"
    where = int(seq.number[block]), float(seq.block_start[block])
    bad = peak > limit * _SLACK
    severity, message = (WARNING, message) if bad else (PASSED, "")
    return [Finding(severity, f"{what}-vector", message, *where, peak, limit, unit)]


def _played(seq: SeqFile, gamma: float) -> tuple[Array, Array]:
    """Return the peak gradient [T/m] and slew rate [T/m/s] of each block and axis, float64 ``[block, 3]``."""
    gradients = seq.gradients
    if not len(gradients):
        return np.zeros((len(seq), 3)), np.zeros((len(seq), 3))
    peak = np.maximum.reduceat(np.abs(gradients.amplitude), gradients.start[:-1])
    step, rise = np.diff(gradients.time), np.abs(np.diff(gradients.amplitude))
    rate = np.divide(rise, step, out=np.where(rise > 0, np.inf, 0.0), where=step > 0)
    rate = np.append(rate, 0.0)
    rate[gradients.start[1:] - 1] = 0.0
    fastest = np.maximum.reduceat(rate, gradients.start[:-1])
    events = seq.events[:, GX : GZ + 1]
    strength, slew = (np.append(values, 0.0)[events] / gamma for values in (peak, fastest))
    turned = np.nonzero(seq.rotation != NONE)[0]
    keys = np.column_stack((events[turned], seq.rotation[turned]))
    first, index = distinct_rows(keys)
    for number, block in enumerate(turned[first]):
        time, vector = corners(seq, int(block))
        if len(time):
            same = turned[index == number]
            strength[same] = np.abs(vector).max(0) / gamma
            steep = np.isfinite(slew[block]).all()
            slew[same] = np.abs(_rates(time, vector)).max(0) / gamma if steep else np.inf
    return strength, slew


def _rates(time: Array, vector: Array) -> Array:
    return np.diff(vector, axis=0) / np.diff(time)[:, None] if len(time) > 1 else np.zeros((1, 3))


def _vector_peak(seq: SeqFile, first: Array, values: Array, what: str, gamma: float) -> tuple[float, int]:
    """Return the largest vector norm over the blocks `first`, and its block.

    The norm of the axes' peaks bounds each block, so only the blocks that could hold the largest are worked out.
    """
    bound = np.linalg.norm(values, axis=1)
    best, where = 0.0, 0
    for block in first[np.argsort(-bound[first])][:_MOST_EXACT]:
        if bound[block] <= best:
            break
        time, vector = corners(seq, int(block))
        shown = vector if what == "gradient" else _rates(time, vector)
        peak = float(np.linalg.norm(shown, axis=1).max()) / gamma
        peak = peak if np.isfinite(bound[block]) else float("inf")
        if peak > best:
            best, where = peak, int(block)
    return best, where


def _continuity(seq: SeqFile, scanner: Scanner) -> list[Finding]:
    """Find gradients that jump where blocks meet, at an event's edges inside a block, or at the end of the sequence."""
    gradients = seq.gradients
    if not len(gradients):
        return []
    events = seq.events[:, GX : GZ + 1]
    has = events != NONE
    starts_late = gradients.delay[events] > 1e-9
    ends_early = gradients.end[events] < seq.block_duration[:, None] - 1e-9
    first, last = np.where(has, gradients.first[events], 0.0), np.where(has, gradients.last[events], 0.0)
    begin = _turn(seq, np.where(starts_late, 0.0, first))
    end = _turn(seq, np.where(ends_early, 0.0, last))
    jump = begin - np.concatenate((np.zeros((1, 3)), end[:-1]))
    inside = np.maximum(np.where(starts_late, np.abs(first), 0), np.where(ends_early, np.abs(last), 0))
    limit = 1e3 * scanner.max_slew * scanner.gradient_raster
    found: list[Finding] = []
    last_block = np.arange(len(seq)) == len(seq) - 1
    for axis, name in enumerate("xyz"):
        for value, where in ((jump, "from the block before"), (inside, "where it begins or ends inside its block")):
            size = 1e3 * value[:, axis] / scanner.gamma
            bad = np.abs(size) > limit * _SLACK
            found += at_blocks(
                seq, bad, ERROR, f"jump-{name}", f"G{name} jumps {where}", size, limit, "mT/m", among=has[:, axis]
            )  # fmt: skip
        size = 1e3 * end[:, axis] / scanner.gamma
        bad = last_block & (np.abs(size) > limit * _SLACK)
        found += at_blocks(
            seq, bad, ERROR, f"jump-{name}", f"G{name} is left on at the end", size, limit, "mT/m", among=last_block
        )  # fmt: skip
    return found


def _turn(seq: SeqFile, vector: Array) -> Array:
    """Apply the blocks' rotations to ``[block, 3]``."""
    turned = np.nonzero(seq.rotation != NONE)[0]
    if len(turned):
        vector = vector.copy()
        vector[turned] = np.einsum("bij,bj->bi", seq.extensions.rotations[seq.rotation[turned]], vector[turned])
    return vector


def _b1(seq: SeqFile, scanner: Scanner) -> tuple[list[Finding], float]:
    rf = seq.rf
    if not len(rf):
        return [], 0.0
    tallest = np.array([np.abs(shape.value).max() for shape in seq.shapes])
    peak = np.append(1e6 * np.abs(rf.amplitude) * tallest[rf.magnitude] / scanner.gamma, 0.0)[seq.events[:, RF]]
    limit = 1e6 * scanner.max_b1
    found = at_blocks(
        seq, peak > limit * _SLACK, ERROR, "b1", "a pulse is too strong", peak, limit, "uT", among=peak > 0
    )
    return found, float(peak.max())
