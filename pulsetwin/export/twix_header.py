"""The text header of a written TWIX file: the keys that readers need, and nothing invented beyond them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.twix_geometry import LPS_TO_RAS, READ_SIGN, directions

SEQUENCE = "%CustomerSeq%\\pulseq"


def slice_axes(raw: RawData, pulseq: bool) -> tuple[np.ndarray, float]:
    """Return phase, read and slice direction (LPS, columns) and the sign of x along the read direction.

    Raises
    ------
    ProtocolError
        If the geometry's rotation is not orthonormal.
    """
    x, y, z = (LPS_TO_RAS @ raw.geometry.rotation).T
    if not np.allclose(raw.geometry.rotation.T @ raw.geometry.rotation, np.eye(3), atol=1e-4):
        raise ProtocolError("the geometry's rotation is not orthonormal: give unit vectors at right angles as columns")
    sign = 1.0 if pulseq else -1.0
    p, r = sign * y, np.cross(z, sign * y)
    return np.stack([p, r, z], axis=1), float(np.sign(sign * r @ x))


def header_block(raw: RawData, signature: str, dwell: float, slices: int) -> bytes:
    """Return the header of one measurement, its length divisible by 32.

    Parameters
    ----------
    raw
        The scan.
    signature
        Signature of the `.seq`, empty without one.
    dwell
        Dwell time [s].
    slices
        Number of slices.
    """
    sequence = str(raw.header.get("sequence") or SEQUENCE)
    pulseq = bool(signature) or "pulseq" in sequence.lower()
    protocol = _ascconv(_protocol(raw, sequence, pulseq, dwell, slices))
    position = raw.geometry.patient_position or "HFS"
    software = str(raw.header.get("software") or "syngo MR E11")
    strength = float(raw.header.get("field_strength") or 0.0)
    order = " ".join(str(k) for k in range(slices)) + " -1"
    texts = {
        "Config": _xprotocol("Config", {"chronSliceIndices": order, "PatientPosition": position}),
        "Dicom": _xprotocol(
            "DICOM",
            {
                "SoftwareVersions": software,
                "Manufacturer": "pulsetwin",
                "ManufacturersModelName": str(raw.header.get("model") or ""),
                "tSequenceVariant": signature or "SK",
                "tPatientPosition": position,
                "flMagneticFieldStrength": strength,
                "flReadoutOSFactor": _oversampling(raw),
                "lFrequency": int(raw.header.get("frequency") or 0),
            },
        ),
        "Meas": _xprotocol("Meas", {"alRegridMode": [1, 1], "tPatientPosition": position, "flNominalB0": strength}),
        "MeasYaps": protocol,
        "Phoenix": protocol,
        "Spice": _xprotocol("Spice", {"tPatientPosition": position}),
    }
    return _pack(texts)


def _protocol(raw: RawData, sequence: str, pulseq: bool, dwell: float, slices: int) -> Iterable[tuple[str, Any]]:
    axes, read_sign = slice_axes(raw, pulseq)
    fov, matrix = raw.geometry.fov, raw.geometry.matrix
    yield "tSequenceFileName", f'"{sequence}"'
    yield READ_SIGN, int(read_sign)
    yield "sKSpace.lBaseResolution", matrix[0]
    yield "sKSpace.lPhaseEncodingLines", matrix[1]
    yield "sKSpace.lPartitions", matrix[2]
    yield "sKSpace.ucDimension", 4 if matrix[2] > 1 else 2
    yield "sKSpace.ucTrajectory", 1
    yield "sRXSPEC.alDwellTime[0]", round(1e9 * dwell)
    yield "sSliceArray.lSize", slices
    centres = 1e3 * raw.geometry.centers @ LPS_TO_RAS
    for k in range(slices):
        name = f"sSliceArray.asSlice[{k}]"
        yield f"{name}.dReadoutFOV", 1e3 * fov[0]
        yield f"{name}.dPhaseFOV", 1e3 * fov[1]
        yield f"{name}.dThickness", 1e3 * fov[2]
        yield f"{name}.dInPlaneRot", _inplane_rotation(axes)
        for axis, normal, centre in zip(
            ("dSag", "dCor", "dTra"), axes[:, 2], centres[min(k, len(centres) - 1)], strict=True
        ):
            yield f"{name}.sNormal.{axis}", normal
            yield f"{name}.sPosition.{axis}", centre


def _inplane_rotation(axes: np.ndarray) -> float:
    p0, r0, _ = directions(axes[:, 2], 0.0).T
    return float(np.arctan2(-axes[:, 0] @ r0, axes[:, 0] @ p0))


def _oversampling(raw: RawData) -> float:
    """Return how much finer than the field of view demands the samples of the first group lie."""
    path = raw.groups[0].trajectory
    if path is None or path.shapes.shape[1] < 2:
        return 1.0
    middle = path.shapes.shape[1] // 2
    step = abs(path.shapes[0, middle, 0] - path.shapes[0, middle - 1, 0]) * raw.geometry.fov[0]
    return float(np.clip(1 / step, 1.0, 16.0)) if step > 0 else 1.0


def _ascconv(values: Iterable[tuple[str, Any]]) -> str:
    lines = (
        f"{name}\t = \t{value:.12g}" if isinstance(value, float) else f"{name}\t = \t{value}" for name, value in values
    )
    return "### ASCCONV BEGIN ###\n" + "\n".join(lines) + "\n### ASCCONV END ###\n"


def _xprotocol(name: str, values: dict[str, Any]) -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, str):
            lines.append(f'<ParamString."{key}">  {{ "{value}"  }}')
        elif isinstance(value, float):
            lines.append(f'<ParamDouble."{key}">  {{ <Precision> 6  {value:.6f}  }}')
        elif isinstance(value, int):
            lines.append(f'<ParamLong."{key}">  {{ {value}  }}')
        else:
            lines.append(f'<ParamLong."{key}">  {{ {" ".join(str(v) for v in value)}  }}')
    body = "\n      ".join(lines)
    return f'<XProtocol>\n{{\n  <Name> "{name}"\n  <ParamMap."">\n  {{\n      {body}\n  }}\n}}\n'


def _pack(texts: dict[str, str]) -> bytes:
    body = b"".join(
        name.encode() + b"\0" + len(text := value.encode("latin1", "replace") + b"\0").to_bytes(4, "little") + text
        for name, value in texts.items()
    )
    length = -(-(8 + len(body)) // 32) * 32
    return np.array([length, len(texts)], "<u4").tobytes() + body.ljust(length - 8, b"\0")
