"""The verb `design`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.settings_file import read_toml

if TYPE_CHECKING:
    from types import ModuleType

    from pulsetwin.scanner import Scanner

_LEAST_SLEW = 0.01
_ANY_ORIENTATION = 0.577  # 1 / sqrt 3: axes at that fraction of the limit add up to it
_REMEDIES = {
    "pns": "a smaller --slew stimulates less",
    "slew-vector": f"--slew {_ANY_ORIENTATION} allows any orientation",
}


def design(options: argparse.Namespace) -> int:
    """Design a sequence from its settings, check it and write it; or tell which there are."""
    from pulsetwin.sequences.library import NAMES, sequence_named, summary

    if options.list:
        width = max(len(name) for name in NAMES)
        sys.stdout.write("".join(f"{name:{width}}  {summary(name)}\n" for name in NAMES))
        return 0
    if options.name is None and options.help:
        sys.stdout.write(options.usage())
        return 0
    if options.name is None:
        raise ProtocolError("name a sequence: `pulsetwin design --list` shows them")
    module = sequence_named(options.name)
    if options.help:
        from pulsetwin.cli.design_help import sequence_help

        sys.stdout.write(sequence_help(options.name, module))
        return 0
    if options.output is None:
        raise ProtocolError("name the file to write with -o, such as -o out.seq")
    return _designed(options, module)


def _designed(options: argparse.Namespace, module: ModuleType) -> int:
    """Build, check and write a sequence; tell what the check warns of."""
    writable(options.output, [options.protocol] if options.protocol else [], force=options.force)
    from pulsetwin import __version__
    from pulsetwin.export.siemens import write_seq
    from pulsetwin.sequences.protocol import definitions

    protocol, played_by = _protocol(options, module.Protocol), scanner(options.scanner)
    sequence = module.build(protocol, _slowed(played_by, options.slew))
    stated = definitions(protocol, options.name, __version__)
    report = write_seq(
        sequence, options.output, scanner=played_by, force=options.force, unsafe=options.unsafe,
        definitions=stated if options.slew == 1 else {**stated, "SlewFraction": options.slew},
    )  # fmt: skip
    duration, blocks = sequence.duration()[:2]
    sys.stdout.write(f"sequence {options.output}  ({options.name}, {blocks} blocks, {duration:.3f} s)\n")
    for finding in report.findings:
        remedy = _REMEDIES.get(finding.rule)
        sys.stderr.write(f"{finding}{f'; {remedy}' if remedy else ''}\n")
    return 0


def _protocol(options: argparse.Namespace, kind: Any) -> Any:
    """Return the protocol of the TOML file and of `--set`, which goes first."""
    from pulsetwin.sequences.protocol import protocol_from, values_from

    given = {options.protocol: _table(options.protocol, options.name)} if options.protocol else {}
    given |= {"--set": _assigned(options.set)} if options.set else {}
    values: dict[str, Any] = {}
    for source, own in given.items():
        values |= values_from(kind, own, source)
    return protocol_from(kind, values, " and ".join(given))


def _slowed(played_by: Scanner, fraction: float) -> Scanner:
    """Return a scanner with a fraction of the slew rate, as far as the design is concerned."""
    if not _LEAST_SLEW <= fraction <= 1:
        raise ProtocolError(f"--slew {fraction:g}: give a fraction of the scanner's slew rate, {_LEAST_SLEW} to 1")
    return replace(played_by, max_slew=fraction * played_by.max_slew)


def _table(name: str, sequence: str) -> dict[str, Any]:
    """Return the settings of a TOML file: its table of the sequence's name, or all of it where it has no tables."""
    from pulsetwin.sequences.library import NAMES

    path = existing(name)
    table = read_toml(path)
    others = [key for key in table if key in NAMES]
    if not others:
        return table
    if sequence not in table:
        raise FileError(path, f"has settings of {', '.join(others)}, not of {sequence}", f"add a table [{sequence}]")
    if stray := [key for key in table if key not in NAMES]:
        raise FileError(path, f"has {', '.join(stray)} outside the table of a sequence", f"move it below [{sequence}]")
    if not isinstance(table[sequence], dict):
        raise FileError(path, f"{sequence} is no table", f"put its settings below [{sequence}]")
    return dict(table[sequence])


def _assigned(texts: list[str]) -> dict[str, str]:
    """Return the settings of ``name=value`` texts."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ProtocolError(f"--set {text}: give name=value, such as --set tr=12ms")
        values[name.strip()] = value.strip()
    return values


def add_design(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `design`, whose help depends on the sequence."""
    verb.add_argument("name", nargs="?", help="sequence, such as flash")
    verb.add_argument("-h", "--help", action="store_true", help="show the settings of a sequence")
    verb.add_argument("--list", action="store_true", help="list the sequences")
    verb.add_argument("--scanner", default="siemens-prisma", help="scanner preset or TOML file (siemens-prisma)")
    verb.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as in te=5ms")
    verb.add_argument("--protocol", metavar="TOML", help="settings by name, in SI units")
    verb.add_argument("--slew", type=float, default=1.0, metavar="FRACTION", help="of the scanner's slew rate that the "
                      "design may use (1)")  # fmt: skip
    verb.add_argument("-o", "--output", metavar="SEQ", help=".seq to write")
    verb.add_argument("--unsafe", action="store_true", help="write it although the check fails; the file will say so")
    verb.add_argument("--force", action="store_true", help="replace an existing file")
    verb.set_defaults(usage=verb.format_help)
