"""The verbs that look at files: `info` and `check`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import FileError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pathlib import Path

    from pulsetwin.export.findings import CheckReport
    from pulsetwin.scanner import Scanner

PLAYABLE, NOT_PLAYABLE = 0, 1


def info(options: argparse.Namespace) -> int:
    """Tell what is in a raw-data file, a folder of a Spinsolve or a `.seq`."""
    path = existing(options.file, folder=True)
    if path.suffix.lower() == ".seq" and not path.is_dir():
        from pulsetwin.export.describe import describe_seq
        from pulsetwin.sequences.seqfile import read_seq

        facts = describe_seq(read_seq(path))
    else:
        from pulsetwin.export.describe_raw import describe_raw
        from pulsetwin.recon.read import read

        try:
            raw = read(path, progress=bar())
        except FileError:
            raw = read(path, partial=True, progress=bar())
        facts = describe_raw(raw)
    if options.json:
        from pulsetwin.export.summary import to_json

        sys.stdout.write(to_json(facts))
    else:
        from pulsetwin.export.text import to_text

        sys.stdout.write(to_text(facts))
    return 0


def check(options: argparse.Namespace) -> int:
    """Check whether a scanner can play a `.seq`."""
    path = existing(options.seq)
    from pulsetwin.export.playable import check as check_playable

    sources = {"sequence": path}
    if options.asc:
        sources["gradient system"] = existing(options.asc)
    if options.scanner.endswith(".toml"):
        sources["scanner"] = existing(options.scanner)
    for output in filter(None, (options.json, options.html)):
        writable(output, sources.values(), force=options.force)
    played_by = scanner(options.scanner)
    if options.asc:
        from pulsetwin.export.siemens_asc import with_gradient_system

        played_by = with_gradient_system(played_by, options.asc)
    result = check_playable(path, played_by)
    if options.json or options.html:
        _write_reports(options, result, played_by, sources)
    sys.stdout.write(f"{result.text()}\n")
    return PLAYABLE if result.playable else NOT_PLAYABLE


def _write_reports(
    options: argparse.Namespace, result: CheckReport, played_by: Scanner, sources: dict[str, Path]
) -> None:
    """Write what a check found as JSON and as HTML, as asked for."""
    from pulsetwin.atomic import atomic_file
    from pulsetwin.export.safety_facts import report_facts
    from pulsetwin.export.safety_html import safety_page, safety_pictures
    from pulsetwin.export.summary import write_json
    from pulsetwin.sequences.seqfile import read_seq

    seq = read_seq(sources["sequence"])
    facts = report_facts(result, seq, played_by, sources)
    if options.json:
        write_json(options.json, facts, force=options.force)
    if options.html:
        page = safety_page(result, played_by, facts, safety_pictures(result, seq, played_by))
        with atomic_file(options.html, force=options.force) as temporary:
            temporary.write_text(page, encoding="utf-8")
