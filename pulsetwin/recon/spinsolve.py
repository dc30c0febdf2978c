"""Read folders of Magritek Spinsolve into `RawData`: one experiment, or a folder of several of them in order.

An experiment is a folder of `data.1d` or `fid.1d`, 32 bytes of header, the times and the samples, and of `acqu.par`,
lines of ``key = value``. The format's figures are those that nmrglue's reader goes by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pulsetwin.errors import FileError, MismatchError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.recon import match
from pulsetwin.sequences.geometry import with_sequence
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq

DATA, PARAMETERS = ("data.1d", "fid.1d"), "acqu.par"
COMPLEX = 504
"""Type of data: the times as float32, then real and imaginary parts in turn."""
SIGNATURE = "pulseqSignature"
HEADER = 8  # int32
_SAME = 1e-3  # relative difference of dwell times
_LISTED = 5  # missing experiments that an error names


def read(
    path: str | Path,
    seq: str | Path | None = None,
    *,
    noise: str | Path | None = None,
    partial: bool = False,
    trust_seq: bool = False,
    progress: Progress = silent,
) -> RawData:
    """Read a folder of a Spinsolve; parameters and errors as in `recon.read`.

    Several experiments are readouts in the order of their folders' names, in which numbers count as such. With
    `partial` only the last ones may be missing: nothing else tells which is which.

    Raises
    ------
    FileError
        If a file is missing or damaged, or experiments differ in their sampling.
    MismatchError
        If an experiment is missing before others.
    """
    path = Path(path)
    folders = experiments(path)
    if not folders:
        raise FileError(path, f"holds no {' or '.join(DATA)}", "give the folder of an experiment, or one of several")
    read_all, damage = _whole(folders, partial, progress)
    told, dwells, signals = zip(*read_all, strict=True)
    if len({len(signal) for signal in signals}) > 1 or not np.ptp(dwells) <= _SAME * dwells[0]:
        raise FileError(path, "experiments differ in their samples or dwell time", "give experiments of one scan")
    samples, about = np.stack(signals)[:, None], _about(folders[0], told[0])
    values = None if noise is None else np.moveaxis(read(noise).groups[0].samples[:], 0, 1).reshape(1, -1)
    if seq is None:
        count = len(samples)
        labels = {"LIN": np.arange(count, dtype=np.int32)}
        group = Readouts(samples, None, np.zeros(count), np.array(dwells), labels)
        where = Geometry((1.0, 1.0, 1.0), (1, 1, 1), np.eye(3), np.zeros((1, 3)), "HFS")
        notes = (*damage, "Times of experiments, field of view and k-space are unknown: pass the .seq (--seq).")
        return RawData((group,), values, float(dwells[0]), where, {}, about, notes)
    doubts = _gaps(path, [folder.name for folder in folders[: len(samples)]], len(played_readouts(read_seq(seq))))
    facts = match.RawFacts(
        path, np.full(len(samples), samples.shape[2]), np.zeros(len(samples), bool), None, float(dwells[0]),
        about["signature"], complete=not damage,
    )  # fmt: skip
    matched = match.match(facts, seq, partial=partial, trust_seq=trust_seq)
    group = matched.played.readouts(matched.event, samples[matched.readout])
    where = Geometry((1.0, 1.0, 1.0), (1, 1, 1), np.eye(3), np.zeros((1, 3)), "HFS")
    groups, where, notes = with_sequence((group,), where, matched.played, matched.event)
    warnings = (*damage, *doubts, *matched.warnings, *notes)
    return RawData(groups, values, float(dwells[0]), where, matched.seq.definitions, about, warnings)


def experiments(path: Path) -> list[Path]:
    """Return the folders of experiments in order: the folder itself, or those in it."""

    def holds(folder: Path) -> bool:
        return any((folder / name).is_file() for name in DATA)

    if holds(path):
        return [path]
    inside = [folder for folder in path.iterdir() if folder.is_dir() and holds(folder)] if path.is_dir() else []
    return sorted(inside, key=lambda folder: [int(part) if part.isdigit() else part
                                              for part in re.split(r"(\d+)", folder.name)])  # fmt: skip


def _whole(
    folders: Sequence[Path], partial: bool, progress: Progress
) -> tuple[list[tuple[dict[str, str], float, np.ndarray]], tuple[str, ...]]:
    """Return all experiments, or with `partial` those before the first that is damaged and a warning of it."""
    read_all = []
    for number, folder in enumerate(folders):
        try:
            read_all.append(_experiment(folder))
        except FileError as error:
            if not partial or not number:
                raise
            return read_all, (f"Only the {number} experiments before the first damage were used: {error}.",)
        progress(number + 1, len(folders), "reading")
    return read_all, ()


def _gaps(path: Path, names: Sequence[str], readouts: int) -> tuple[str, ...]:
    """Raise where experiments lack one before others, or return a warning where their names do not tell."""
    if len(names) >= readouts:
        return ()
    told = _counted(names)
    if not told or int(told[-1]) - int(told[0]) >= 2 * readouts:  # times or dates, rather than a count
        return (f"Names in {path.name} do not tell which experiments are missing: the last ones were taken to be.",)
    numbers, width = [int(one) for one in told], min(map(len, told))
    first = min(numbers[0], 1) if numbers[-1] <= readouts else numbers[0]
    missing = [f"{one:0{width}d}" for one in sorted(set(range(first, numbers[-1])) - set(numbers))]
    if missing:
        listed = ", ".join(missing[:_LISTED]) + ", ..." * (len(missing) > _LISTED)
        raise MismatchError(
            f"{path} has {len(names)} of {readouts} experiments, up to {told[-1]} but without {listed}: "
            "copy the missing experiment, or measure it again"
        )
    return ()


def _counted(names: Sequence[str]) -> list[str]:
    """Return the number in each name that counts, or nothing where there is none or more than one."""
    parts = [re.findall(r"\d+", name) for name in names]
    if len({len(numbers) for numbers in parts}) > 1:
        return []
    columns = list(zip(*parts, strict=True))
    counting = [column for column in columns if len(set(column)) > 1] or columns
    return list(counting[0]) if len(counting) == 1 else []


def _experiment(folder: Path) -> tuple[dict[str, str], float, np.ndarray]:
    """Return the parameters, the dwell time [s] and the samples of an experiment."""
    path = next(folder / name for name in DATA if (folder / name).is_file())
    content = path.read_bytes()
    if len(content) < 4 * HEADER:
        raise FileError(path, f"has {len(content)} bytes, and a header has {4 * HEADER}", "copy it again")
    _, _, _, kind, count, *others = np.frombuffer(content, "<i4", HEADER).tolist()
    if kind != COMPLEX or any(other > 1 for other in others):
        raise FileError(path, f"holds data of type {kind}", f"only one dimension of complex data ({COMPLEX}) is read")
    if count < 2 or len(content) != 4 * (HEADER + 3 * count):
        raise FileError(path, f"has {len(content)} bytes for {count} samples", "copy it again")
    values = np.frombuffer(content, "<f4", offset=4 * HEADER)
    signal = values[count:].view("<c8").astype(np.complex64)
    if not np.isfinite(signal).all():
        raise FileError(path, "holds samples that are no numbers", "copy it again")
    told = _parameters(folder)
    by_axis = 1e-3 * float(values[count - 1] - values[0]) / (count - 1)
    dwell = 1e-6 * _number(folder, told, "dwellTime", 1e6 * by_axis)
    if not (0 < dwell < math.inf and abs(by_axis - dwell) <= _SAME * dwell):
        raise FileError(path, f"its times are {1e6 * by_axis:g} us apart, its dwellTime is {1e6 * dwell:g} us",
                        "export it again")  # fmt: skip
    return told, dwell, signal


def _parameters(folder: Path) -> dict[str, str]:
    """Return what `acqu.par` tells."""
    path = folder / PARAMETERS
    if not path.is_file():
        raise FileError(path, "no such file", "copy the whole folder of the experiment")
    pairs = (line.split("=", 1) for line in path.read_text(errors="replace").splitlines() if "=" in line)
    return {key.strip(): value.strip().strip('"') for key, value in pairs}


def _number(folder: Path, told: dict[str, str], key: str, otherwise: float) -> float:
    """Return what `acqu.par` tells, which may be infinite or NaN."""
    try:
        return float(told.get(key, otherwise))
    except ValueError:
        raise FileError(folder / PARAMETERS, f"{key} is {told[key]!r}, which is no number", "mend the file") from None


def _about(folder: Path, told: dict[str, str]) -> dict[str, object]:
    """Return what the header of `RawData` says."""
    frequency = _number(folder, told, "b1Freq", 0.0)
    if not 0 <= 1e6 * frequency < math.inf:
        raise FileError(folder / PARAMETERS, f"b1Freq is {told['b1Freq']} MHz", "mend the file")
    return {
        "format": "Spinsolve", "vendor": "Magritek", "sequence": told.get("Protocol", told.get("protocol", "")),
        "signature": told.get(SIGNATURE, ""),
        "frequency": 1e6 * frequency,
    }  # fmt: skip
