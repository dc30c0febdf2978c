"""One measurement of a TWIX file, opened: its header, its undamaged readouts, and what is doubtful about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.progress import Progress
from pulsetwin.recon.twix_header import Header, number, read_header
from pulsetwin.recon.twix_mdh import readout_bytes
from pulsetwin.recon.twix_raid import Container, Measurement
from pulsetwin.recon.twix_samples import TwixSamples
from pulsetwin.recon.twix_walk import Walk, walk

_BATCH = 64 << 20


@dataclass(frozen=True, slots=True)
class Scan:
    """One measurement: its header, its readouts and what is doubtful about them."""

    path: Path
    header: Header
    found: Walk
    warnings: tuple[str, ...]


def open_scan(container: Container, path: Path, k: int, partial: bool, progress: Progress) -> Scan:
    """Read the header of measurement `k` and find its readouts.

    Raises
    ------
    TwixError
        If the header or, unless `partial`, a readout is damaged, or no complete readout is left.
    """
    measurement = container.measurements[k]
    header = read_header(path, measurement)
    found = walk(path, measurement, container.vb)
    warnings = list(header.warnings)
    if found.problem is not None and not partial:
        raise found.problem
    if partial:
        found = _verified(path, found, progress)
    if found.problem is not None:
        damage = f"Damaged at {found.problem.where}: {found.problem.problem}"
        total = _stated_readouts(measurement, found)
        warnings.append(f"{damage}. The {len(found.mdh)} complete readouts before it{total} were used.")
    if len(found.mdh) == 0:
        raise found.problem or TwixError(
            path, "the measurement holds no readouts", "scan again", f"measurement {k + 1}"
        )
    if found.mdh["ScanCounter"][0] > 1:
        warnings.append(
            f"The first readout carries the number {found.mdh['ScanCounter'][0]}: earlier ones are not there."
        )
    return Scan(path, header, found, tuple(warnings))


def _stated_readouts(measurement: Measurement, found: Walk) -> str:
    """Return how many readouts the file's table has room for, in words, where all are of one length."""
    if found.vb or len(found.mdh) == 0 or len(same_layout(found.mdh)) > 1:
        return ""
    each = readout_bytes(int(found.mdh["SamplesInScan"][0]), int(found.mdh["UsedChannels"][0]), found.vb)
    return f", of about {(measurement.stated - measurement.start - measurement.header) // each},"


def _verified(path: Path, found: Walk, progress: Progress) -> Walk:
    """Read all samples once and cut before the first readout whose samples are damaged."""
    total, done, best, problem = len(found.mdh), 0, len(found.mdh), found.problem
    for index in same_layout(found.mdh):
        samples = samples_of(path, found, index)
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


def same_layout(mdh: np.ndarray) -> list[np.ndarray]:
    """Return the indices of readouts of equal length and channels, most samples first."""
    key = mdh["SamplesInScan"].astype(np.int64) * 65536 + mdh["UsedChannels"]
    groups = [np.nonzero(key == value)[0] for value in np.unique(key)]
    return sorted(groups, key=lambda index: -len(index) * int(key[index[0]] >> 16))


def samples_of(path: Path, found: Walk, index: np.ndarray) -> TwixSamples:
    """Return the samples of some readouts, all of one layout, as a lazy array."""
    mdh = found.mdh[index[0]]
    counter = found.mdh["ScanCounter"][index]
    return TwixSamples(
        path, found.offset[index], counter, int(mdh["UsedChannels"]), int(mdh["SamplesInScan"]), found.vb
    )


def about(scan: Scan) -> dict[str, object]:
    """Return what the file says of itself (`RawData.header`)."""
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
