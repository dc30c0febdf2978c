"""What the safety report tells beside the verdict: the file, the sequence, the scanner, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pulsetwin import __version__
from pulsetwin.export.describe import describe_seq
from pulsetwin.export.findings import CheckReport
from pulsetwin.export.interpreters import INTERPRETERS, counts
from pulsetwin.export.summary import file_facts
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import SeqFile

NOT_CHECKED = (
    "the absorbed power in a patient (SAR) and its limits: they depend on coil, patient and field, which no sequence "
    "knows",
    "heating and duty cycle of the gradient system, and its power supply",
    "eddy currents, concomitant fields, and sound pressure",
    "cardiac stimulation",
    "other orientations than x, y, z of the sequence on x, y, z of the scanner",
    "what interpreters do: the rules follow the specification and public code, no scanner was at hand",
)
"""What no check of a `.seq` can tell, or this one does not."""


def report_facts(report: CheckReport, seq: SeqFile, scanner: Scanner, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the whole report as plain values: the check, identity of the files, sequence and scanner.

    Parameters
    ----------
    sources
        Role to path of the files that the report depends on, such as ``sequence`` and ``gradient system``.
    """
    return {
        "pulsetwin": __version__,
        "files": {role: file_facts(path) for role, path in sources.items()},
        **report.to_dict(),
        "sequence": describe_seq(seq),
        "sizes": sizes(seq),
        "scanner_settings": asdict(scanner),
        "not_checked": list(NOT_CHECKED),
    }


def sizes(seq: SeqFile) -> dict[str, dict[str, int | None]]:
    """Return the size of each table of the file and the most that each interpreter with such a limit takes."""
    limits = {interpreter.name: interpreter.most for interpreter in INTERPRETERS if interpreter.most}
    return {
        name: {"file": count, **{interpreter: most.get(name) for interpreter, most in limits.items()}}
        for name, count in counts(seq).items()
    }
