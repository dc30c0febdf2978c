"""The verb `export`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import ProtocolError

if TYPE_CHECKING:
    from pulsetwin.scanner import Scanner
    from pulsetwin.sequences.seqfile import SeqFile

TARGETS = ("siemens", "bruker", "cest-list")
_SCANNERS = {"siemens": "siemens-prisma", "bruker": "bruker-biospec-94"}


def export(options: argparse.Namespace) -> int:
    """Write a `.seq`, or a CEST-MRF protocol, as the interpreters of a vendor read it."""
    path = existing(options.file)
    if options.version and options.target != "siemens":
        raise ProtocolError(f"--version is for siemens: {options.target} has one form only")
    if options.target == "cest-list":
        return _cest_list(options, path)
    from pulsetwin.sequences.seqfile import read_seq

    seq = read_seq(path)
    stated: dict[str, Any] = {} if "Name" in seq.definitions else {"Name": path.stem}
    if options.fov:
        stated["FOV"] = options.fov
    played_by = scanner(options.scanner or _SCANNERS[options.target])
    return (_siemens if options.target == "siemens" else _bruker)(options, seq, played_by, stated)


def _siemens(options: argparse.Namespace, seq: SeqFile, played_by: Scanner, stated: dict[str, Any]) -> int:
    writable(options.output, (seq.path,), force=options.force)
    from pulsetwin.export.siemens import write_siemens
    from pulsetwin.export.stored_sequence import stored_sequence

    report = write_siemens(
        stored_sequence(seq, played_by), options.output, scanner=played_by, version=options.version or "1.4.1",
        definitions=stated, force=options.force,
    )  # fmt: skip
    sys.stdout.write(f"sequence {options.output}\n{report.text()}\n")
    return 0


def _bruker(options: argparse.Namespace, seq: SeqFile, played_by: Scanner, stated: dict[str, Any]) -> int:
    from pulsetwin.export.bruker import bruker_path, index_path, write_bruker

    written, index = bruker_path(options.output), index_path(options.output)
    for output in (written, index):
        writable(str(output), (seq.path,), force=options.force)
    report = write_bruker(seq, options.output, scanner=played_by, definitions=stated, force=options.force)
    renamed = "" if written == Path(options.output) else "  (ParaVision lists no names with symbols)"
    sys.stdout.write(f"sequence {written}{renamed}\nindex    {index}\n{report.text()}\n")
    return 0


def _cest_list(options: argparse.Namespace, path: Path) -> int:
    """Write the list of a CEST-MRF protocol."""
    if options.scanner or options.fov:
        raise ProtocolError("--scanner and --fov are for sequences: leave them out with cest-list")
    writable(options.output, (path,), force=options.force)
    from pulsetwin.export.cest_lists import read_cest_table, rounding, write_cest_list

    asked = read_cest_table(path)
    write_cest_list(asked, options.output, force=options.force)
    changes = "".join(f"rounded  {name} by up to {value:.3g}\n" for name, value in rounding(asked).items() if value)
    sys.stdout.write(f"list     {options.output}  ({len(asked)} images)\n{changes}")
    return 0


def add_export(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `export`."""
    verb.add_argument("file", help="sequence (.seq); with cest-list a table (.csv) in SI units")
    verb.add_argument("--target", required=True, choices=TARGETS, help="what is to read it")
    verb.add_argument("--version", choices=("1.4.1", "1.5.0"), help="of the format, for siemens (1.4.1)")
    verb.add_argument("--scanner", help="scanner preset or TOML file (siemens-prisma or bruker-biospec-94)")
    verb.add_argument("--fov", type=float, nargs=3, metavar=("X", "Y", "Z"), help="FOV [m], where the file has none")
    verb.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    verb.add_argument("--force", action="store_true", help="replace existing files")
