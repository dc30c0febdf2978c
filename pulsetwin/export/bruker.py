"""Write a sequence for the public Bruker interpreter: refused with all reasons, or written, read back and compared.

The text is 1.4.1 without extensions, all samples of shapes written out; labels, times and k-space positions go into an
index table beside it. No interpreter was at hand to play a file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.atomic import atomic_file, require_writable
from pulsetwin.errors import ProtocolError
from pulsetwin.export.bruker_findings import MENDED, MOST_BLOCKS, REPORTED, bruker_findings, left_out
from pulsetwin.export.bruker_index import index_table
from pulsetwin.export.bruker_pulses import REFERENCE_B1
from pulsetwin.export.findings import CheckReport
from pulsetwin.export.playable import check
from pulsetwin.export.siemens import stated_definitions, write_compared
from pulsetwin.export.stored_sequence import stored_sequence
from pulsetwin.export.summary import to_json
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import SeqFile

if TYPE_CHECKING:
    import pypulseq

_PLAIN, _FULL = (1, 4, 1), (1, 5, 0)
_SYMBOLS = re.compile(r"[^A-Za-z0-9_]+")


def bruker_path(path: str | Path) -> Path:
    """Return `path` with a name that ParaVision lists: letters, digits and underscores, so ``gre_seq`` for ``gre.seq``.

    Raises
    ------
    ProtocolError
        If nothing of the name is left.
    """
    path = Path(path)
    name = _SYMBOLS.sub("_", path.name).strip("_")
    if not name:
        raise ProtocolError(f"{path}: ParaVision lists names of letters, digits and underscores only; choose one")
    return path.with_name(name)


def index_path(path: str | Path) -> Path:
    """Return where the index table of a sequence stands: ``gre_seq_index.json`` beside ``gre.seq`` or ``gre_seq``."""
    plain = bruker_path(path)
    return plain.with_name(f"{plain.name}_index.json")


def write_bruker(
    sequence: pypulseq.Sequence | SeqFile,
    path: str | Path,
    *,
    scanner: Scanner,
    definitions: Mapping[str, Any] | None = None,
    force: bool = False,
) -> CheckReport:
    """Write `sequence` and its index table for the public Bruker interpreter, or refuse it with all reasons.

    Parameters
    ----------
    sequence
        What to write, a pypulseq sequence or a file that was read; it is not changed.
    path
        The file to appear; symbols in its name become underscores (see `bruker_path` and `index_path`).
    scanner
        A Bruker scanner, whose limits hold.
    definitions
        Additions to `[DEFINITIONS]`; they replace those of the sequence. FOV [m] and Name must be there in the end.
    force
        Whether to replace existing files.

    Returns
    -------
    CheckReport
        What the check found, with gradients in % of the maximum and B1 in reference pulses among its peaks.

    Raises
    ------
    ProtocolError
        If the interpreter cannot play the sequence, or would play something else; every reason is told.
    MismatchError
        If what was read back is not what was asked for.
    OutputExistsError
        If a file exists and `force` is false.
    """
    if scanner.vendor.lower() != "bruker":
        raise ProtocolError(f"{scanner.name} is of {scanner.vendor}: this writes for Bruker; use that vendor's export")
    target, table = bruker_path(path), index_path(path)
    for output in (target, table):
        require_writable(output, force=force)
    labelled = sequence if isinstance(sequence, SeqFile) else None
    if isinstance(sequence, SeqFile):
        sequence = stored_sequence(sequence, scanner)
    if not sequence.block_events:
        raise ProtocolError("the sequence holds no block: add one")
    larmor = 1e-6 * scanner.gamma * scanner.field_strength
    stated = stated_definitions(sequence, scanner, {**sequence.definitions, **(definitions or {})} | _rasters(sequence))
    if labelled is None:
        labelled = _labelled(sequence, stated, larmor)
    plain = _plain_blocks(sequence)
    if len(plain.block_events) > MOST_BLOCKS:
        _require_playable(labelled, f"{len(plain.block_events)} blocks are too many", scanner)
    with atomic_file(table, force=force) as index, atomic_file(target, force=force) as text:
        try:
            packed: SeqFile | str = write_compared(plain, text, _PLAIN, stated, larmor)
        except ProtocolError as error:
            packed = str(error)
        _require_playable(labelled, packed, scanner)
        written = write_compared(plain, text, _PLAIN, stated, larmor, packed=False)
        report = check(written, scanner)
        index.write_text(to_json(index_table(labelled, written, target.name)), encoding="utf-8")
    findings = tuple(one for one in report.findings if not one.rule.startswith("label"))  # labels are in the table
    return replace(report, findings=findings, peaks=report.peaks | bruker_peaks(report, scanner))


def bruker_peaks(report: CheckReport, scanner: Scanner) -> dict[str, float]:
    """Return gradients in % of the maximum and B1 relative to the reference pulse, from the peaks of a check."""
    percent = {
        name.replace("[mT/m]", "[% of maximum]"): 1e-1 * value / scanner.max_gradient
        for name, value in report.peaks.items()
        if name.startswith("gradient") and name.endswith("[mT/m]")
    }
    return percent | {"B1 [reference pulses]": 1e-6 * report.peaks["B1 [uT]"] * scanner.gamma / REFERENCE_B1}


def _rasters(sequence: pypulseq.Sequence) -> dict[str, float]:
    return {
        "GradientRasterTime": sequence.grad_raster_time,
        "BlockDurationRaster": sequence.block_duration_raster,
        "RadiofrequencyRasterTime": sequence.rf_raster_time,
        "AdcRasterTime": sequence.adc_raster_time,
    }


def _labelled(sequence: pypulseq.Sequence, stated: dict[str, str], larmor: float) -> SeqFile:
    """Return all of the sequence, labels included, as our reader sees it."""
    with TemporaryDirectory() as folder:
        return write_compared(sequence, Path(folder) / "labelled.seq", _FULL, stated, larmor)


def _plain_blocks(sequence: pypulseq.Sequence) -> pypulseq.Sequence:
    """Return a view of the sequence without labels, triggers and soft delays, nor blocks that held nothing else."""
    plain = copy.copy(sequence)
    plain.block_events = {
        name: np.append(row[:6], 0)
        for name, row in sequence.block_events.items()
        if sequence.block_durations[name] > 0 or np.any(row[1:6])
    }
    return plain


def _require_playable(labelled: SeqFile, written: SeqFile | str, scanner: Scanner) -> None:
    """Raise with every reason, if there is one; `written` is the sequence in 1.4.1, or why it cannot be written."""
    played = labelled if isinstance(written, str) else written
    found = [one for one in bruker_findings(played, scanner) if one.rule not in (*REPORTED, *MENDED)]
    if played is written:
        found = left_out(labelled) + found
    told = (replace(one, severity="") for one in (*found, *check(played, scanner).errors))
    reasons = [" ".join(str(one).split()) for one in told]
    if isinstance(written, str) and not reasons:
        reasons = [written]
    if reasons:
        raise ProtocolError(
            f"not written, for the public interpreter of {scanner.vendor} {scanner.name} cannot play it: "
            + "; ".join(reasons)
        )
