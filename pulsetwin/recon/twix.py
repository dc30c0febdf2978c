"""Read Siemens TWIX raw data (VB, VD, VE, XA) into `RawData`.

The last measurement of a file holds the scan; earlier ones give the noise. With a `.seq`, trajectory, times, labels and
flags come from it; a vendor scan without one is sorted by its own counters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pulsetwin.errors import FileError, TwixError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon import match, twix_counters, twix_geometry
from pulsetwin.recon.seq_geometry import with_sequence
from pulsetwin.recon.twix_header import Header, number, read_header
from pulsetwin.recon.twix_mdh import flagged
from pulsetwin.recon.twix_raid import Container, read_container
from pulsetwin.recon.twix_samples import TwixSamples
from pulsetwin.recon.twix_walk import Walk, walk

_NOISE_SAMPLES = 1 << 20
_BATCH = 64 << 20


@dataclass(frozen=True, slots=True)
class _Scan:
    """One measurement: its header, its readouts and what is doubtful about them."""

    path: Path
    header: Header
    found: Walk
    warnings: tuple[str, ...]


def read(
    path: str | Path,
    seq: str | Path | None = None,
    *,
    noise: str | Path | None = None,
    partial: bool = False,
    trust_seq: bool = False,
    progress: Progress = silent,
) -> RawData:
    """Read a TWIX file; parameters and errors as in `recon.read`. The samples stay in the file until indexed."""
    path = Path(path)
    container = read_container(path)
    if container.problem is not None and not partial:
        raise container.problem
    scan = _measurement(container, path, len(container.measurements) - 1, partial, progress)
    if seq is None:
        raw = _by_counters(scan)
    else:
        raw = _by_sequence(scan, seq, partial, trust_seq)
    raw = replace(raw, warnings=container.warnings + scan.warnings + raw.warnings)
    return _with_noise(raw, container, path, noise, partial)


def _measurement(container: Container, path: Path, k: int, partial: bool, progress: Progress) -> _Scan:
    measurement = container.measurements[k]
    header = read_header(path, measurement)
    found = walk(path, measurement, container.vb)
    warnings = list(header.warnings)
    if found.problem is not None and not partial:
        raise found.problem
    total = None
    if partial:
        found = _verified(path, found, progress)
    if found.problem is not None:
        total = f"Damaged: {found.problem.where}: {found.problem.problem}"
        warnings.append(f"{total}. The {len(found.mdh)} complete readouts before it were used.")
    if len(found.mdh) == 0:
        raise found.problem or TwixError(path, "the measurement holds no readouts", "scan again", f"measurement {k + 1}")
    if found.mdh["ScanCounter"][0] > 1:
        warnings.append(f"The first readout carries the number {found.mdh['ScanCounter'][0]}: earlier ones are not there.")
    return _Scan(path, header, found, tuple(warnings))


def _verified(path: Path, found: Walk, progress: Progress) -> Walk:
    """Read all samples once and cut before the first readout whose samples are damaged."""
    total, done, best, problem = len(found.mdh), 0, len(found.mdh), found.problem
    for index in _same_layout(found.mdh):
        samples = _samples(path, found, index)
        batch = max(1, _BATCH // (8 * samples.channels * samples.length))
        for begin in range(0, len(index), batch):
            part = index[begin : begin + batch]
            if part[0] >= best:
                break
            try:
                samples[begin : begin + batch]
            except TwixError as error:
                k, problem_here = _first_unreadable(samples, begin, len(part), error)
                if index[k] < best:
                    best, problem = int(index[k]), problem_here
                break
            done += len(part)
            progress(done, total, "checking readouts")
    return Walk(found.mdh[:best], found.offset[:best], found.vb, problem)


def _first_unreadable(samples: TwixSamples, begin: int, count: int, error: TwixError) -> tuple[int, TwixError]:
    for k in range(begin, begin + count):
        try:
            samples[k]
        except TwixError as own:
            return k, own
    return begin, error


def _same_layout(mdh: np.ndarray) -> list[np.ndarray]:
    """Return the indices of readouts of equal length and channels, most samples first."""
    key = mdh["SamplesInScan"].astype(np.int64) * 65536 + mdh["UsedChannels"]
    groups = [np.nonzero(key == value)[0] for value in np.unique(key)]
    return sorted(groups, key=lambda index: -len(index) * int(key[index[0]] >> 16))


def _samples(path: Path, found: Walk, index: np.ndarray) -> TwixSamples:
    mdh = found.mdh[index[0]]
    counter = found.mdh["ScanCounter"][index]
    return TwixSamples(path, found.offset[index], counter, int(mdh["UsedChannels"]), int(mdh["SamplesInScan"]), found.vb)


def _by_counters(scan: _Scan) -> RawData:
    """Sort a scan without a `.seq` by the scanner's counters."""
    header, found = scan.header, scan.found
    twix_counters.check_range(scan.path, found)
    label, flag, time = twix_counters.labels(found.mdh), twix_counters.flags(found.mdh), twix_counters.times(found.mdh)
    imaging = flag["imaging"]
    if not imaging.any():
        raise TwixError(scan.path, "no readout images the object", "is this an adjustment or noise scan?")
    warnings = [] if header.pulseq else twix_counters.doubts(found.mdh[imaging])
    if header.pulseq:
        warnings.append("This is a Pulseq scan without its .seq: k-space is unknown. Pass the .seq (--seq).")
    if header.gridded and not header.pulseq:
        warnings.append("The samples lie on gradient ramps and the vendor regrids them: positions along x are wrong.")
    groups = []
    for index in _same_layout(found.mdh):
        keep = index[~flag["noise"][index]]
        if not len(keep):
            continue
        path = None if header.pulseq else twix_counters.trajectory(header, found.mdh[keep], flag["reversed"][keep])
        groups.append(
            Readouts(
                _samples(scan.path, found, keep),
                path,
                time[keep],
                np.full(len(keep), header.dwell),
                {name: values[keep] for name, values in label.items()},
                {name: values[keep] for name, values in flag.items() if name == "imaging" or values.any()},
            )
        )
    if not header.pulseq and groups[0].trajectory is None:
        warnings.append("This vendor scan is not Cartesian: k-space is unknown.")
    where, more = twix_geometry.geometry(header, found.mdh[imaging], found.mdh["Counter"]["Sli"][imaging])
    noise = _noise_of(scan, np.nonzero(flag["noise"])[0])
    return RawData(tuple(groups), noise, header.dwell, where, {}, _about(scan), tuple(warnings + more))


def _by_sequence(scan: _Scan, seq: str | Path, partial: bool, trust_seq: bool) -> RawData:
    """Attach the `.seq`."""
    header, found = scan.header, scan.found
    mdh = found.mdh
    own_noise = flagged(mdh["EvalInfoMask"], "NOISEADJSCAN")
    facts = match.RawFacts(
        scan.path,
        mdh["SamplesInScan"].astype(np.int64),
        own_noise,
        twix_counters.times(mdh),
        header.dwell,
        header.signature,
        found.problem is None,
    )
    matched = match.match(facts, seq, partial=partial, trust_seq=trust_seq)
    played, warnings = matched.played, list(matched.warnings)
    event = np.full(len(mdh), -1)
    event[matched.readout] = matched.event
    is_noise = np.where(event >= 0, played.flags.get("noise", np.zeros(len(played), bool))[event], own_noise)
    warnings += _label_doubts(mdh[matched.readout], played.labels, matched.event)
    groups = []
    for index in _same_layout(mdh):
        keep = index[(event[index] >= 0) & ~is_noise[index]]
        if len(keep):
            groups.append(_played(scan, played, keep, event[keep]))
    if not groups:
        raise TwixError(scan.path, "no readout images the object", "is this a noise scan?")
    imaging = matched.readout[~is_noise[matched.readout]]
    first, more = twix_geometry.geometry(header, mdh[imaging], np.zeros(len(imaging), int))
    groups, where, notes = with_sequence(tuple(groups), first, matched, event[imaging])
    pick = np.nonzero(is_noise)[0]
    dwell = float(played.dwell[event[pick[0]]]) if len(pick) and event[pick[0]] >= 0 else header.dwell
    return RawData(
        groups, _noise_of(scan, pick), dwell, where, matched.seq.definitions, _about(scan), tuple(warnings + more + notes)
    )


def _played(scan: _Scan, played, readout: np.ndarray, event: np.ndarray) -> Readouts:
    return Readouts(
        _samples(scan.path, scan.found, readout),
        played.trajectory(event),
        played.start_time[event],
        played.dwell[event],
        {name: values[event] for name, values in played.labels.items() if name in match.COUNTED},
        {name: values[event] for name, values in played.flags.items()},
    )


def _label_doubts(mdh: np.ndarray, played: dict[str, np.ndarray], event: np.ndarray) -> list[str]:
    """Compare the scanner's counters with the labels of the `.seq`: it got them from there."""
    found = twix_counters.labels(mdh)
    wrong = [name for name in match.COUNTED if name in played and name in found and (found[name] != played[name][event]).any()]
    if not wrong:
        return []
    return [f"The scanner's counters differ from the .seq's labels {', '.join(wrong)}: the .seq's were used."]


def _noise_of(scan: _Scan, index: np.ndarray) -> np.ndarray | None:
    """Return the noise samples ``[coil, sample]`` of some readouts, at most a million a coil, or None without any."""
    if not len(index):
        return None
    mdh = scan.found.mdh[index]
    index = index[mdh["UsedChannels"] == mdh["UsedChannels"][0]]
    total = np.cumsum(scan.found.mdh["SamplesInScan"][index].astype(np.int64))
    index = index[: 1 + int(np.searchsorted(total, _NOISE_SAMPLES))]
    parts = {}
    for same in _same_layout(scan.found.mdh[index]):
        parts.update(zip(same.tolist(), _samples(scan.path, scan.found, index[same])[:], strict=True))
    return np.concatenate([parts[k] for k in range(len(index))], axis=1)


def _with_noise(raw: RawData, container: Container, path: Path, noise, partial: bool) -> RawData:
    """Add noise from another file or, where the scan itself has none, from an earlier measurement of the same file."""
    if noise is not None:
        return _checked_noise(raw, *_noise_file(Path(noise), partial))
    for k in range(len(container.measurements) - 2, -1, -1):
        if raw.noise is not None:
            break
        scan = _measurement(container, path, k, partial, silent)
        values = _noise_of(scan, np.nonzero(flagged(scan.found.mdh["EvalInfoMask"], "NOISEADJSCAN"))[0])
        if values is not None and len(values) == raw.coils:
            raw = replace(raw, noise=values, noise_dwell=scan.header.dwell, warnings=raw.warnings + scan.warnings)
    return raw


def _noise_file(path: Path, partial: bool) -> tuple[Path, np.ndarray | None, float, tuple[str, ...]]:
    if not path.is_file():
        raise FileError(path, "no such file", "check the path of the noise scan")
    container = read_container(path)
    if container.problem is not None and not partial:
        raise container.problem
    scan = _measurement(container, path, len(container.measurements) - 1, partial, silent)
    marked = np.nonzero(flagged(scan.found.mdh["EvalInfoMask"], "NOISEADJSCAN"))[0]
    values = _noise_of(scan, marked if len(marked) else np.arange(len(scan.found.mdh)))
    return path, values, scan.header.dwell, scan.warnings


def _checked_noise(raw: RawData, path: Path, values, dwell: float, warnings: tuple[str, ...]) -> RawData:
    if values is None or len(values) != raw.coils:
        channels = 0 if values is None else len(values)
        raise TwixError(path, f"the noise has {channels} channels, the scan {raw.coils}", "pass noise of the same coils")
    return replace(raw, noise=values, noise_dwell=dwell, warnings=raw.warnings + warnings)


def _about(scan: _Scan) -> dict[str, object]:
    header = scan.header
    text = {name: str(header.dicom.get(name, "")).strip() for name in ("SoftwareVersions", "ManufacturersModelName")}
    return {
        "format": "TWIX VB" if scan.found.vb else "TWIX VD/VE/XA",
        "vendor": "Siemens",
        "model": text["ManufacturersModelName"],
        "software": text["SoftwareVersions"],
        "sequence": header.sequence,
        "signature": header.signature,
        "field_strength": header.field_strength,
        "frequency": number(header.dicom, "lFrequency"),
        "patient_position": header.patient_position,
        "dwell": header.dwell,
    }
