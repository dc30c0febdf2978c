"""Gradient-system files of Siemens (`.asc`): nerve stimulation coefficients and acoustic resonances."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.scanner import SafeAxis, Scanner

_ASSIGNMENT = re.compile(r"^\s*([\w.\[\]]+)\s*=\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(?:#.*|//.*)?$", re.MULTILINE)
_NO_FILE = "give the scanner's MP_GPA_*.asc or MP_GradSys_*.asc"
_STIMULATION = ("", "GradPatSup.Phys.PNS.")
_SCALE = "asGPAParameters[0].sGCParameters.flGScaleFactor{}"
_RESONANCES = (
    ("aflGCAcousticResonanceFrequency[{}]", "aflGCAcousticResonanceBandwidth[{}]"),
    (
        "asGPAParameters[0].sGCParameters.aflAcousticResonanceFrequency[{}]",
        "asGPAParameters[0].sGCParameters.aflAcousticResonanceBandwidth[{}]",
    ),
)


def safe_axes_from_asc(path: str | Path, gradient_scale: float | None = None) -> tuple[SafeAxis, SafeAxis, SafeAxis]:
    """Read the SAFE coefficients of the x, y and z axes from a Siemens `.asc` file.

    Parameters
    ----------
    path
        Older files name the coefficients `flGSWDTauX[0]` and so on, newer ones put `GradPatSup.Phys.PNS.` before.
    gradient_scale
        The axes' scale where the file has none; no value is assumed.

    Raises
    ------
    FileError
        If the file cannot be read or a coefficient is missing or out of range; it is named.
    """
    numbers = _numbers(path)
    prefix = next((p for p in _STIMULATION if f"{p}flGSWDTauX[0]" in numbers), None)
    if prefix is None:
        raise FileError(path, "has no nerve stimulation coefficients (flGSWDTauX[0])", _NO_FILE)
    x, y, z = (_axis(path, numbers, prefix, name, gradient_scale) for name in "XYZ")
    return x, y, z


def forbidden_bands_from_asc(path: str | Path) -> tuple[tuple[float, float], ...]:
    """Read the acoustic resonances from a Siemens `.asc` file as bands of frequency (low, high) [Hz].

    Raises
    ------
    FileError
        If the file cannot be read or names no resonances.
    """
    numbers = _numbers(path)
    for frequency, bandwidth in _RESONANCES:
        if frequency.format(0) in numbers:
            count = next(n for n in range(len(numbers) + 1) if frequency.format(n) not in numbers)
            pairs = [(numbers[frequency.format(n)], _number(path, numbers, bandwidth.format(n))) for n in range(count)]
            return tuple((max(middle - width / 2, 0.0), middle + width / 2) for middle, width in pairs if middle > 0)
    raise FileError(path, "names no acoustic resonances (aflAcousticResonanceFrequency[0])", _NO_FILE)


def with_gradient_system(scanner: Scanner, path: str | Path) -> Scanner:
    """Return `scanner` with the nerve stimulation coefficients and the acoustic resonances that a `.asc` file states.

    Raises
    ------
    FileError
        If the file cannot be read, or states neither.
    ProtocolError
        If the scanner is not of Siemens.
    """
    if scanner.vendor.lower() != "siemens":
        raise ProtocolError(f"{scanner.name} is of {scanner.vendor}: put forbidden_bands and pns into its TOML file")
    numbers = _numbers(path)
    stimulates = any(f"{prefix}flGSWDTauX[0]" in numbers for prefix in _STIMULATION)
    resonates = any(frequency.format(0) in numbers for frequency, _ in _RESONANCES)
    if not (stimulates or resonates):
        raise FileError(path, "states neither nerve stimulation coefficients nor acoustic resonances", _NO_FILE)
    return replace(
        scanner,
        pns=safe_axes_from_asc(path) if stimulates else scanner.pns,
        forbidden_bands=forbidden_bands_from_asc(path) if resonates else scanner.forbidden_bands,
    )


def _numbers(path: str | Path) -> dict[str, float]:
    try:
        text = Path(path).read_text("utf-8", errors="replace")
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the name and the permissions") from None
    try:
        return {name: float(value) for name, value in _ASSIGNMENT.findall(text.split("### ASCCONV END ###")[0])}
    except ValueError as error:
        raise FileError(path, f"holds a number that cannot be read ({error})", _NO_FILE) from None


def _number(path: str | Path, numbers: dict[str, float], name: str) -> float:
    if name not in numbers:
        raise FileError(path, f"has no {name}", _NO_FILE)
    return numbers[name]


def _axis(
    path: str | Path, numbers: dict[str, float], prefix: str, axis: str, gradient_scale: float | None
) -> SafeAxis:
    t1, t2, t3 = (1e-3 * _number(path, numbers, f"{prefix}flGSWDTau{axis}[{n}]") for n in range(3))
    w1, w2, w3 = (_number(path, numbers, f"{prefix}flGSWDA{axis}[{n}]") for n in range(3))
    limit = _number(path, numbers, f"{prefix}flGSWDStimulationLimit{axis}")
    scale = numbers.get(_SCALE.format(axis), gradient_scale)
    if scale is None:
        raise FileError(
            path,
            f"has no {_SCALE.format(axis)}",
            "pass gradient_scale, as the vendor states it, or write pns into the scanner's TOML file",
        )
    if min(t1, t2, t3, limit, scale) <= 0:
        raise FileError(path, f"has a time constant, limit or scale of axis {axis} that is not above 0", _NO_FILE)
    if abs(w1 + w2 + w3 - 1) > 1e-3:
        raise FileError(path, f"the weights flGSWDA{axis} add up to {w1 + w2 + w3:g}, not to 1", _NO_FILE)
    return SafeAxis((t1, t2, t3), (w1, w2, w3), limit, scale)
