"""RF shapes for Bruker's ParaVision and TopSpin: JCAMP-DX files of amplitude [%] and phase [degrees].

The header states what the console needs to find the power of a pulse: `SHAPE_INTEGFAC`, its integral relative to a
rectangle of the same peak, ``|sum b_n| / (N max |b_n|)``, and `SHAPE_BWFAC`, bandwidth times duration. A pulse of flip
angle a [degrees] and duration T [ms] needs ``250 Hz (a / 90) / (T INTEGFAC)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.sequences.events import Array

MODES = {
    "excitation": ("Excitation", ".exc"),
    "inversion": ("Inversion", ".inv"),
    "refocusing": ("Refocussing", ".rfc"),
}
_REMEDY = "give a file that ParaVision, TopSpin or this package wrote"
_SAME = 1e-6
_OFFSETS, _MOST_PARTS = 1601, 512


@dataclass(frozen=True, slots=True)
class RfShape:
    """An RF shape and the factors that scale it.

    Parameters
    ----------
    envelope
        Complex envelope relative to its peak, complex128 ``[point]``.
    flip_angle
        Which it was designed for [rad].
    mode
        ``excitation``, ``inversion`` or ``refocusing``.
    bandwidth_factor
        Full width at half maximum of what it does, times its duration; 0 if unknown.
    integral_factor
        Its integral relative to a rectangle of the same peak and duration.
    rephasing
        Share of the duration that passes after the effective rotation, 0 to 1.
    """

    envelope: Array
    flip_angle: float
    mode: str
    bandwidth_factor: float
    integral_factor: float
    rephasing: float


def rf_shape(rotation: Array, mode: str = "excitation", flip_angle: float | None = None) -> RfShape:
    """Return the shape of a pulse and its factors.

    Parameters
    ----------
    rotation
        Rotation by each of its even samples, ``2 pi B1 dt`` with B1 in Hz [rad], complex ``[point]``.
    mode
        ``excitation``, ``inversion`` or ``refocusing``: the bandwidth is that of ``|Mxy|``, of the inverted part of
        Mz, or of the refocused part.
    flip_angle
        [rad]; by default that of the pulse on resonance. Give pi for adiabatic pulses.

    Raises
    ------
    ProtocolError
        If the mode is unknown, the pulse is empty, not finite or zero, or has no integral to scale it by.
    """
    if mode not in MODES:
        raise ProtocolError(f"no mode {mode!r}; there are {', '.join(MODES)}")
    rotation = np.asarray(rotation, complex).ravel()
    if len(rotation) < 2 or not np.all(np.isfinite(rotation)) or not np.any(rotation):
        raise ProtocolError("a shape needs two or more finite samples that are not all 0")
    envelope = rotation / np.abs(rotation).max()
    integral = abs(envelope.mean())
    if integral < _SAME:
        raise ProtocolError("the integral of the pulse is 0, by which the console finds its power: change the pulse")
    flip = float(abs(rotation.sum())) if flip_angle is None else flip_angle
    peak = np.flatnonzero(np.abs(envelope) > 1 - 1e-5)
    rephasing = 1 - (peak[0] + peak[-1] + 1) / (2 * len(envelope))
    return RfShape(envelope, flip, mode, _bandwidth(rotation, mode), float(integral), float(rephasing))


def write_shape(shape: RfShape, path: str | Path, *, force: bool = False, when: datetime | None = None) -> None:
    """Write a shape, read it back and compare.

    Parameters
    ----------
    shape
        What to write.
    path
        Its name ends in ``.exc``, ``.inv`` or ``.rfc``, as its mode.
    force
        Whether to replace an existing file.
    when
        Date and time in the header; by default now.

    Raises
    ------
    ProtocolError
        If the name's end is not that of the mode.
    MismatchError
        If what was read back is not what was written.
    """
    word, suffix = MODES[shape.mode]
    if Path(path).suffix != suffix:
        raise ProtocolError(f"{path}: ParaVision lists shapes of mode {shape.mode} by the end {suffix}; name it so")
    text = _text(shape, word, Path(path).stem, when or datetime.now(UTC))
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(text.encode("ascii", "replace"))
        back = read_shape(temporary)
        same = back.mode == shape.mode and np.allclose(back.envelope, shape.envelope, rtol=0, atol=_SAME)
        if not same or not np.allclose(_factors(back), _factors(shape), rtol=_SAME, atol=_SAME):
            raise MismatchError(f"{path}: the shape was read back differently; check the disk, and write again")


def read_shape(path: str | Path) -> RfShape:
    """Read a shape.

    Raises
    ------
    FileError
        If it is no shape, or damaged.
    """
    try:
        lines = Path(path).read_text("latin-1").splitlines()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the path and the permissions") from None
    header, points = _parts(lines)
    try:
        count = int(header["NPOINTS"])
        values = np.array([[float(word) for word in line.replace(",", " ").split()] for line in points])
        if values.shape != (count, 2):
            raise ValueError(f"{count} points stated, {values.shape} values found")
        envelope = values[:, 0] * np.exp(1j * np.deg2rad(values[:, 1])) / 100
        words = header.get("$SHAPE_EXMODE", ""), header.get("$SHAPE_TYPE", "")
        numbers = (float(header.get(f"$SHAPE_{name}") or 0) for name in ("TOTROT", "BWFAC", "INTEGFAC", "REPHFAC"))
        rotation, bandwidth, integral, rephasing = numbers
    except (KeyError, ValueError) as error:
        raise FileError(path, f"is no RF shape ({error})", _REMEDY) from None
    mode = next((name for word in words for name in MODES if word.lower()[:5] == name[:5]), "excitation")
    return RfShape(envelope, float(np.deg2rad(rotation)), mode, bandwidth, integral, rephasing / 100)


def _factors(shape: RfShape) -> list[float]:
    return [shape.flip_angle, shape.bandwidth_factor, shape.integral_factor, shape.rephasing]


def _parts(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the header and the lines of points."""
    header: dict[str, str] = {}
    points: list[str] = []
    for line in (line.split("$$")[0].strip() for line in lines):
        if line.startswith("##"):
            name, _, value = line[2:].partition("=")
            header[name.strip()] = value.strip()
        elif line and "XYPOINTS" in header and "END" not in header:
            points.append(line)
    return header, points


def _text(shape: RfShape, word: str, title: str, when: datetime) -> str:
    size = 100 * np.abs(shape.envelope)
    phase = np.mod(np.round(np.rad2deg(np.angle(shape.envelope)), 6), 360)
    phase[size < 1e-5] = 0.0
    header = {
        "TITLE": title,
        "JCAMP-DX": "5.00 Bruker JCAMP library",
        "DATA TYPE": "Shape Data",
        "ORIGIN": "pulsetwin",
        "OWNER": "<nmr>",
        "DATE": f"{when:%Y/%m/%d}",
        "TIME": f"{when:%H:%M:%S}",
        "MINX": f"{size.min():.6e}",
        "MAXX": f"{size.max():.6e}",
        "MINY": f"{phase.min():.6e}",
        "MAXY": f"{phase.max():.6e}",
        "$SHAPE_EXMODE": word,
        "$SHAPE_TOTROT": f"{np.rad2deg(shape.flip_angle):.6e}",
        "$SHAPE_TYPE": word,
        "$SHAPE_BWFAC": f"{shape.bandwidth_factor:.6e}",
        "$SHAPE_INTEGFAC": f"{shape.integral_factor:.6e}",
        "$SHAPE_REPHFAC": f"{100 * shape.rephasing:.9g}",
        "$SHAPE_MODE": "0",
        "NPOINTS": str(len(size)),
        "XYPOINTS": "(XY..XY)",
    }
    lines = [f"##{name}= {value}" for name, value in header.items()]
    lines += [f"{one:.6e}, {angle:.6e}" for one, angle in zip(size, phase, strict=True)]
    return "\n".join([*lines, "##END=", ""])


def _bandwidth(rotation: Array, mode: str) -> float:
    """Return full width at half maximum times duration, by the Bloch equations over offsets.

    The span of offsets is that of the pulse's spectrum; the width is that of the outermost half maxima.
    """
    from sigpy.mri.rf.sim import abrm  # seconds at start-up, spared to those who do not need it

    parts = min(len(rotation), _MOST_PARTS)
    edges = np.linspace(0, len(rotation), parts + 1)
    total = np.concatenate(([0], np.cumsum(rotation)))
    coarse = np.diff(np.interp(edges, np.arange(len(total)), total))
    spectrum = np.abs(np.fft.fftshift(np.fft.fft(coarse, 8 * parts)))
    cycles = (np.arange(8 * parts) - 4 * parts) / 8
    reach = 2 + 1.5 * np.abs(cycles[spectrum > 0.05 * spectrum.max()]).max()
    offset = np.linspace(-reach, reach, _OFFSETS)
    alpha, beta = abrm(coarse, offset)
    effect = 2 * np.abs(alpha * beta) if mode == "excitation" else np.abs(beta) ** 2
    half = effect.max() / 2
    above = np.flatnonzero(effect >= half)
    if above[0] == 0 or above[-1] == len(offset) - 1:
        return float(np.ptp(offset[above[[0, -1]]]))
    left, right = (_crossing(offset, effect, inner, outer, half) for inner, outer in ((above[0], -1), (above[-1], 1)))
    return right - left


def _crossing(offset: Array, effect: Array, inside: int, step: int, half: float) -> float:
    """Return where the effect crosses `half` between the point `inside` and its neighbour."""
    outside = inside + step
    share = (effect[inside] - half) / (effect[inside] - effect[outside])
    return float(offset[inside] + share * (offset[outside] - offset[inside]))
