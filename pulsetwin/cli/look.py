"""The verbs that look at files: `info` and `check`."""

from __future__ import annotations

import argparse
import sys

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import TwixError
from pulsetwin.progress import bar

PLAYABLE, NOT_PLAYABLE = 0, 1


def info(options: argparse.Namespace) -> int:
    """Tell what is in a raw-data file or a `.seq`."""
    path = existing(options.file)
    if path.suffix.lower() == ".seq":
        from pulsetwin.export.describe import describe_seq
        from pulsetwin.sequences.seqfile import read_seq

        facts = describe_seq(read_seq(path))
    else:
        from pulsetwin.export.describe_raw import describe_raw
        from pulsetwin.recon.read import read

        try:
            raw = read(path, progress=bar())
        except TwixError:
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

    if options.json:
        writable(options.json, (path, options.scanner), force=options.force)
    result = check_playable(path, scanner(options.scanner))
    if options.json:
        from pulsetwin.export.summary import write_json

        write_json(options.json, result.to_dict(), force=options.force)
    sys.stdout.write(f"{result.text()}\n")
    return PLAYABLE if result.playable else NOT_PLAYABLE
