"""Samples of a TWIX file as a lazy array: indexing readouts reads those, and checks each.

Only the part of the file that is asked for is mapped, and only while it is copied, so a scan of any size can be read
with little memory.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.recon.twix_mdh import VD_MDH, channel_record
from pulsetwin.recon.twix_raid import PARTIAL

_SPAN = 64 << 20
_IMPOSSIBLE = 1e18


@dataclass(frozen=True, slots=True)
class TwixSamples:
    """Samples ``[readout, coil, sample]`` of readouts of one length, complex64, read from the file when indexed.

    Parameters
    ----------
    path
        The file.
    offset
        Byte at which each readout begins, int64 ``[readout]``.
    counter
        Running number of each readout (ScanCounter), which every channel repeats, ``[readout]``.
    channels
        Receive channels.
    length
        Samples of each readout.
    vb
        Whether the layout is the one of VB.
    """

    path: Path
    offset: np.ndarray
    counter: np.ndarray
    channels: int
    length: int
    vb: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Readouts, coils, samples."""
        return len(self.offset), self.channels, self.length

    @property
    def dtype(self) -> np.dtype[Any]:
        """complex64."""
        return np.dtype(np.complex64)

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, readouts: Any) -> np.ndarray:
        """Read readouts: an integer, a slice, or an array of indices or booleans.

        Raises
        ------
        TwixError
            If a channel's header contradicts its readout, or a sample is not a possible number.
        """
        offset, counter = self.offset[readouts], self.counter[readouts]
        if offset.ndim == 0:
            return self[np.array([readouts])][0]
        out = np.empty((len(offset), self.channels, self.length), np.complex64)
        with self.path.open("rb") as file:
            for part in self._parts(offset):
                self._read(file, offset[part], counter[part], out[part])
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def _parts(self, offset: np.ndarray):
        """Split readouts into parts that each lie in a short stretch of the file."""
        begin = 0
        while begin < len(offset):
            near = np.abs(offset[begin:] - offset[begin]) > _SPAN
            stop = begin + int(np.argmax(near)) if near.any() else len(offset)
            yield slice(begin, stop)
            begin = stop

    def _read(self, file, offset: np.ndarray, counter: np.ndarray, out: np.ndarray) -> None:
        record = channel_record(self.length, self.vb)
        skip = 0 if self.vb else VD_MDH.itemsize
        low = int(offset.min()) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        span = int(offset.max()) + skip + self.channels * record.itemsize - low
        try:
            data = mmap.mmap(file.fileno(), span, access=mmap.ACCESS_READ, offset=low)
        except (ValueError, OSError) as error:
            raise TwixError(self.path, "the file became shorter while it was read", "read it again") from error
        step = np.diff(offset)
        if len(step) == 0 or (step == step[0]).all():
            strides = (int(step[0]) if len(step) else 0, record.itemsize)
            view = np.ndarray((len(offset), self.channels), record, data, int(offset[0]) + skip - low, strides)
            self._check_headers(view["header"], offset, counter)
            out[:] = view["samples"]
        else:
            headers = np.empty(out.shape[:2], record["header"])
            for k, at in enumerate(offset.tolist()):
                view = np.ndarray((self.channels,), record, data, at + skip - low)
                headers[k], out[k] = view["header"], view["samples"]
            self._check_headers(headers, offset, counter)
        self._check_samples(out, offset, counter)

    def _check_headers(self, header: np.ndarray, offset: np.ndarray, counter: np.ndarray) -> None:
        bad = (header["ScanCounter"] != counter[:, None]) | (header["ChannelId"] != header["ChannelId"][:1])
        if self.vb:
            bad |= header["SamplesInScan"] != self.length
        else:
            bad |= header["TypeAndChannelLength"] >> 8 != 32 + 8 * self.length
        if bad.any():
            k, channel = (int(i[0]) for i in np.nonzero(bad))
            self._fail(f"the header of channel {channel + 1} contradicts its readout", offset[k], counter[k])

    def _check_samples(self, out: np.ndarray, offset: np.ndarray, counter: np.ndarray) -> None:
        values = out.view(np.float32).reshape(len(out), -1)
        if values.max() < _IMPOSSIBLE and values.min() > -_IMPOSSIBLE:
            return
        bad = ~(np.abs(values) < _IMPOSSIBLE).all(1)
        k = int(np.argmax(bad))
        kind = "infinite or impossibly large" if not np.isnan(values[k]).any() else "not a number (NaN)"
        self._fail(f"a sample is {kind}", offset[k], counter[k])

    def _fail(self, problem: str, offset: int, counter: int) -> None:
        raise TwixError(self.path, problem, PARTIAL, f"byte {offset} (readout {counter})")
