"""The measurements in a TWIX file: where each begins and ends, and how long its header is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.recon.twix_mdh import ALIGNMENT, RAID_BYTES, RAID_ENTRIES, RAID_ENTRY, RAID_HEADER

COPY_AGAIN = "copy the file again from the scanner"
PARTIAL = f"{COPY_AGAIN}, or use what is complete with partial=True (--partial)"
_MAX_HEADER = 64 << 20


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement of a file: bytes `start` to `end`, of which the first `header` are text.

    `stated` is where the file's table says that it ends, beyond `end` if the file is cut.
    """

    start: int
    end: int
    header: int
    stated: int


@dataclass(frozen=True, slots=True)
class Container:
    """All measurements of a file, in order; `vb` tells the old layout from the VD/VE/XA one.

    `problem` is what contradicts the file's own table, `warnings` what had to be assumed.
    """

    vb: bool
    measurements: tuple[Measurement, ...]
    problem: TwixError | None = None
    warnings: tuple[str, ...] = ()


def looks_like_twix(head: bytes) -> bool:
    """Tell from the first 8 bytes whether a file may be TWIX."""
    if len(head) < 8:
        return False
    first, second = np.frombuffer(head[:8], "<u4")
    return bool((first < 10000 and 1 <= second <= 65535) or (10000 <= first <= _MAX_HEADER and 1 <= second <= 64))


def read_container(path: Path) -> Container:
    """Read and check the table of measurements.

    Raises
    ------
    TwixError
        If the file is empty, not TWIX, or its table or a header length cannot be right.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(RAID_BYTES)
        if size == 0:
            raise TwixError(path, "the file is empty", COPY_AGAIN)
        if not looks_like_twix(head):
            raise TwixError(path, "this is not a Siemens TWIX file", "pass the .dat file exported by the scanner")
        if np.frombuffer(head[:4], "<u4")[0] >= 10000:
            return Container(True, (_measurement(path, file, 0, size, size),))
        return _read_raid(path, file, head, size)


def _read_raid(path: Path, file, head: bytes, size: int) -> Container:
    if len(head) < RAID_BYTES:
        raise TwixError(path, f"the table of measurements needs {RAID_BYTES} bytes", COPY_AGAIN, f"byte {size}")
    count = int(np.frombuffer(head, RAID_HEADER, 1)["count"][0])
    if not 1 <= count <= RAID_ENTRIES:
        raise TwixError(path, f"the table claims {count} measurements, at most 64 are possible", COPY_AGAIN, "byte 4")
    entries = np.frombuffer(head, RAID_ENTRY, count, RAID_HEADER.itemsize)
    offset, length = entries["off"].astype(object), entries["len"].astype(object)
    warnings = []
    if count == 1 and length[0] == 0:
        length[0] = max(size - offset[0], 0)
        warnings.append("The table of measurements gives the length 0: the file's own length was used.")
    problem = _check_table(path, offset, offset + length, size)
    measurements = tuple(_measurement(path, file, o, o + n, size) for o, n in zip(offset, length, strict=True))
    if (behind := size - measurements[-1].end) > ALIGNMENT:
        warnings.append(f"{behind} bytes follow the last measurement in the table: they were left out.")
    return Container(False, measurements, problem, tuple(warnings))


def _check_table(path: Path, start, end, size: int) -> TwixError | None:
    previous = RAID_BYTES
    for k in range(len(start)):
        where = f"measurement {k + 1} of {len(start)} in the table"
        if start[k] < previous or start[k] >= size or end[k] - start[k] < 1024:
            raise TwixError(path, f"bytes {start[k]} to {end[k]} are impossible", COPY_AGAIN, where)
        previous = end[k]
    if end[-1] > size:
        problem = f"the file ends here, but the table says that the last measurement ends at byte {end[-1]}: truncated"
        return TwixError(path, problem, PARTIAL, f"byte {size}")
    return None


def _measurement(path: Path, file, start: int, stated: int, size: int) -> Measurement:
    start, stated = int(start), int(stated)
    end = min(stated, size)
    file.seek(start)
    words = np.frombuffer(file.read(8), "<u4")
    where = f"byte {start}"
    if len(words) < 2:
        raise TwixError(path, "the file ends before the measurement's header", COPY_AGAIN, where)
    length, buffers = int(words[0]), int(words[1])
    if not (32 <= length <= _MAX_HEADER and 1 <= buffers <= 64):
        raise TwixError(
            path,
            f"a header of {length} bytes with {buffers} buffers is impossible",
            "this is no readable TWIX file",
            where,
        )
    if start + length > end:
        raise TwixError(path, f"the header should end at byte {start + length}: truncated", COPY_AGAIN, f"byte {size}")
    return Measurement(start, end, length, stated)
