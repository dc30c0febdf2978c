"""What a `.seq` file holds: protocol, k-space coverage, labels and needs, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pulsetwin.export.interpreters import SINCE, features
from pulsetwin.export.repetitions import repetitions
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.geometry import stated_fov, stated_matrix
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import RF, SeqFile

USES = {
    "e": "excitation", "r": "refocusing", "i": "inversion", "s": "saturation", "p": "preparation", "o": "other",
    "u": "undefined",
}  # fmt: skip
_CHUNK = 4096


def describe_seq(seq: SeqFile) -> dict[str, Any]:
    """Return a description of `seq`: numbers, texts, lists and dictionaries only.

    TE, TR, field of view and matrix are those that the definitions state, or else measured on the played gradients and
    pulses. The extent of k-space is measured, and left out where no pulse sets its origin.
    """
    played = played_readouts(seq)
    state = {True: "valid", False: "does not match the text", None: "absent" if seq.signature is None else "not MD5"}
    return {
        "file": seq.path.name,
        "version": ".".join(map(str, seq.version)),
        "signature": seq.signature,
        "signature_state": state[seq.signature_valid],
        "definitions": {k: list(v) if isinstance(v, tuple) else v for k, v in seq.definitions.items()},
        "duration_s": round(seq.duration, 9),
        "blocks": len(seq),
        "events": {"rf": len(seq.rf), "gradients": len(seq.gradients), "adc": len(seq.adc), "shapes": len(seq.shapes)},
        "pulses": _pulses(seq),
        "acquisitions": _acquisitions(played),
        "labels": {
            name: [int(values.min()), int(values.max())] for name, values in played.labels.items() if len(played)
        },
        "flags": {name: int(values.sum()) for name, values in played.flags.items()},
        **_protocol(played),
        "needs": needs(seq),
        "warnings": list(seq.warnings),
    }


def _pulses(seq: SeqFile) -> list[dict[str, Any]]:
    """List the pulses by use; in files before 1.5, which do not state it, more than 270 degrees is a preparation."""
    played = seq.events[:, RF][seq.events[:, RF] != NONE]
    uses, flip = seq.rf.use[played], np.rad2deg(seq.rf.flip[played])
    if seq.version < (1, 5, 0):
        uses = np.where(flip > 270, "p", uses)
    rows = []
    for use in dict.fromkeys(uses.tolist()):
        flips = flip[uses == use]
        rows.append({"use": USES[use], "played": len(flips), "flip_deg": _tidy([flips.min(), flips.max()])})
    return rows


def _acquisitions(played: PlayedReadouts) -> list[dict[str, Any]]:
    kinds = np.column_stack((played.num_samples, np.round(1e9 * played.dwell).astype(np.int64)))
    distinct, count = np.unique(kinds, axis=0, return_counts=True)
    return [
        {"readouts": int(number), "samples": int(samples), "dwell_us": dwell / 1e3}
        for (samples, dwell), number in zip(distinct.tolist(), count, strict=True)
    ]


def _protocol(played: PlayedReadouts) -> dict[str, Any]:
    """Tell TR, TE, field of view, matrix and resolution by the imaging readouts of the most frequent length."""
    imaging = np.nonzero(played.flags["imaging"])[0]
    if not len(imaging):
        return {}
    lengths, count = np.unique(played.num_samples[imaging], return_counts=True)
    events = imaging[played.num_samples[imaging] == lengths[np.argmax(count)]]
    events = events[np.isfinite(played.excitation_time[events])]
    tr, te = (_stated_times(played.seq, name) for name in ("TR", "TE"))
    tr = tr if len(tr) == 1 else _measured_tr(played)
    te = te or _measured_te(played, events)
    times = {"tr_ms": round(1e3 * tr[0], 6) if tr else None, "te_ms": [round(1e3 * time, 3) for time in te]}
    return times | _coverage(played, events)


def _stated_times(seq: SeqFile, name: str) -> list[float]:
    """Return the times that a definition states [s]; none if one of them is no time within the sequence."""
    stated = np.atleast_1d(np.asarray(seq.definitions.get(name, ()), dtype=object)).tolist()
    fits = all(isinstance(value, float) and 0 < value <= seq.duration for value in stated)
    return stated if fits else []


def _measured_tr(played: PlayedReadouts) -> list[float]:
    """Return the usual time between repetitions of one slice [s], or nothing where none follows another."""
    begin = repetitions(played.seq, played)
    slices = played.labels.get("SLC", np.zeros(len(played), np.int32))
    here = slices[np.searchsorted(played.block, begin)]
    intervals = np.diff(played.seq.block_start[begin[here == here[0]]])
    return [float(np.median(intervals))] if len(intervals) else []


def _measured_te(played: PlayedReadouts, events: np.ndarray) -> list[float]:
    """Return the times from an excitation to the centre of k-space [s], 16 at most."""
    if not len(events):
        return []
    distance, when = _nearest_to_center(played, events)
    echo = when - played.excitation_time[events]
    return np.unique(np.round(echo[distance <= distance.min() + 1.0], 6)).tolist()[:16]


def _nearest_to_center(played: PlayedReadouts, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each event the least distance to the centre of k-space [1/m] and when it was reached [s]."""
    distance, when = np.zeros(len(events)), np.zeros(len(events))
    for start in range(0, len(events), _CHUNK):
        part = events[start : start + _CHUNK]
        radius = np.linalg.norm(played.trajectory(part).positions(), axis=2)
        sample = radius.argmin(1)
        distance[start : start + _CHUNK] = radius[np.arange(len(part)), sample]
        when[start : start + _CHUNK] = played.start_time[part] + sample * played.dwell[part]
    return distance, when


def _coverage(played: PlayedReadouts, events: np.ndarray) -> dict[str, Any]:
    """Tell field of view, matrix and resolution, as stated or else measured, and the extent of k-space."""
    fov, matrix = stated_fov(played.seq.definitions), stated_matrix(played.seq.definitions)
    rows, extent = _measured_coverage(played, events, fov or (0.0, 0.0, 0.0)) if len(events) else ([], {})
    if fov and matrix:
        rows = [(1e3 * width, number, 1e3 * width / number) for width, number in zip(fov, matrix, strict=True)]
    columns = (_tidy(column) for column in zip(*rows, strict=True))
    return dict(zip(("fov_mm", "matrix", "resolution_mm"), columns, strict=False)) | extent


def _measured_coverage(
    played: PlayedReadouts, events: np.ndarray, fov: tuple[float, float, float]
) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Measure each axis: Cartesian steps give the field of view where it is 0."""
    trajectory = played.trajectory(events)
    if trajectory.shapes.shape[1] < 2:
        return [], {}
    low = (trajectory.shapes.min(1)[trajectory.shape_index] + trajectory.offset).min(0)
    high = (trajectory.shapes.max(1)[trajectory.shape_index] + trajectory.offset).max(0)
    along = np.ptp(trajectory.shapes, axis=1).max(0) > 1.0
    cartesian = int(along.sum()) <= 1
    rows = []
    for axis in range(3):
        values = trajectory.shapes[..., axis] if along[axis] else trajectory.offset[:, axis]
        steps = _steps(values)
        width = fov[axis] or (1 / steps[-1] if cartesian and len(steps) else 0.0)
        reach = max(high[axis] - low[axis] + steps[0], 2 * max(-low[axis], high[axis])) if len(steps) else 0.0
        number = max(1, round(width * reach)) if width or not reach else None
        rows.append((1e3 * width or None, number, 1e3 / reach if reach else 1e3 * width or None))
    extent = {"k_min_per_m": _tidy(low), "k_max_per_m": _tidy(high)}
    return rows, {"cartesian": cartesian, "kspace": extent}


def _tidy(values: Any) -> list[Any]:
    """Return a list of plain numbers without the noise of summation; None stays."""
    return [value if value is None or isinstance(value, int) else round(float(value), 6) + 0.0 for value in values]


def _steps(values: np.ndarray) -> np.ndarray:
    """Return the least and the usual distance of neighbours [1/m]: samples ``[shape, sample]`` or lines ``[readout]``.

    The usual distance of samples is the largest, which ramp sampling reaches on the flat top.
    """
    samples = values.ndim == 2
    steps = np.abs(np.diff(values, axis=1)).reshape(-1) if samples else np.diff(np.unique(np.round(values, 2)))
    steps = steps[steps > 0.02]
    if not len(steps):
        return steps
    return np.array([steps.min(), steps.max()]) if samples else np.full(2, np.median(steps))


def needs(seq: SeqFile) -> list[str]:
    """Return the played features that interpreters of Pulseq 1.4 do not have."""
    newer = {name: since for name, since in SINCE.items() if since >= (1, 5, 0)}
    named = {name: f"{name} ({'.'.join(map(str, since))})" for name, since in newer.items()}
    return [named.get(name, name) for name in features(seq) if name in newer or name not in SINCE]
