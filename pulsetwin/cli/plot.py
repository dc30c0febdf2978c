"""The verb `plot`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, scanner, writable

if TYPE_CHECKING:
    from pulsetwin.export.diagram_window import Window
    from pulsetwin.sequences.seqfile import SeqFile


def plot(options: argparse.Namespace) -> int:
    """Draw a sequence diagram and its k-space."""
    path = existing(options.seq)
    from pulsetwin.export.diagram import require_suffix, save
    from pulsetwin.sequences.seqfile import read_seq

    writable(options.output, (path, *([options.scanner] if options.scanner else [])), force=options.force)
    require_suffix(options.output)
    limits = scanner(options.scanner) if options.scanner else None
    seq = read_seq(path)
    window = _window(seq, options)
    save(seq, options.output, scanner=limits, window=window, force=options.force)
    sys.stdout.write(f"diagram  {options.output}  ({window.name})\n")
    return 0


def _window(seq: SeqFile, options: argparse.Namespace) -> Window:
    """Return the part of a sequence that is asked for."""
    from pulsetwin.export.diagram_window import window_of_blocks, window_of_repetition, window_of_time
    from pulsetwin.sequences.readouts import played_readouts

    if options.blocks:
        return window_of_blocks(seq, *options.blocks)
    if options.time:
        return window_of_time(seq, *options.time)
    return window_of_repetition(seq, played_readouts(seq), 1 if options.tr is None else options.tr)


def add_plot(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `plot`."""
    verb.add_argument("seq", help="sequence (.seq)")
    verb.add_argument(
        "-o", "--output", required=True, metavar="FILE",
        help="picture (.png, .svg) or page to zoom in (.html) to write",
    )  # fmt: skip
    window = verb.add_mutually_exclusive_group()
    window.add_argument("--tr", type=int, metavar="N", help="repetition that acquires, from 1 (1)")
    window.add_argument("--blocks", type=_range(int), metavar="A..B", help="blocks, by their numbers in the file")
    window.add_argument("--time", type=_range(_seconds), metavar="A..B", help="times [s], or as in 10ms..25ms")
    verb.add_argument("--scanner", help="preset or TOML file: its limits are drawn as dashed lines")
    verb.add_argument("--force", action="store_true", help="replace an existing file")


def _range(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, Any]]:
    """Return a parser of two values with ``..`` between."""

    def parse(text: str) -> tuple[Any, Any]:
        try:
            first, last = (kind(part) for part in text.split(".."))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text}: give two with .. between, as in 1..20") from None
        return first, last

    return parse


def _seconds(text: str) -> float:
    """Return a time [s] from a number, with ms or us after it if it is in those."""
    for unit, factor in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0)):
        if text.strip().endswith(unit):
            return float(text.strip().removesuffix(unit)) * factor
    return float(text)
