"""Samples of an MRD file as a lazy array: indexing acquisitions reads those, and checks each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import MrdError

COPY = "copy or convert the file again"


@dataclass(frozen=True, slots=True)
class MrdSamples:
    """Samples ``[readout, coil, sample]`` of acquisitions of one length, read from the file when indexed.

    Parameters
    ----------
    path, group
        The file and the name of the group in it.
    index
        Which acquisitions, int ``[readout]``.
    channels, length
        Receive channels and samples of each.
    """

    path: Path
    group: str
    index: np.ndarray
    channels: int
    length: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Readouts, coils, samples."""
        return len(self.index), self.channels, self.length

    @property
    def dtype(self) -> np.dtype[Any]:
        """complex64."""
        return np.dtype(np.complex64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, readouts: Any) -> np.ndarray:
        """Read readouts; raises `MrdError` if their samples are damaged."""
        pick = self.index[readouts]
        if pick.ndim == 0:
            return self[np.array([readouts])][0]
        rows = [row.reshape(-1, self.channels * self.length * 2) for row in column(self.path, self.group, "data", pick)]
        if any(len(row) != 1 for row in rows):
            raise MrdError(self.path, "an acquisition holds fewer samples than its header says", COPY)
        out = np.concatenate(rows or [np.zeros((0, self.channels * self.length * 2))]).astype(np.float32)
        bad = ~np.isfinite(out).all(1)
        if bad.any():
            raise MrdError(self.path, "a sample is not a number", COPY, f"acquisition {pick[np.argmax(bad)] + 1}")
        return out.view(np.complex64).reshape(len(pick), self.channels, self.length)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def column(path: Path, group: str, name: str, pick: np.ndarray) -> list[np.ndarray]:
    """Read one variable-length column of some acquisitions."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            column = file[group]["data"].fields(name)
            runs = np.split(pick, 1 + np.nonzero(np.diff(pick) != 1)[0]) if len(pick) else []
            return [row for run in runs for row in column[int(run[0]) : int(run[-1]) + 1]]
    except Exception as error:
        raise MrdError(path, f"samples cannot be read ({type(error).__name__}: {error})", COPY) from error
