"""The verb `design`."""

from __future__ import annotations

import argparse
import sys
import tomllib
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import FileError, ProtocolError

if TYPE_CHECKING:
    from types import ModuleType

_SHOWN = 4  # numbers of a default that are told one by one


def design(options: argparse.Namespace) -> int:
    """Design a sequence from its settings, check it and write it; or tell which there are."""
    from pulsetwin.sequences.library import NAMES, sequence_named, summary

    if options.list:
        width = max(len(name) for name in NAMES)
        sys.stdout.write("".join(f"{name:{width}}  {summary(name)}\n" for name in NAMES))
        return 0
    if options.name is None:
        raise ProtocolError("name a sequence: `pulsetwin design --list` shows them")
    module = sequence_named(options.name)
    if options.help:
        sys.stdout.write(_help(options.name, module))
        return 0
    if options.output is None:
        raise ProtocolError("name the file to write with -o, such as -o out.seq")
    return _designed(options, module)


def _designed(options: argparse.Namespace, module: ModuleType) -> int:
    """Build, check and write a sequence."""
    writable(options.output, [options.protocol] if options.protocol else [], force=options.force)
    from pulsetwin import __version__
    from pulsetwin.export.siemens import write_seq
    from pulsetwin.sequences.protocol import definitions, protocol_from

    values = _table(options.protocol, options.name) if options.protocol else {}
    source = options.protocol or "--set"
    protocol = protocol_from(module.Protocol, {**values, **_assigned(options.set)}, source)
    played_by = scanner(options.scanner)
    sequence = module.build(protocol, played_by)
    write_seq(
        sequence, options.output, scanner=played_by, definitions=definitions(protocol, options.name, __version__),
        force=options.force, unsafe=options.unsafe,
    )  # fmt: skip
    duration, blocks = sequence.duration()[:2]
    sys.stdout.write(f"sequence {options.output}  ({options.name}, {blocks} blocks, {duration:.3f} s)\n")
    return 0


def _table(name: str, sequence: str) -> dict[str, Any]:
    """Return the settings of a TOML file: all of it, or its table of the sequence's name."""
    path = existing(name)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(path, f"is not TOML ({error})", "correct it there") from None
    return table.get(sequence, table)


def _assigned(texts: list[str]) -> dict[str, str]:
    """Return the settings of ``name=value`` texts."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ProtocolError(f"--set {text}: give name=value, such as --set tr=12ms")
        values[name.strip()] = value.strip()
    return values


def _help(name: str, module: ModuleType) -> str:
    """Return a table of the settings of a sequence."""
    from pulsetwin.sequences.protocol import settings

    rows = [(one.name, _said(one.default), one.unit, one.meaning) for one in settings(module.Protocol)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  " + "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=False)) + f"  {row[3]}"
        for row in rows
    ]
    return (
        f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}\n\nsettings, their defaults and units:\n"
        + "\n".join(lines)
        + f"\n\nexample: pulsetwin design {name} --scanner siemens-prisma --set tr=12ms -o {name}.seq\n"
    )


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        shown = [f"{part:g}" for part in value]
        return ",".join(shown if len(shown) <= _SHOWN else [*shown[:2], "...", f"{shown[-1]} ({len(shown)})"])
    if value is None:
        return "least"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def add_design(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `design`, whose help depends on the sequence."""
    verb.add_argument("name", nargs="?", help="sequence, such as flash")
    verb.add_argument("-h", "--help", action="store_true", help="show the settings of a sequence")
    verb.add_argument("--list", action="store_true", help="list the sequences")
    verb.add_argument("--scanner", default="siemens-prisma", help="scanner preset or TOML file (siemens-prisma)")
    verb.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as in te=5ms")
    verb.add_argument("--protocol", metavar="TOML", help="settings by name, in SI units")
    verb.add_argument("-o", "--output", metavar="SEQ", help=".seq to write")
    verb.add_argument("--unsafe", action="store_true", help="write it although the check fails; the file will say so")
    verb.add_argument("--force", action="store_true", help="replace an existing file")
