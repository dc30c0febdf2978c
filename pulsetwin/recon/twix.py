"""Read Siemens TWIX raw data (VB, VD, VE, XA) into `RawData`.

The last measurement of a file holds the scan; earlier ones give the noise. With a `.seq`, trajectory, times, labels and
flags come from it; a vendor scan without one is sorted by its own counters.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import LABELS, RawData, Readouts
from pulsetwin.recon import match, twix_counters, twix_geometry
from pulsetwin.recon.twix_mdh import flagged
from pulsetwin.recon.twix_noise import noise_of, with_noise
from pulsetwin.recon.twix_raid import read_container
from pulsetwin.recon.twix_scan import Scan, about, open_scan, same_layout, samples_of
from pulsetwin.sequences.geometry import with_sequence


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
    scan = open_scan(container, path, len(container.measurements) - 1, partial, progress)
    raw = _by_counters(scan) if seq is None else _by_sequence(scan, seq, partial, trust_seq)
    raw = replace(raw, warnings=container.warnings + scan.warnings + raw.warnings)
    return with_noise(raw, container, path, noise, partial)


def _by_counters(scan: Scan) -> RawData:
    """Sort a scan without a `.seq` by the scanner's counters."""
    header, found = scan.header, scan.found
    twix_counters.check_range(scan.path, found)
    label, flag, time = twix_counters.labels(found.mdh), twix_counters.flags(found.mdh), twix_counters.times(found.mdh)
    imaging = flag["imaging"]
    if not imaging.any():
        raise TwixError(scan.path, "no readout images the object", "is this an adjustment or noise scan?")
    warnings = twix_counters.doubts(header, found.mdh[imaging])
    if header.pulseq:
        warnings.append("This is a Pulseq scan without its .seq: k-space is unknown. Pass the .seq (--seq).")
    if header.gridded and not header.pulseq:
        warnings.append("The samples lie on gradient ramps and the vendor regrids them: positions along x are wrong.")
    groups = []
    for index in same_layout(found.mdh):
        keep = index[~flag["noise"][index]]
        if not len(keep):
            continue
        path = None if header.pulseq else twix_counters.trajectory(header, found.mdh[keep], flag["reversed"][keep])
        groups.append(
            Readouts(
                samples_of(scan.path, found, keep),
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
    noise = noise_of(scan, np.nonzero(flag["noise"])[0])
    return RawData(tuple(groups), noise, header.dwell, where, {}, about(scan), tuple(warnings + more))


def _by_sequence(scan: Scan, seq: str | Path, partial: bool, trust_seq: bool) -> RawData:
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
    for index in same_layout(mdh):
        keep = index[(event[index] >= 0) & ~is_noise[index]]
        if len(keep):
            groups.append(played.readouts(event[keep], samples_of(scan.path, found, keep)))
    if not groups:
        raise TwixError(scan.path, "no readout images the object", "is this a noise scan?")
    imaging = matched.readout[~is_noise[matched.readout]]
    first, more = twix_geometry.geometry(header, mdh[imaging], np.zeros(len(imaging), int))
    if len(listed := twix_geometry.listed_centres(header)) > 1:
        first = replace(first, centers=listed)
    groups, where, notes = with_sequence(tuple(groups), first, played, event[imaging])
    pick = np.nonzero(is_noise)[0]
    dwell = float(played.dwell[event[pick[0]]]) if len(pick) and event[pick[0]] >= 0 else header.dwell
    return RawData(
        groups,
        noise_of(scan, pick),
        dwell,
        where,
        matched.seq.definitions,
        about(scan),
        tuple(warnings + more + notes),
    )


def _label_doubts(mdh: np.ndarray, played: dict[str, np.ndarray], event: np.ndarray) -> list[str]:
    """Compare the scanner's counters with the labels of the `.seq`: it got them from there."""
    found = twix_counters.labels(mdh)
    wrong = [name for name in LABELS if name in played and name in found and (found[name] != played[name][event]).any()]
    if not wrong:
        return []
    return [f"The scanner's counters differ from the .seq's labels {', '.join(wrong)}: the .seq's were used."]
