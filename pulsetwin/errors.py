"""Every error pulsetwin raises on purpose: each names the thing, what is wrong and the remedy."""

from __future__ import annotations

from pathlib import Path


class PulsetwinError(Exception):
    """Base of all errors a user can cause or mend; the command line prints it in one line and exits with 2."""


class FileError(PulsetwinError):
    """A file is missing, damaged or not what it claims to be."""

    def __init__(self, path: str | Path, problem: str, remedy: str = "", where: str = "") -> None:
        self.path, self.problem, self.remedy, self.where = Path(path), problem, remedy, where
        super().__init__(
            ": ".join(part for part in (str(path), where, problem) if part) + (f"; {remedy}" if remedy else "")
        )


class TwixError(FileError):
    """A Siemens raw-data file is damaged or unsupported; `where` names the byte or the readout."""


class MrdError(FileError):
    """An ISMRMRD/MRD raw-data file is damaged or unsupported."""


class SeqError(FileError):
    """A Pulseq `.seq` file is damaged or unsupported; `where` names the line, section or block."""


class MismatchError(PulsetwinError):
    """Two inputs do not belong together (raw data and `.seq`, scan and reference, data and maps)."""


class ShapeError(PulsetwinError):
    """An array has the wrong shape."""


class ProtocolError(PulsetwinError):
    """A setting is out of range, or cannot be honoured with these data."""


class OutputExistsError(PulsetwinError):
    """An output would overwrite something; pass `--force` (or `force=True`) to allow it."""


class MissingExtraError(PulsetwinError):
    """An optional package is needed; the message names the extra to install."""


class DivergedError(PulsetwinError):
    """An optimisation ran away or met values that are not finite; the message names step and last good state."""
