"""Names of quantitative maps, plain or as in a derivative of the Brain Imaging Data Structure (BIDS 1.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pulsetwin import __version__
from pulsetwin.errors import ProtocolError
from pulsetwin.export.summary import write_json

_PREFIX = re.compile(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?")
_SUFFIXES = {"B1": "TB1map", "residual": "residual"}
# BIDS has no suffix for these: the bids-validator is told to pass over them
_UNKNOWN = ("IEmap", "residual", "DIR")
_WEIGHTED = {"PSIR": "desc-syntheticPSIR_T1w", "MPRAGE": "desc-syntheticMPRAGE_T1w"}


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the files of a method, relative to the output folder.

    Parameters
    ----------
    method
        Such as ``QALAS``.
    prefix
        Subject and session, as in ``sub-01_ses-2``; plain names if None.
    """

    method: str
    prefix: str | None = None

    def __post_init__(self) -> None:
        if self.prefix is not None and not _PREFIX.fullmatch(self.prefix):
            raise ProtocolError(f"--bids {self.prefix}: give subject and session, as in sub-01 or sub-01_ses-2")

    def map(self, name: str) -> str:
        """Return the file of a map, or with ``_std`` of its standard deviation."""
        base = name.removesuffix("_std")
        deviation = "desc-std_" if name != base else ""
        return self._file(f"maps/{name}", f"{deviation}{_SUFFIXES.get(base, f'{base}map')}")

    def mask(self) -> str:
        """Return the file that tells where maps are valid."""
        return self._file("maps/mask", "desc-valid_mask")

    def synthetic(self, name: str) -> str:
        """Return the file of a synthetic image."""
        return self._file(f"synthetic/{name}", _WEIGHTED.get(name, f"desc-synthetic_{name}"))

    def _file(self, plain: str, ending: str) -> str:
        if self.prefix is None:
            return f"{plain}.nii.gz"
        kind = "fmap" if self.method == "B1" else "anat"
        return "/".join((*self.prefix.split("_"), kind, f"{self.prefix}_acq-{self.method}_{ending}.nii.gz"))


def write_dataset(folder: Path, method: str) -> None:
    """Write what makes a folder a derivative: its description, and names that a validator is to pass over."""
    description = {
        "Name": f"{method} maps",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "pulsetwin", "Version": __version__}],
    }
    write_json(folder / "dataset_description.json", description)
    ours = ["figures/", "report.html", "summary.json", "images*", "snr.nii.gz"]
    ours += [f"**/*_{name}.*" for name in _UNKNOWN]
    (folder / ".bidsignore").write_text("\n".join(ours) + "\n", encoding="utf-8")
