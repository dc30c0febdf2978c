"""Write raw data as folders of Magritek Spinsolve, one for each readout, as `recon.spinsolve` reads them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from pulsetwin.atomic import atomic_folder
from pulsetwin.errors import OutputExistsError, ProtocolError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.spinsolve import COMPLEX, DATA, PARAMETERS, SIGNATURE, experiments

_PROS, _DATA, _VERSION = (int.from_bytes(word, "big") for word in (b"PROS", b"DATA", b"V1.1"))
_PROTON_60 = 60.0  # [MHz], of the instrument where the scan does not tell its field
_MHZ_PER_T = 42.577478518
_SIMULATED = 'simulatedBy = "pulsetwin"'
"""Line of `acqu.par` that tells an experiment of ours, which may be replaced, from one that was measured."""


def write(raw: RawData, folder: str | Path, *, force: bool = False) -> None:
    """Write the readouts of a scan, all of one length, one channel and one acquisition each.

    Parameters
    ----------
    raw
        The scan. Its trajectory is not kept, nor is its noise scan: the `.seq` goes with the folder.
    folder
        To appear, with folders ``001``, ``002`` ... in it.
    force
        Whether to replace a scan that was written before; no experiment of it stays.

    Raises
    ------
    ProtocolError
        If the format has no place for the scan.
    OutputExistsError
        If the folder is not empty and `force` is false, or holds experiments that were not written here.
    """
    if len(raw.groups) != 1 or raw.coils != 1:
        raise ProtocolError(
            f"Spinsolve has one channel and readouts of one length, the scan {raw.coils} and {len(raw.groups)}: "
            "write TWIX or MRD"
        )
    (group,) = raw.groups
    if group.label("SEG").any():
        raise ProtocolError("Spinsolve has one acquisition per readout: design for --scanner magritek-spinsolve-60")
    field = raw.header.get("field_strength")
    frequency = _MHZ_PER_T * float(field) if field else _PROTON_60
    earlier = require_simulated(folder)
    stale = tuple(f"{one.name}/{name}" for one in earlier for name in (DATA[0], PARAMETERS))
    with atomic_folder(folder, force=force, stale=stale) as temporary:
        for number in range(len(group)):
            place = temporary / f"{number + 1:03d}"
            place.mkdir()
            signal, dwell = np.asarray(group.samples[number]).reshape(-1), float(group.dwell[number])
            (place / DATA[0]).write_bytes(_content(signal, dwell))
            lines = {
                "b1Freq": f"{frequency:.6f}", "bandwidth": f"{1e-3 / dwell:.9g}", "dwellTime": f"{1e6 * dwell:.9g}",
                "lowestFrequency": f"{-0.5 / dwell:.9g}", "nrPnts": len(signal), "nrScans": 1,
                "Protocol": '"RASER"', "rxChannel": '"1H"', SIGNATURE: f'"{raw.header.get("signature", "")}"',
            }  # fmt: skip
            told = "".join(f"{key} = {value}\n" for key, value in lines.items())
            (place / PARAMETERS).write_text(f"{told}{_SIMULATED}\n")
    for one in earlier:
        with suppress(OSError):  # it is not empty
            one.rmdir()


def require_simulated(folder: str | Path) -> list[Path]:
    """Return the experiments in a folder, none if it does not exist; raise unless `write` wrote all of them.

    Raises
    ------
    OutputExistsError
        If one may have been measured.
    """
    found = experiments(Path(folder))
    for one in found:
        if not _is_ours(one) or one == Path(folder):
            raise OutputExistsError(f"{one} holds an experiment that pulsetwin did not simulate: choose another folder")
    return found


def _is_ours(experiment: Path) -> bool:
    """Return whether `write` wrote a folder."""
    told, others = experiment / PARAMETERS, experiment / DATA[1]
    if experiment.is_symlink() or others.exists() or not re.fullmatch(r"\d{3,}", experiment.name):
        return False
    return told.is_file() and _SIMULATED in told.read_text(errors="replace").splitlines()


def _content(signal: np.ndarray, dwell: float) -> bytes:
    """Return header, times [ms] and samples of an experiment."""
    header = np.array([_PROS, _DATA, _VERSION, COMPLEX, len(signal), 1, 1, 1], "<i4")
    times = (1e3 * dwell * np.arange(len(signal))).astype("<f4")
    return header.tobytes() + times.tobytes() + signal.astype("<c8").tobytes()
