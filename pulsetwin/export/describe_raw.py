"""What is in a raw-data file, in plain words and numbers: for `pulsetwin info` and the report's protocol table."""

from __future__ import annotations

from typing import Any

import numpy as np

from pulsetwin.export.display import direction
from pulsetwin.rawdata import FLAGS, LABELS, Geometry, RawData, Readouts


def describe_raw(raw: RawData) -> dict[str, Any]:
    """Return readouts by kind, noise, geometry, what the header says and every warning; no sample is read."""
    return {
        "header": dict(raw.header),
        "coils": raw.coils,
        "readouts": [_describe_group(group) for group in raw.groups],
        "noise samples per coil": 0 if raw.noise is None else raw.noise.shape[1],
        "geometry": _describe_geometry(raw.geometry),
        "definitions": dict(raw.definitions),
        "warnings": list(raw.warnings),
    }


def protocol(raw: RawData) -> dict[str, str]:
    """Return the protocol table of the report, name to value with its unit."""
    group, geometry = raw.groups[0], raw.geometry
    imaging = group.flag("imaging")
    first_dwell = float(group.dwell[0])
    rows = {
        "Sequence": str(raw.definitions.get("Name") or raw.header.get("sequence") or ""),
        "Field of view": " × ".join(f"{1e3 * fov:.4g}" for fov in geometry.fov) + " mm",
        "Matrix": " × ".join(str(n) for n in geometry.matrix),
        "Slices": str(len(geometry.centers)),
        "Orientation": _orientation(geometry),
        "Patient position": geometry.patient_position,
        "Receive channels": str(raw.coils),
        "Imaging readouts": f"{int(imaging.sum())} of {group.samples.shape[2]} samples",
        "Dwell time": f"{1e6 * first_dwell:.4g} µs ({1e-3 / first_dwell:.4g} kHz)" if first_dwell > 0 else "",
        "Time from first to last readout": f"{np.ptp(group.start_time):.4g} s",
        "Noise samples": "none" if raw.noise is None else f"{raw.noise.shape[1]} per channel",
    }
    rows |= {f"{name} (.seq)": _brief(value) for name, value in raw.definitions.items() if name not in ("Name", "FOV")}
    rows |= {f"{name} (raw file)": _brief(value) for name, value in raw.header.items() if _is_plain(value)}
    return {name: value for name, value in rows.items() if value}


def _describe_group(group: Readouts) -> dict[str, Any]:
    """Count the readouts of one length by kind, and give the range of their labels."""
    kinds = {name: int(group.flag(name).sum()) for name in FLAGS}
    ranges = {name: (int(group.label(name).min()), int(group.label(name).max())) for name in LABELS if len(group)}
    return {
        "count": len(group),
        "samples": group.samples.shape[2],
        "dwell_us": sorted({round(1e6 * float(dwell), 4) for dwell in np.unique(group.dwell)}),
        "kinds": {name: count for name, count in kinds.items() if count},
        "labels": {name: f"{low} to {high}" for name, (low, high) in ranges.items() if high or low},
        "trajectory": group.trajectory is not None,
    }


def _describe_geometry(geometry: Geometry) -> dict[str, Any]:
    """Give the volume's size, place and directions."""
    return {
        "fov_mm": [round(1e3 * fov, 4) for fov in geometry.fov],
        "matrix": list(geometry.matrix),
        "slices": len(geometry.centers),
        "orientation": _orientation(geometry),
        "centre_ras_mm": [round(float(1e3 * mm), 3) for mm in geometry.centers.mean(axis=0)],
        "patient_position": geometry.patient_position,
    }


def _orientation(geometry: Geometry) -> str:
    """Name the slice plane and where x and y point."""
    plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(geometry.rotation[:, 2])))]
    return f"{plane}, x to {direction(geometry.rotation[:, 0])}, y to {direction(geometry.rotation[:, 1])}"


def _is_plain(value: Any) -> bool:
    """Whether a header value fits a table's cell."""
    return isinstance(value, str | int | float | np.generic) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    """Write a value for a table, long ones cut."""
    values = value if isinstance(value, list | tuple | np.ndarray) else [value]
    text = ", ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in values)
    return text if len(text) <= 80 else text[:77] + "..."
