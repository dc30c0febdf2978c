"""Where a Siemens scan lies: slice normal, in-plane rotation, positions and field of view into RAS [m].

Siemens speaks of phase, read and slice directions ``(p, r, s)`` in patient coordinates: sagittal (to the left), coronal
(to the back), transverse (to the head), that is LPS. From the slice's normal and its in-plane rotation ``a`` follow

    transverse: p0 = (0, s_t, -s_c)/|.|,  coronal: p0 = (s_c, -s_s, 0)/|.|,  sagittal: p0 = (-s_c, s_s, 0)/|.|
    p = cos(a) p0 - sin(a) (s x p0),      r = s x p

and every readout carries the same rotation as a quaternion, whose matrix has the columns ``(p, r, s)``. Which way the
samples then run, for images by the inverse FFT, was found from real data:

- Pulseq (interpreter 1.4 and later, "XYZ in TRA"): x, y, z = r, p, s. The 32-channel spin echo in `examples/data` lies
  on the back of its head coil and is brightest at positive y, and p points to the back.
- Siemens' own sequences: x, y, z = -r, -p, s, in 3D -r, -p, -s: their raw data take the other sign of the Fourier
  exponent along every encoded axis. `tests/data/vendor_gre/gre.dat` shows the ACR phantom with its bubble on
  top and not mirrored only so. Checked for transverse 2D slices without rotation; the partition
  direction follows from the argument only, and product sequences may turn the signs with larger rotations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pulsetwin.rawdata import Geometry
from pulsetwin.recon.twix_header import Header, number

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
READ_SIGN = "sWipMemBlock.tPulsetwin.lReadSign"
"""Where our own writer notes that x runs against r; scanners never set it."""


def directions(normal: np.ndarray, rotation: float) -> np.ndarray:
    """Return phase, read and slice direction as columns, LPS, float64 ``[3, 3]``.

    Parameters
    ----------
    normal
        Slice normal, LPS, ``[3]``; any length but zero.
    rotation
        In-plane rotation [rad].
    """
    s = np.asarray(normal, float) / np.linalg.norm(normal)
    sagittal, coronal, transverse = np.round(np.abs(s), 6)
    if transverse >= max(sagittal, coronal):
        p = np.array([0.0, s[2], -s[1]])
    elif coronal >= sagittal:
        p = np.array([s[1], -s[0], 0.0])
    else:
        p = np.array([-s[1], s[0], 0.0])
    p /= np.linalg.norm(p)
    p = np.cos(rotation) * p - np.sin(rotation) * np.cross(s, p)
    return np.stack([p, np.cross(s, p), s], axis=1)


def quaternion_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation matrix of a unit quaternion (scalar first), ``[3, 3]``: columns phase, read, slice."""
    w, x, y, z = np.asarray(quaternion, float)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_quaternion(matrix: np.ndarray) -> np.ndarray:
    """Return the unit quaternion (scalar first) of a rotation matrix; inverse of `quaternion_matrix`."""
    m = np.asarray(matrix, float)
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], 0, 0, 0],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], 0, 0],
            [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0],
            [m[1, 0] - m[0, 1], m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    vector = np.linalg.eigh(k / 3)[1][:, -1]
    return vector if vector[0] >= 0 else -vector


def scanner_axes(matrix: np.ndarray, pulseq: bool, three: bool, read_sign: float = 1.0) -> np.ndarray:
    """Return the data's x, y, z axes in RAS as columns from phase, read and slice direction (LPS, columns)."""
    p, r, s = matrix.T
    sign = 1.0 if pulseq else -1.0
    return LPS_TO_RAS @ np.stack([sign * read_sign * r, sign * p, sign * s if three else s], axis=1)


def geometry(header: Header, mdh: np.ndarray, slices: np.ndarray) -> tuple[Geometry, list[str]]:
    """Return the geometry of a measurement and what is doubtful about it.

    Parameters
    ----------
    header
        Its parsed header.
    mdh
        The headers of the readouts that encode the object, ``[readout]``, at least one.
    slices
        Slice number of each, ``[readout]``.
    """
    listed = listed_slices(header)
    first = listed[0] if listed else {}
    quaternion, where, warnings = _per_slice(mdh, slices)
    if len(listed) != number(header.protocol, "sSliceArray.lSize", 1) or "dReadoutFOV" not in first:
        warnings.append("The header's list of slices is damaged: field of view and position may be wrong.")
    matrix = quaternion_matrix(quaternion)
    normal = np.array([number(first, f"sNormal.{axis}") for axis in ("dSag", "dCor", "dTra")])
    if np.linalg.norm(normal) > 0.1:
        stated = directions(normal, number(first, "dInPlaneRot"))
        if np.abs(stated - matrix).max() > 2e-3:
            warnings.append("Orientation differs between header and readouts: the header's was used.")
            matrix = stated
    position = np.array([number(first, f"sPosition.{axis}") for axis in ("dSag", "dCor", "dTra")])
    if len(where) == 1 and len(listed) == 1 and np.abs(where[0] - position).max() > 0.01:
        warnings.append("Position differs between header and readouts: the header's was used.")
        where = position[None]
    fov, shape = _extent(header, first)
    read_sign = np.sign(number(header.protocol, READ_SIGN, 1.0)) or 1.0
    axes = scanner_axes(matrix, header.pulseq, _three(header), read_sign)
    return Geometry(fov, shape, axes, 1e-3 * where @ LPS_TO_RAS, header.patient_position), warnings


def listed_slices(header: Header) -> list[dict[str, Any]]:
    """Return the slices of the protocol as `twixtools` parses them."""
    array = header.protocol.get("sSliceArray", {})
    listed = array.get("asSlice", []) if isinstance(array, dict) else []
    return [one for one in listed if isinstance(one, dict) and one] if isinstance(listed, list) else []


def listed_centres(header: Header) -> np.ndarray:
    """Return the centres of the slices that the protocol lists, RAS [m], ``[slice, 3]``."""
    axes = ("dSag", "dCor", "dTra")
    found = [[number(one, f"sPosition.{axis}") for axis in axes] for one in listed_slices(header)]
    return 1e-3 * np.array(found, float).reshape(-1, 3) @ LPS_TO_RAS


def _three(header: Header) -> bool:
    """Tell whether the protocol is three-dimensional; Pulseq's always says so."""
    return number(header.protocol, "sKSpace.ucDimension") == 4


def _per_slice(mdh: np.ndarray, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the commonest quaternion, the position of each slice [mm, LPS], and what contradicts them."""
    warnings = []
    data = mdh["SliceData"]
    with np.errstate(all="ignore"):
        rows = np.concatenate([data["position"], data["quaternion"]], axis=1).astype(float)
    rows[~np.isfinite(rows).all(1)] = 0
    centres, odd = [], 0
    for k in np.unique(slices):
        mine = rows[slices == k]
        values, times = np.unique(mine, axis=0, return_counts=True)
        common = values[np.argmax(times)]
        odd += int((np.abs(mine - common).max(1) > 1e-2).sum())
        centres.append(common)
    if odd:
        warnings.append(f"{odd} readouts claim another position or orientation than the rest of their slice.")
    quaternion = centres[0][3:]
    length = np.linalg.norm(quaternion)
    quaternion = quaternion / length if abs(length - 1) < 1e-2 else np.array([1.0, 0, 0, 1.0]) / np.sqrt(2)
    return quaternion, np.array(centres)[:, :3], warnings


def _extent(header: Header, first: Any) -> tuple[tuple[float, float, float], tuple[int, int, int]]:
    """Return field of view [m] and matrix along x, y, z."""
    protocol = header.protocol
    read = number(first, "dReadoutFOV", 1e3)
    fov = (1e-3 * read, 1e-3 * number(first, "dPhaseFOV", read), 1e-3 * number(first, "dThickness", read))
    matrix = [
        number(protocol, f"sKSpace.{name}", 1)
        for name in ("lBaseResolution", "lPhaseEncodingLines", "lPartitions" if _three(header) else "")
    ]
    return fov, tuple(min(max(int(n), 1), 65535) for n in matrix)
