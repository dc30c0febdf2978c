"""Read ISMRMRD/MRD raw data (HDF5) into `RawData`, through the optional package `ismrmrd`.

Directions and positions in MRD are patient coordinates to the left, back and head (LPS); counters and flags are those
of https://ismrmrd.readthedocs.io. Samples are read from the file when indexed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsetwin.errors import MissingExtraError, MrdError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import Geometry, RawData, Readouts, Trajectory
from pulsetwin.recon import match
from pulsetwin.recon.mrd_samples import COPY, MrdSamples, column
from pulsetwin.sequences.geometry import with_sequence

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
LABELS = {
    "LIN": "kspace_encode_step_1",
    "PAR": "kspace_encode_step_2",
    "AVG": "average",
    "SLC": "slice",
    "ECO": "contrast",
    "PHS": "phase",
    "REP": "repetition",
    "SET": "set",
    "SEG": "segment",
}
TICK = 2.5e-3
SIGNATURE, UNIT, CYCLES = "pulseq_signature", "trajectory_unit", "cycles per field of view"
ACQ_IN, USER = "label_ACQ", "user[0]"
"""User parameters of the header: MD5 signature of the `.seq` that was played, unit of trajectories, counter of ACQ."""


def read(
    path: str | Path,
    seq: str | Path | None = None,
    *,
    noise: str | Path | None = None,
    partial: bool = False,
    trust_seq: bool = False,
    progress: Progress = silent,
) -> RawData:
    """Read an MRD file; parameters and errors as in `recon.read`. HDF5 keeps no half-written file readable.

    Raises
    ------
    MissingExtraError
        If `ismrmrd` is not installed.
    """
    path = Path(path)
    package = _package()
    group, xml, head = _contents(path)
    try:
        header = package.xsd.CreateFromDocument(xml)
        raw = _assemble(path, group, header, head, package)
    except MrdError:
        raise
    except Exception as error:
        raise MrdError(path, f"the header cannot be read ({type(error).__name__}: {error})", COPY) from error
    progress(1, 1, "reading header")
    if seq is not None:
        raw = _with_sequence(raw, path, group, head, package, seq, partial, trust_seq)
    if noise is not None:
        other = read(noise)
        values = other.noise if other.noise is not None else np.moveaxis(other.groups[0].samples[:], 0, 1)
        raw = replace(raw, noise=values.reshape(len(values), -1), noise_dwell=other.noise_dwell)
    return raw


def _package():
    try:
        import ismrmrd
        import ismrmrd.xsd
    except ImportError as error:
        raise MissingExtraError("reading MRD needs the package ismrmrd: pip install 'pulsetwin[mrd]'") from error
    return ismrmrd


def _contents(path: Path) -> tuple[str, bytes, np.ndarray]:
    """Return the name of the dataset, its XML header and the headers of its acquisitions."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = [name for name in file if {"xml", "data"} <= set(getattr(file[name], "keys", list)())]
            if not names:
                raise MrdError(path, "this HDF5 file holds no MRD dataset", "pass a file with groups xml and data")
            group = file[names[0]]
            xml, head = group["xml"][0], group["data"].fields("head")[:]
    except MrdError:
        raise
    except Exception as error:
        raise MrdError(path, f"the file cannot be read ({type(error).__name__}: {error})", COPY) from error
    if not len(head):
        raise MrdError(path, "the file holds no acquisitions", "scan again")
    return names[0], xml, head


def _assemble(path: Path, group: str, header, head: np.ndarray, package) -> RawData:
    warnings: list[str] = []
    flags = _flags(head, package)
    encoding = header.encoding[0]
    told = {one.name: one.value for one in getattr(header.userParameters, "userParameterString", ())}
    known_unit = told.get(UNIT) == CYCLES
    groups = []
    for index in _same_layout(head):
        keep = index[~flags["noise"][index]]
        if len(keep):
            mine = head[keep]
            route = _trajectory(path, group, keep, mine, encoding, flags["reversed"][keep], known_unit, warnings)
            found = _readouts(path, group, keep, mine, route, {k: v[keep] for k, v in flags.items()})
            acq = mine["idx"]["user"][:, 0].astype(np.int32)
            acq_known = told.get(ACQ_IN) == USER and acq.any()
            groups.append(replace(found, labels={**found.labels, "ACQ": acq}) if acq_known else found)
    if not groups:
        raise MrdError(path, "no acquisition images the object", "is this a noise scan?")
    noise, dwell = _noise(path, group, head, flags["noise"])
    system = header.acquisitionSystemInformation
    about = {
        "format": "MRD",
        "vendor": getattr(system, "systemVendor", None) or "",
        "model": getattr(system, "systemModel", None) or "",
        "field_strength": getattr(system, "systemFieldStrength_T", None) or 0.0,
        "frequency": float(getattr(header.experimentalConditions, "H1resonanceFrequency_Hz", 0) or 0),
        "signature": told.get(SIGNATURE, ""),
    }
    where = _geometry(header, encoding, head[flags["imaging"]] if flags["imaging"].any() else head)
    return RawData(tuple(groups), noise, dwell, where, {}, about, tuple(dict.fromkeys(warnings)))


def _readouts(path: Path, group: str, keep: np.ndarray, mine: np.ndarray, route, flags) -> Readouts:
    labels = {name: mine["idx"][field].astype(np.int32) for name, field in LABELS.items()}
    time = TICK * (mine["acquisition_time_stamp"].astype(float) - float(mine["acquisition_time_stamp"][0]))
    dwell = 1e-6 * mine["sample_time_us"].astype(float)
    return Readouts(
        _samples(path, group, keep, mine), route, time, dwell, {k: v for k, v in labels.items() if v.any()}, flags
    )


def _samples(path: Path, group: str, keep: np.ndarray, mine: np.ndarray) -> MrdSamples:
    return MrdSamples(path, group, keep, int(mine["active_channels"][0]), int(mine["number_of_samples"][0]))


def _same_layout(head: np.ndarray) -> list[np.ndarray]:
    key = head["number_of_samples"].astype(np.int64) * 65536 + head["active_channels"]
    groups = [np.nonzero(key == value)[0] for value in np.unique(key)]
    return sorted(groups, key=lambda index: -len(index) * int(key[index[0]] >> 16))


def _flags(head: np.ndarray, package) -> dict[str, np.ndarray]:
    def flag(*names: str) -> np.ndarray:
        bits = sum(1 << (getattr(package, f"ACQ_{name}") - 1) for name in names)
        return (head["flags"] & np.uint64(bits)) != 0

    noise, correction = flag("IS_NOISE_MEASUREMENT"), flag("IS_PHASECORR_DATA")
    both = flag("IS_PARALLEL_CALIBRATION_AND_IMAGING")
    reference = flag("IS_PARALLEL_CALIBRATION") | both
    other = flag("IS_DUMMYSCAN_DATA", "IS_SURFACECOILCORRECTIONSCAN_DATA", "IS_PHASE_STABILIZATION_REFERENCE")
    navigator = flag("IS_NAVIGATION_DATA", "IS_RTFEEDBACK_DATA", "IS_HPFEEDBACK_DATA", "IS_PHASE_STABILIZATION")
    return {
        "imaging": ~(noise | correction | navigator | other) & (~reference | both),
        "noise": noise,
        "navigator": navigator & ~correction,
        "phase_correction": correction,
        "reference": reference,
        "reversed": flag("IS_REVERSE"),
    }


def _trajectory(
    path, group, keep, mine, encoding, reversed_: np.ndarray, known_unit: bool, warnings: list[str]
) -> Trajectory | None:
    """Return k-space [1/m]: that of the file where it has one, else that of Cartesian counters."""
    size = encoding.encodedSpace.fieldOfView_mm
    fov = 1e-3 * np.array([size.x, size.y, size.z], float)
    dimensions = int(mine["trajectory_dimensions"].min())
    if dimensions:
        rows = column(path, group, "traj", keep)
        given = np.stack([row.reshape(-1, dimensions) for row in rows])[:, :, :3].astype(float)
        positions = np.zeros((*given.shape[:2], 3))
        positions[:, :, : given.shape[2]] = given / fov[: given.shape[2]]
        if known_unit:
            return Trajectory.from_positions(positions)
        if np.abs(given).max() <= 0.5:
            matrix = encoding.encodedSpace.matrixSize
            positions *= np.array([matrix.x, matrix.y, matrix.z])
        warnings.append("MRD does not define the unit of trajectories: cycles per field of view were assumed.")
        return Trajectory.from_positions(positions)
    if "cartesian" not in str(getattr(encoding.trajectory, "value", encoding.trajectory)).lower() and "epi" not in str(
        encoding.trajectory
    ):
        warnings.append("The scan is not Cartesian and the file has no trajectory: k-space is unknown.")
        return None
    samples = int(mine["number_of_samples"][0])
    forward = (np.arange(samples) - float(np.median(mine["center_sample"]))) / fov[0]
    kx = np.stack([forward, forward[::-1]])
    shapes = np.zeros((2, samples, 3))
    shapes[:, :, 0] = kx - kx[:, samples // 2, None]
    offset = np.zeros((len(mine), 3))
    offset[:, 0] = kx[reversed_.astype(int), samples // 2]
    limits = encoding.encodingLimits
    for axis, name in ((1, "kspace_encode_step_1"), (2, "kspace_encode_step_2")):
        limit = getattr(limits, name.replace("encode", "encoding"), None)
        centre = limit.center if limit is not None else 0
        offset[:, axis] = (mine["idx"][name].astype(float) - centre) / fov[axis]
    if encoding.encodedSpace.matrixSize.z == 1:
        offset[:, 2] = 0
    used, index = np.unique(reversed_.astype(int), return_inverse=True)
    return Trajectory(shapes[used], index, offset)


def _noise(path: Path, group: str, head: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray | None, float]:
    if not noise.any():
        return None, 0.0
    first = head[np.argmax(noise)]
    fields = ("active_channels", "sample_time_us")
    pick = np.nonzero(noise & np.all([head[f] == first[f] for f in fields], axis=0))[0]
    length = head["number_of_samples"][pick]
    parts = [
        _samples(path, group, pick[length == n], head[pick[length == n]])[:] for n in dict.fromkeys(length.tolist())
    ]
    values = [np.moveaxis(part, 0, 1).reshape(part.shape[1], -1) for part in parts]
    return np.concatenate(values, axis=1), 1e-6 * float(first["sample_time_us"])


def _geometry(header, encoding, head: np.ndarray) -> Geometry:
    size, matrix = encoding.reconSpace.fieldOfView_mm, encoding.reconSpace.matrixSize
    axes = np.stack([head[0][name].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")], 1)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        axes = np.eye(3)
    number = head["idx"]["slice"]
    centres = np.array([head["position"][np.argmax(number == k)] for k in np.unique(number)], float)
    position = getattr(header.measurementInformation, "patientPosition", None)
    return Geometry(
        (1e-3 * size.x, 1e-3 * size.y, 1e-3 * size.z),
        (matrix.x, matrix.y, matrix.z),
        LPS_TO_RAS @ axes,
        1e-3 * centres @ LPS_TO_RAS,
        str(getattr(position, "value", position) or ""),
    )


def _with_sequence(raw: RawData, path: Path, group, head, package, seq, partial: bool, trust_seq: bool) -> RawData:
    noise = _flags(head, package)["noise"]
    stamps = TICK * head["acquisition_time_stamp"].astype(float)
    samples, time = head["number_of_samples"].astype(np.int64), stamps if stamps.any() else None
    facts = match.RawFacts(path, samples, noise, time, signature=raw.header["signature"].lower())
    matched = match.match(facts, seq, partial=partial, trust_seq=trust_seq)
    played = matched.played
    event = np.full(len(head), -1)
    event[matched.readout] = matched.event
    marked = played.flags.get("noise", np.zeros(len(played), bool))
    groups = []
    for index in _same_layout(head):
        keep = index[(event[index] >= 0) & ~marked[event[index]] & ~noise[index]]
        if len(keep):
            groups.append(played.readouts(event[keep], _samples(path, group, keep, head[keep])))
    imaging = matched.event[~marked[matched.event]]
    groups, where, notes = with_sequence(tuple(groups), raw.geometry, played, imaging)
    warnings = raw.warnings + matched.warnings + tuple(notes)
    return replace(raw, groups=groups, geometry=where, definitions=matched.seq.definitions, warnings=warnings)
