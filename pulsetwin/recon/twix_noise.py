"""Noise of a TWIX scan: from its own noise readouts, an earlier measurement of its file, or another file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsetwin.errors import FileError, TwixError
from pulsetwin.progress import silent
from pulsetwin.rawdata import RawData
from pulsetwin.recon.twix_mdh import flagged
from pulsetwin.recon.twix_raid import Container, read_container
from pulsetwin.recon.twix_scan import Scan, open_scan, same_layout, samples_of

_SAMPLES = 1 << 20


def noise_of(scan: Scan, index: np.ndarray) -> np.ndarray | None:
    """Return the noise samples ``[coil, sample]`` of some readouts, at most a million a coil, or None without any."""
    if not len(index):
        return None
    mdh = scan.found.mdh[index]
    index = index[mdh["UsedChannels"] == mdh["UsedChannels"][0]]
    total = np.cumsum(scan.found.mdh["SamplesInScan"][index].astype(np.int64))
    index = index[: 1 + int(np.searchsorted(total, _SAMPLES))]
    parts = {}
    for same in same_layout(scan.found.mdh[index]):
        parts.update(zip(same.tolist(), samples_of(scan.path, scan.found, index[same])[:], strict=True))
    return np.concatenate([parts[k] for k in range(len(index))], axis=1)


def with_noise(raw: RawData, container: Container, path: Path, noise, partial: bool) -> RawData:
    """Add noise from another file or, where the scan itself has none, from an earlier measurement of the same file."""
    if noise is not None:
        return _checked(raw, *_noise_file(Path(noise), partial))
    for k in range(len(container.measurements) - 2, -1, -1):
        if raw.noise is not None:
            break
        scan = open_scan(container, path, k, partial, silent)
        values = noise_of(scan, np.nonzero(flagged(scan.found.mdh["EvalInfoMask"], "NOISEADJSCAN"))[0])
        if values is not None and len(values) == raw.coils:
            raw = replace(raw, noise=values, noise_dwell=scan.header.dwell, warnings=raw.warnings + scan.warnings)
    return raw


def _noise_file(path: Path, partial: bool) -> tuple[Path, np.ndarray | None, float, tuple[str, ...]]:
    if not path.is_file():
        raise FileError(path, "no such file", "check the path of the noise scan")
    container = read_container(path)
    if container.problem is not None and not partial:
        raise container.problem
    scan = open_scan(container, path, len(container.measurements) - 1, partial, silent)
    marked = np.nonzero(flagged(scan.found.mdh["EvalInfoMask"], "NOISEADJSCAN"))[0]
    values = noise_of(scan, marked if len(marked) else np.arange(len(scan.found.mdh)))
    return path, values, scan.header.dwell, scan.warnings


def _checked(raw: RawData, path: Path, values, dwell: float, warnings: tuple[str, ...]) -> RawData:
    if values is None or len(values) != raw.coils:
        channels = 0 if values is None else len(values)
        raise TwixError(
            path, f"the noise has {channels} channels, the scan {raw.coils}", "pass noise of the same coils"
        )
    return replace(raw, noise=values, noise_dwell=dwell, warnings=raw.warnings + warnings)
