"""Read raw data of any supported format: what a file is, its content tells, not its name."""

from __future__ import annotations

from pathlib import Path

from pulsetwin.errors import FileError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read(
    path: str | Path,
    seq: str | Path | None = None,
    *,
    noise: str | Path | None = None,
    partial: bool = False,
    trust_seq: bool = False,
    progress: Progress = silent,
) -> RawData:
    """Read a raw-data file.

    Parameters
    ----------
    path
        Siemens TWIX (VB, VD, VE, XA), ISMRMRD/MRD (HDF5), or a folder of Magritek Spinsolve.
    seq
        The Pulseq `.seq` that was played: gives trajectory, times and labels. Without it, Cartesian vendor data are
        sorted by their own counters.
    noise
        Another raw file to take the noise from: its noise readouts, or all its readouts if it marks none.
    partial
        Use the complete readouts before the first damage instead of raising. Reads the whole file once to find them.
    trust_seq
        Make a mismatch of the signature, dwell time or time stamps between both files a warning.
    progress
        Called with readouts done, their number and what is done.

    Raises
    ------
    FileError
        If the file is damaged or of no supported format; see `pulsetwin.errors`.
    MismatchError
        If `seq` is not what was played.
    """
    path = Path(path)
    options = {"partial": partial, "trust_seq": trust_seq, "progress": progress}
    if path.is_dir():
        from pulsetwin.recon import spinsolve

        return spinsolve.read(path, seq, noise=noise, **options)
    head = _head(path)
    if head.startswith(_HDF5):
        from pulsetwin.recon import mrd

        return mrd.read(path, seq, noise=noise, **options)
    if b"[VERSION]" in head or b"Pulseq" in head:
        raise FileError(path, "this is a .seq, not raw data", "pass it as seq (--seq) beside the raw file")
    from pulsetwin.recon import twix

    return twix.read(path, seq, noise=noise, **options)


def _head(path: Path) -> bytes:
    if not path.is_file():
        raise FileError(path, "no such file", "check the path")
    with path.open("rb") as file:
        return file.read(256)
