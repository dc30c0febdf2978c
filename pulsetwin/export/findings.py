"""Findings of the checks on a sequence, as text and as a dictionary."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.sequences.seqfile import SeqFile

if TYPE_CHECKING:
    from pulsetwin.export.interpreters import Verdict

ERROR, WARNING, PASSED, TOLD = "error", "warning", "passed", "told"
UNSAFE = "UnsafeChecksFailed"
"""The definition of a file that was written although checks failed."""
_PEAK = re.compile(r"(?P<what>.*?)(?: (?P<axis>[xyz]|vector))?(?: \[(?P<unit>.*)\])?")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found in a sequence, at its worst place.

    Parameters
    ----------
    severity
        ``error``: a scanner refuses it, plays something else or is at risk; ``warning``: look at it; ``passed``: the
        rule is kept; ``told``: a number without a limit.
    rule
        Short name, such as ``slew-x``.
    message
        One sentence.
    block, time
        Number in the file and start [s] of the worst block, or None.
    value, limit, unit
        What was found, what is allowed, in which unit; None where the rule has no number.
    count
        How many blocks break the rule, or keep it.
    at_least
        Whether the limit is the least that is allowed, not the most.
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
    at_least: bool = False

    @property
    def margin(self) -> float | None:
        """How much of the limit is left, as a fraction of it: negative where it is broken, None without a number."""
        if self.value is None or not self.limit:
            return None
        used = abs(self.value) / self.limit
        return used - 1 if self.at_least else 1 - used

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
    """The outcome of a check.

    Parameters
    ----------
    scanner
        Vendor and name.
    findings
        Errors, then warnings.
    peaks
        Name and unit to the largest value in the sequence, whether allowed or not.
    kept
        The rules that are kept, and the numbers that are told without a limit.
    interpreters
        What the known interpreters make of the file.
    """

    scanner: str
    findings: tuple[Finding, ...]
    peaks: dict[str, float]
    kept: tuple[Finding, ...] = ()
    interpreters: tuple[Verdict, ...] = ()

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

    @property
    def passed(self) -> tuple[Finding, ...]:
        """The rules that are kept."""
        return tuple(finding for finding in self.kept if finding.severity == PASSED)

    @property
    def counts(self) -> str:
        """How many findings there are, in words."""
        broken = f"{_many(len(self.errors), ERROR)}, {_many(len(self.warnings), WARNING)}"
        return f"{broken}, {_many(len(self.passed), 'rule')} kept"

    def text(self) -> str:
        """Return the report: the verdict, one line a finding, the peaks and what interpreters make of the file."""
        verdict = f"{'playable' if self.playable else 'NOT playable'} on {self.scanner}: {self.counts}"
        interpreters = [f"  {one}" for one in self.interpreters]
        return "\n".join(
            [verdict, *map(str, self.findings), "peaks", *_peak_lines(self.peaks)]
            + ["interpreters"] * bool(interpreters) + interpreters
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {
            "scanner": self.scanner,
            "playable": self.playable,
            "peaks": self.peaks,
            "findings": [asdict(finding) for finding in self.findings],
            "kept": [asdict(finding) for finding in self.kept],
            "interpreters": [asdict(verdict) for verdict in self.interpreters],
        }


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _peak_lines(peaks: dict[str, float]) -> list[str]:
    """Write the peaks, those of the axes beside each other."""
    rows: dict[str, list[str]] = {}
    for name, value in peaks.items():
        found = _PEAK.fullmatch(name)
        assert found is not None  # the pattern matches any text
        title = found["what"] + (f" [{found['unit']}]" if found["unit"] else "")
        rows.setdefault(title, []).append(f"{found['axis'] + ' ' if found['axis'] else ''}{value:.4g}")
    width = max(map(len, rows), default=0)
    return [f"  {title:{width}}  {'  '.join(values)}" for title, values in rows.items()]


def at_blocks(
    seq: SeqFile,
    bad: np.ndarray,
    severity: str,
    rule: str,
    message: str,
    value: np.ndarray | None = None,
    limit: float | None = None,
    unit: str = "",
    *,
    among: np.ndarray | None = None,
    at_least: bool = False,
) -> list[Finding]:
    """Return one finding for the blocks marked in `bad`; where there are none, that the rule is kept.

    Parameters
    ----------
    bad
        Bool ``[block]``.
    value
        What was found, ``[block]``: the block with the largest magnitude is named, or else the first; where the limit
        is 0, negative values are farther from it.
    among
        Blocks to which the rule applies, bool ``[block]``; by default all. Where it applies to none, nothing is
        returned.
    at_least
        Whether `limit` is the least that is allowed, so that the smallest value is the worst.
    """
    broken = bool(np.any(bad))
    rows = np.nonzero(bad if broken else np.ones(len(seq), bool) if among is None else among)[0]
    if not len(rows):
        return []
    if not broken:
        severity, message = PASSED, ""
    if value is None or (limit is None and not broken):
        where = (int(seq.number[rows[0]]), float(seq.block_start[rows[0]])) if broken else (None, None)
        return [Finding(severity, rule, message, *where, count=len(rows))]
    size = value[rows] if limit == 0 else np.abs(value[rows])
    worst = rows[np.argmin(size) if at_least else np.argmax(size)]
    where = int(seq.number[worst]), float(seq.block_start[worst])
    return [Finding(severity, rule, message, *where, float(value[worst]), limit, unit, len(rows), at_least)]


def split(found: list[Finding]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return what is broken, errors first, and what is kept or told: each rule once, at its smallest margin."""
    broken = sorted((one for one in found if one.severity in (ERROR, WARNING)), key=lambda one: one.severity != ERROR)
    kept: dict[str, Finding] = {}
    for one in sorted(found, key=lambda one: np.inf if one.margin is None else one.margin):
        if one.severity in (PASSED, TOLD) and not any(other.rule == one.rule for other in broken):
            kept.setdefault(one.rule, one)
    order = {rule: number for number, rule in reversed(list(enumerate(one.rule for one in found)))}
    return tuple(broken), tuple(sorted(kept.values(), key=lambda one: order[one.rule]))
