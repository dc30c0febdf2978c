"""The text header of a TWIX measurement: what the scanner says of itself and of the protocol.

The header holds named text buffers. Only `Dicom` (who measured) and `MeasYaps` (the protocol as assignments) are
parsed, by `twixtools`; both are cleaned first, because a damaged index or an endless line would cost it minutes or
gigabytes. The protocol is there twice (`MeasYaps` and `Phoenix`): where the copies differ, one of them is damaged.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.recon.twix_raid import COPY_AGAIN, Measurement

_NAME = re.compile(rb"(\w{4,63})\x00(.{4})", re.DOTALL)
_SIGNATURE = re.compile(r"[0-9a-f]{32}")
_ASSIGNMENT = re.compile(rb"^[ \t]*([A-Za-z_][\w.\[\]]{0,199})[ \t]*=[ \t]*([^\n]{0,999})$", re.MULTILINE)
_HUGE_INDEX = re.compile(rb"\[\d{5,}\]")
_LARGEST_DICOM = 200_000
_TWICE = (b"sSliceArray.", b"sKSpace.", b"sRXSPEC.alDwellTime", b"tSequenceFileName", b"sWipMemBlock.")


@dataclass(frozen=True, slots=True)
class Header:
    """Parsed header: `dicom` and `protocol` as `twixtools` gives them, `gridded` if the vendor regrids ramp samples."""

    dicom: dict[str, Any]
    protocol: dict[str, Any]
    gridded: bool
    warnings: tuple[str, ...]

    @property
    def signature(self) -> str:
        """Signature of the `.seq` the scan was played from, empty if there is none."""
        text = str(self.dicom.get("tSequenceVariant", "")).strip().lower()
        return text if _SIGNATURE.fullmatch(text) else ""

    @property
    def sequence(self) -> str:
        """Name of the sequence on the scanner."""
        return str(self.protocol.get("tSequenceFileName", "")).strip('"')

    @property
    def pulseq(self) -> bool:
        """Whether the scan was played by a Pulseq interpreter."""
        return bool(self.signature) or "pulseq" in self.sequence.lower()

    @property
    def dwell(self) -> float:
        """Dwell time of the protocol [s], 0 if unknown."""
        return 1e-9 * number(self.protocol, "sRXSPEC.alDwellTime.0")

    @property
    def field_strength(self) -> float:
        """Static field [T], 0 if unknown."""
        return number(self.dicom, "flMagneticFieldStrength")

    @property
    def patient_position(self) -> str:
        """DICOM code such as HFS, empty if unknown."""
        text = str(self.dicom.get("tPatientPosition", "")).strip().upper()
        return text if re.fullmatch(r"(HF|FF)(S|P|DR|DL)", text) else ""


def number(tree: Any, path: str, default: float = 0.0) -> float:
    """Return the number at a dotted path of a parsed header (`sKSpace.lPartitions`), or `default`."""
    for key in path.split("."):
        if isinstance(tree, list) and key.isdigit() and int(key) < len(tree):
            tree = tree[int(key)]
        elif isinstance(tree, dict) and key in tree:
            tree = tree[key]
        else:
            return default
    try:
        value = float(int(tree, 16) if isinstance(tree, str) and tree.startswith("0x") else tree)
    except (TypeError, ValueError):
        return default
    return value if np.isfinite(value) else default


def read_header(path: Path, measurement: Measurement) -> Header:
    """Read and parse the header of a measurement.

    Raises
    ------
    TwixError
        If the buffers do not fill the header, or one cannot be parsed.
    """
    with path.open("rb") as file:
        file.seek(measurement.start)
        block = file.read(measurement.header)
    buffers = _buffers(path, block, measurement.start)
    missing = [name for name in ("Dicom", "MeasYaps") if name not in buffers]
    if missing:
        raise TwixError(path, f"the header has no buffer {missing[0]}", COPY_AGAIN, f"byte {measurement.start}")
    dicom = _parse(path, "Dicom", buffers["Dicom"][:_LARGEST_DICOM])
    protocol = _parse(path, "MeasYaps", _assignments(buffers["MeasYaps"]))
    warnings = _differences(buffers["MeasYaps"], buffers.get("Phoenix", b""))
    return Header(dicom, protocol, _gridded(buffers.get("Meas", b"")), warnings)


def _buffers(path: Path, block: bytes, start: int) -> dict[str, bytes]:
    count = int(np.frombuffer(block, "<u4", 1, 4)[0])
    at, buffers = 8, {}
    for k in range(count):
        match = _NAME.match(block, at)
        length = int.from_bytes(match[2], "little") if match else -1
        if match is None or match.end() + length > len(block):
            where = f"byte {start + at}"
            raise TwixError(path, f"header buffer {k + 1} of {count} is damaged", COPY_AGAIN, where)
        buffers[match[1].decode()] = block[match.end() : match.end() + length]
        at = match.end() + length
    if len(block) - at > 512:
        problem = f"{len(block) - at} bytes of the header belong to no buffer"
        raise TwixError(path, problem, COPY_AGAIN, f"byte {start + at}")
    return buffers


def _parse(path: Path, name: str, text: bytes) -> dict[str, Any]:
    try:
        return dict(_twixprot().parse_buffer(text.decode("latin1")))
    except Exception as error:
        problem = f"header buffer {name} cannot be parsed ({type(error).__name__}: {error})"
        raise TwixError(path, problem, COPY_AGAIN) from error


@cache
def _twixprot() -> ModuleType:
    """Return `twixtools.twixprot` alone: the package itself imports matplotlib and takes a second."""
    package = importlib.util.find_spec("twixtools")
    path = Path(package.submodule_search_locations[0]) / "twixprot.py"
    spec = importlib.util.spec_from_file_location("pulsetwin._twixprot", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _assignments(text: bytes) -> bytes:
    """Keep the lines `name = value` that are safe to parse."""
    lines = (match.group() for match in _ASSIGNMENT.finditer(text))
    safe = b"\n".join(line for line in lines if not _HUGE_INDEX.search(line))
    return b"### ASCCONV BEGIN ###\n" + safe + b"\n### ASCCONV END ###"


def _differences(one: bytes, other: bytes) -> tuple[str, ...]:
    """Compare the two copies of the protocol where they speak of geometry and timing."""
    first, second = (
        {m[1]: m[2].strip() for m in _ASSIGNMENT.finditer(text) if m[1].startswith(_TWICE)} for text in (one, other)
    )
    if not second:
        return ()
    names = sorted(k.decode("latin1") for k in first.keys() | second.keys() if first.get(k) != second.get(k))
    if not names:
        return ()
    return (f"The header's two copies of the protocol differ in {', '.join(names[:5])}: one is damaged.",)


def _gridded(meas: bytes) -> bool:
    match = re.search(rb'"alRegridMode">\s{0,99}{\s{0,99}(\d+)', meas)
    return match is not None and int(match[1]) > 1
