"""Findings of the checks on a sequence, as text and as a dictionary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pulsetwin.sequences.seqfile import SeqFile

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a sequence breaks, at its worst place.

    Parameters
    ----------
    severity
        ``error``: a scanner refuses it, plays something else or is at risk; ``warning``: look at it.
    rule
        Short name, such as ``slew-x``.
    message
        One sentence.
    block, time
        Number in the file and start [s] of the worst block, or None.
    value, limit, unit
        What was found, what is allowed, in which unit; None where the rule has no number.
    count
        How many blocks break the rule.
    """

    severity: str
    rule: str
    message: str
    block: int | None = None
    time: float | None = None
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    count: int = 1

    def __str__(self) -> str:
        text = f"{self.severity:<8}{self.rule}: {self.message}"
        if self.value is not None:
            text += f": {self.value:.6g} {self.unit}".rstrip()
            text += "" if self.limit is None else f" (limit {self.limit:.6g})"
        if self.block is not None:
            text += f" in block {self.block} at {self.time:.6g} s"
        return text + (f", {self.count} blocks" if self.count > 1 else "")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of a check: what was found, and the peaks of the sequence whether allowed or not."""

    scanner: str
    findings: tuple[Finding, ...]
    peaks: dict[str, float]

    @property
    def playable(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid to play it."""
        return tuple(finding for finding in self.findings if finding.severity == ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings to look at."""
        return tuple(finding for finding in self.findings if finding.severity == WARNING)

    def text(self) -> str:
        """Return the report, one line a finding, the verdict first."""
        verdict = "playable" if self.playable else "NOT playable"
        counts = f"{_many(len(self.errors), ERROR)}, {_many(len(self.warnings), WARNING)}"
        peaks = "  ".join(f"{name} {value:.4g}" for name, value in self.peaks.items())
        return "\n".join([f"{verdict} on {self.scanner}: {counts}", f"peaks   {peaks}", *map(str, self.findings)])

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {
            "scanner": self.scanner,
            "playable": self.playable,
            "peaks": self.peaks,
            "findings": [asdict(finding) for finding in self.findings],
        }


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def at_blocks(
    seq: SeqFile,
    bad: np.ndarray,
    severity: str,
    rule: str,
    message: str,
    value: np.ndarray | None = None,
    limit: float | None = None,
    unit: str = "",
) -> list[Finding]:
    """Return one finding for the blocks marked in `bad`, or none.

    Parameters
    ----------
    bad
        Bool ``[block]``.
    value
        What was found, ``[block]``: the block with the largest magnitude is named, or else the first.
    """
    rows = np.nonzero(bad)[0]
    if not len(rows):
        return []
    worst = rows[0] if value is None else rows[np.argmax(np.abs(value[rows]))]
    found = None if value is None else float(value[worst])
    where = int(seq.number[worst]), float(seq.block_start[worst])
    return [Finding(severity, rule, message, *where, found, limit, unit, len(rows))]
