"""Field of view, matrix and slices of a Pulseq scan: from the `.seq` where it says, else from its k-space.

The raw header of a Pulseq scan holds whatever stood on the scanner's console; only position and orientation are meant.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulsetwin.rawdata import Geometry, Readouts
from pulsetwin.sequences.readouts import PlayedReadouts

_SAME_SLICE = 1e-5


def with_sequence(
    groups: tuple[Readouts, ...], geometry: Geometry, played: PlayedReadouts, events: np.ndarray
) -> tuple[tuple[Readouts, ...], Geometry, list[str]]:
    """Return readouts and geometry with what the `.seq` says, and warnings.

    Parameters
    ----------
    groups
        Readouts with trajectories.
    geometry
        Geometry of the raw header; one centre is that of the whole scan, several are the slices.
    played
        The sequence's ADC events.
    events
        ADC events that encode the object, ``[readout]``.
    """
    stated = stated_fov(played.seq.definitions)
    fov = stated or geometry.fov
    notes = [] if stated else ["The .seq states no FOV: the raw header's was used."]
    shape = stated_matrix(played.seq.definitions) or _resolved(groups[0], fov)
    offset = (played.slice_offset[:, None] * played.slice_direction)[events]
    number, centres = _slices(offset, played.labels.get("SLC"), events)
    if len(centres) > 1 and "SLC" not in played.labels:
        notes.append(f"The .seq has no slice labels: its {len(centres)} slice positions were numbered along z.")
        table = np.zeros(len(played), np.int32)
        table[events] = number
        groups = _labelled(groups, played, table)
    elif len(centres) == 1 and shape[2] > 1:
        centres = np.zeros((1, 3))
    base = geometry.centers.mean(0)
    if len(geometry.centers) > 1:
        base = base - geometry.rotation @ centres.mean(0)
    world = base + centres @ geometry.rotation.T
    return groups, replace(geometry, fov=fov, matrix=shape, centers=world), notes


def stated_fov(definitions: dict) -> tuple[float, float, float] | None:
    """Return the field of view along x, y, z [m] that `[DEFINITIONS]` states, in m or mm, or None."""
    stated = np.atleast_1d(np.asarray(definitions.get("FOV", ()), dtype=object))
    if len(stated) == 3 and all(isinstance(v, (int, float)) and np.isfinite(v) and v > 0 for v in stated):
        x, y, z = (float(v) * (1e-3 if max(stated) > 10 else 1.0) for v in stated)
        return x, y, z
    return None


def stated_matrix(definitions: dict) -> tuple[int, int, int] | None:
    """Return the voxels along x, y, z that `[DEFINITIONS]` states, or None."""
    for name in ("Matrix", "matrix", "MatrixSize", "matrix_size"):
        stated = np.atleast_1d(np.asarray(definitions.get(name, ()), dtype=object))
        if len(stated) == 3 and all(isinstance(v, (int, float)) and 1 <= v <= 65535 for v in stated):
            x, y, z = (int(v) for v in stated)
            return x, y, z
    return None


def _resolved(group: Readouts, fov: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the voxels that the extent of k-space resolves."""
    path, imaging = group.trajectory, group.flag("imaging")
    pick = np.nonzero(imaging if imaging.any() else np.ones(len(group), bool))[0]
    shape = path.shape_index[pick]
    low = (path.offset[pick] + path.shapes.min(1)[shape]).min(0)
    high = (path.offset[pick] + path.shapes.max(1)[shape]).max(0)
    voxels = []
    for a, b, size in zip(low, high, fov, strict=True):
        span, reach = (b - a) * size, 2 * max(abs(a), abs(b)) * size
        voxels.append(1 if span < 0.5 else max(int(span + 1.01), round(reach)))
    return tuple(min(max(n, 1), 65535) for n in voxels)


def _slices(offset: np.ndarray, labels: np.ndarray | None, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slice of each readout and the slices' centres along x, y, z [m]."""
    if labels is None:
        _, first, number = np.unique(np.round(offset / _SAME_SLICE), axis=0, return_index=True, return_inverse=True)
        along = np.argsort(offset[first] @ np.ones(3), kind="stable")
        rank = np.empty(len(first), np.int64)
        rank[along] = np.arange(len(first))
        return rank[number.reshape(-1)], offset[first][along]
    mine = labels[events]
    centres = np.zeros((int(mine.max()) + 1, 3))
    for k in np.unique(mine):
        centres[k] = offset[int(np.argmax(mine == k))]
    return mine, centres


def _labelled(groups: tuple[Readouts, ...], played: PlayedReadouts, table: np.ndarray) -> tuple[Readouts, ...]:
    """Add slice labels; the start time tells which event a readout is."""
    times = played.start_time
    return tuple(
        replace(group, labels={**group.labels, "SLC": table[np.searchsorted(times, group.start_time)]})
        for group in groups
    )
