"""Write a sequence for Siemens interpreters: checked before, read back and compared after, and only then in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.atomic import atomic_file, require_writable
from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.export.findings import UNSAFE, CheckReport, Finding
from pulsetwin.export.playable import check
from pulsetwin.export.seq_rules import ERROR, text_faults
from pulsetwin.export.siemens_compare import require_same
from pulsetwin.export.siemens_text import Version, seq_text, used_events
from pulsetwin.export.siemens_values import definition
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import SeqFile, read_seq

if TYPE_CHECKING:
    import pypulseq

_VERSIONS: dict[str, Version] = {"1.4.1": (1, 4, 1), "1.5": (1, 5, 0), "1.5.0": (1, 5, 0)}
_RASTERS = {
    "GradientRasterTime": ("grad_raster_time", 10e-6),
    "BlockDurationRaster": ("block_duration_raster", 10e-6),
    "RadiofrequencyRasterTime": ("rf_raster_time", 1e-6),
    "AdcRasterTime": ("adc_raster_time", 100e-9),
}
_STOPS_INTERPRETER = ("label-start",)
_GAMMA = 1e-3
_LARGEST_FOV = 1.0
_LARGEST_TE = 10.0


def write_siemens(
    sequence: pypulseq.Sequence,
    path: str | Path,
    *,
    scanner: Scanner,
    version: str = "1.4.1",
    definitions: Mapping[str, Any] | None = None,
    force: bool = False,
    unsafe: bool = False,
) -> CheckReport:
    """Write `sequence` as a `.seq` file that Siemens interpreters play as designed, or refuse and write nothing.

    Phases are wrapped into [0, 2 pi), constant pulses are sampled on the RF raster, equal events are written once.
    The file is written under a temporary name, read back, compared event by event with the sequence (gradients and RF
    to 1e-6 of their peak, phases to 1e-5 rad, times exactly), checked against the rules of the text and the limits of
    the scanner, and then moved into place. 1.4.1 has no place for use and centre of pulses nor for the edges of shaped
    gradients: its readers infer them.

    Parameters
    ----------
    sequence
        What to write; it is not changed.
    path
        The file to appear, its name ending in ``.seq``.
    scanner
        Whose limits hold; its field turns offsets in ppm into Hz and rad where the version has no ppm.
    version
        ``1.4.1``, which all interpreters of 1.4 and 1.5 read, or ``1.5``.
    definitions
        Additions to `[DEFINITIONS]`; they replace those of the sequence. FOV [m] and Name must be there in the end.
    force
        Whether to replace an existing file.
    unsafe
        Whether to write although the check against the scanner fails; the file then says so in its definition
        `UnsafeChecksFailed`.

    Returns
    -------
    CheckReport
        What the check found.

    Raises
    ------
    ProtocolError
        If the version cannot express the sequence, definitions are missing or wrong, or the check fails.
    MismatchError
        If what was read back is not what was asked for.
    OutputExistsError
        If `path` exists and `force` is false.
    """
    if scanner.vendor.lower() != "siemens":
        raise ProtocolError(f"{scanner.name} is of {scanner.vendor}: this writes for Siemens; use that vendor's export")
    return write_seq(
        sequence, path, scanner=scanner, version=version, definitions=definitions, force=force, unsafe=unsafe
    )


def write_seq(
    sequence: pypulseq.Sequence,
    path: str | Path,
    *,
    scanner: Scanner,
    version: str = "1.4.1",
    definitions: Mapping[str, Any] | None = None,
    force: bool = False,
    unsafe: bool = False,
) -> CheckReport:
    """Write `sequence` for a scanner of any vendor, with the rasters and by the rules of `write_siemens`.

    Such a file is for the twin, for sites with an interpreter of their own, and for `write_bruker`.
    """
    target = _version(version)
    if Path(path).suffix != ".seq":
        raise ProtocolError(f"{path}: the scanner lists files that end in .seq; choose such a name")
    require_writable(path, force=force)
    _require_sequence(sequence, scanner)
    larmor = 1e-6 * scanner.gamma * scanner.field_strength
    rasters = {name: needed for name, (_, needed) in _RASTERS.items()}
    stated = stated_definitions(sequence, scanner, {**sequence.definitions, **(definitions or {})} | rasters)
    with atomic_file(path, force=force) as temporary:
        seq = write_compared(sequence, temporary, target, stated, larmor)
        report = check(seq, scanner)
        failed = [*report.errors, *(note for note in report.warnings if note.rule in _STOPS_INTERPRETER)]
        if failed and not unsafe:
            raise ProtocolError(_verdict(failed, scanner))
        if failed:
            stated[UNSAFE] = ",".join(sorted({finding.rule for finding in failed}))
            write_compared(sequence, temporary, target, stated, larmor)
    return report


def write_compared(
    sequence: pypulseq.Sequence,
    path: Path,
    version: Version,
    definitions: dict[str, str],
    larmor: float,
    *,
    packed: bool = True,
) -> SeqFile:
    """Write a file, and return it as read back after comparing it with the sequence and the rules of the text.

    Parameters
    ----------
    sequence, version, definitions, larmor, packed
        See `siemens_text.seq_text`.
    path
        Where to write; an existing file is replaced.

    Raises
    ------
    ProtocolError
        If the version cannot express the sequence, or the official reader would refuse or misread the text.
    MismatchError
        If what was read back is not what was asked for.
    """
    path.write_bytes(seq_text(sequence, version, definitions, larmor, packed=packed).encode("utf-8"))
    faults = [fault for fault in text_faults(path) if fault.severity == ERROR]
    if faults:
        raise ProtocolError(f"the official reader would refuse or misread the file: {faults[0]}")
    seq = read_seq(path)
    if not seq.signature_valid:
        raise MismatchError(f"{path.name}: the signature is not that of the text; check the disk, and write again")
    require_same(seq, sequence, larmor)
    return seq


def _verdict(failed: list[Finding], scanner: Scanner) -> str:
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    shown = "; ".join(" ".join(str(finding).split()) for finding in failed[:3])
    return f"not written, for {scanner.vendor} {scanner.name} cannot play it: {shown}{more}; mend it, or say unsafe"


def _version(version: str) -> Version:
    if version not in _VERSIONS:
        raise ProtocolError(f"version {version!r} cannot be written: choose 1.4.1, or 1.5 where its interpreter runs")
    return _VERSIONS[version]


def _require_sequence(sequence: pypulseq.Sequence, scanner: Scanner) -> None:
    """Raise unless there are blocks, and rasters and nucleus are the scanner's."""
    if not sequence.block_events:
        raise ProtocolError("the sequence holds no block: add one")
    for name, (attribute, needed) in _RASTERS.items():
        value = getattr(sequence, attribute)
        if not math.isclose(value, needed, rel_tol=1e-6):
            raise ProtocolError(
                f"{name} is {1e6 * value:g} us, where Siemens interpreters play {1e6 * needed:g} us only: build the "
                "sequence with the scanner's opts"
            )
    if not math.isclose(sequence.system.gamma, scanner.gamma, rel_tol=_GAMMA):
        raise ProtocolError(
            f"the sequence was designed for gamma {sequence.system.gamma:g} Hz/T, the scanner has {scanner.gamma:g}: "
            "build it with the scanner's opts"
        )


def stated_definitions(sequence: pypulseq.Sequence, scanner: Scanner, values: dict[str, Any]) -> dict[str, str]:
    """Return the definitions `values` (rasters included) as text, with duration and, for offsets in ppm, the field.

    Raises
    ------
    ProtocolError
        If one is missing that the reconstruction reads, has no form in a file, or contradicts the scanner.
    """
    values.pop(UNSAFE, None)
    values["TotalDuration"] = float(math.fsum(sequence.block_durations.values()))
    if _has_ppm(sequence):
        field = values.setdefault("B0", scanner.field_strength)
        if not _is_number(field) or not math.isclose(field, scanner.field_strength, rel_tol=1e-4):
            raise ProtocolError(
                f"definition B0 is {field!r} T, {scanner.name} has {scanner.field_strength:g} T, and offsets in ppm "
                "depend on it: leave it out, or choose the scanner that it was made for"
            )
    try:
        texts = {name: definition(name, value) for name, value in values.items()}
    except ValueError as error:
        raise ProtocolError(str(error)) from None
    _require_for_reconstruction(values)
    return texts


def _has_ppm(sequence: pypulseq.Sequence) -> bool:
    pulses = (sequence.rf_library.data[event][6:8] for event in used_events(sequence, (1,)))
    acquisitions = (sequence.adc_library.data[event][3:5] for event in used_events(sequence, (5,)))
    return any(np.any(pair) for pair in (*pulses, *acquisitions))


def _require_for_reconstruction(values: dict[str, Any]) -> None:
    """Raise unless the definitions that the online reconstruction reads are there and in their units."""
    name = values.get("Name")
    if not isinstance(name, str) or not name.strip():
        raise ProtocolError("definition Name is missing, by which the scan is known: give it in definitions")
    fov = np.asarray(values.get("FOV", []), float).ravel() if _are_numbers(values.get("FOV", [])) else np.zeros(0)
    if fov.shape != (3,) or not np.all((fov > 0) & (fov <= _LARGEST_FOV)):
        raise ProtocolError(
            f"definition FOV is {values.get('FOV')!r}, where the reconstruction needs three lengths x, y, z in m, each "
            f"above 0 and at most {_LARGEST_FOV:g}: give it in definitions"
        )
    for key in ("TE", "TR", "TI"):
        times = np.asarray(values[key], float).ravel() if _are_numbers(values.get(key)) else np.array([np.nan])
        largest = _LARGEST_TE if key == "TE" else 10 * _LARGEST_TE
        if key in values and not np.all((times > 0) & (times < largest)):
            raise ProtocolError(f"definition {key} is {values[key]!r}, where times in s belong: correct it")
    for key in ("AccelerationFactorPE", "AccelerationFactor3D", "ReadoutOversamplingFactor", "SliceThickness"):
        if key in values and not (_is_number(values[key]) and values[key] > 0):
            raise ProtocolError(f"definition {key} is {values[key]!r}, where a number above 0 belongs: correct it")


def _are_numbers(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, (list, tuple, np.ndarray)) and all(map(_is_number, value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)
