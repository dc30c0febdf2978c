"""Walk over the readouts of a TWIX measurement: find them all, and trust none of their headers.

Every readout's header says how long the readout is, so one damaged header derails all that follow. The walk therefore
checks what the file repeats: the length (DMA) against samples and channels, the first channel's header, the running
scan counter, the constant measurement number, and that the end mark (ACQEND) is there and is the last thing in the
measurement. Equal readouts in a row are checked and copied as one strided array.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.recon.twix_mdh import BIT, CHANNEL_HEADER, DMA_MASK, PACK_BIT, VB_MDH, VD_MDH, readout_bytes
from pulsetwin.recon.twix_raid import PARTIAL, Measurement

MAX_CHANNELS = 256
_END, _SYNC = 1 << BIT["ACQEND"], 1 << BIT["SYNCDATA"]
_BLOCK = 4096
_SPAN = 32 << 20
_RECORD = {True: np.dtype([("mdh", VB_MDH)]), False: np.dtype([("mdh", VD_MDH), ("channel", CHANNEL_HEADER)])}


@dataclass(frozen=True, slots=True)
class Walk:
    """The readouts of one measurement, in file order, without end mark and SYNCDATA blocks.

    Parameters
    ----------
    mdh
        Their headers (`twix_mdh.VB_MDH` or `VD_MDH`), ``[readout]``.
    offset
        Byte at which each begins, int64 ``[readout]``.
    vb
        Whether the layout is the one of VB.
    problem
        The first damage; the readouts given are those complete before it.
    """

    mdh: np.ndarray
    offset: np.ndarray
    vb: bool
    problem: TwixError | None


def walk(path: Path, measurement: Measurement, vb: bool) -> Walk:
    """Find all readouts of a measurement; see `Walk`. Never raises for damage: it is told in `Walk.problem`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        records, offset, problem = _walk(path, data, measurement, vb)
    bad, reason = _first_contradiction(records, vb)
    if bad < len(records):
        problem = TwixError(path, reason, PARTIAL, f"byte {offset[bad]} (readout {bad + 1})")
    return Walk(records["mdh"][:bad], offset[:bad], vb, problem)


def _walk(path: Path, data: mmap.mmap, measurement: Measurement, vb: bool):
    at, end = measurement.start + measurement.header, measurement.end
    blocks, starts, count, released, previous = [], [], 0, 0, None
    problem = None
    while True:
        length, fault = _length(data, at, end, vb)
        if length == 0 or fault:
            problem = TwixError(path, fault, PARTIAL, f"byte {at} (readout {count + 1})") if fault else None
            break
        if length < 0:
            at -= length
            continue
        run = _equal_readouts(data, at, end, length, vb, min(_BLOCK, _SPAN // length) if previous == length else 1)
        blocks.append(run)
        starts.append(at + length * np.arange(len(run), dtype=np.int64))
        at, count, previous = at + length * len(run), count + len(run), length
        if at - released > _SPAN and hasattr(mmap, "MADV_DONTNEED"):
            data.madvise(mmap.MADV_DONTNEED, 0, at // mmap.PAGESIZE * mmap.PAGESIZE)
            released = at
    if not blocks:
        return np.zeros(0, _RECORD[vb]), np.zeros(0, np.int64), problem
    return np.concatenate(blocks), np.concatenate(starts), problem


def _length(data: mmap.mmap, at: int, end: int, vb: bool) -> tuple[int, str]:
    """Return the bytes of the readout at `at` (0: the end mark, negative: to skip), and what is wrong with it."""
    size = _RECORD[vb].itemsize
    if at + 128 > end or at + (128 if vb else 192) > end:
        return 0, "the measurement stops without its end mark (ACQEND): truncated"
    dma, uid = struct.unpack_from("<Ii", data, at)
    mask, samples, channels = struct.unpack_from("<QHH", data, at + (20 if vb else 40))
    packed, dma = bool(dma & PACK_BIT) or vb, dma & DMA_MASK
    if mask & _END:
        return 0, _end_fault(data, at, end, readout_bytes(samples, channels, vb) if vb else dma, uid)
    if mask & _SYNC:
        if dma < (128 if vb else 192) or dma % 32 or at + dma > end:
            return 0, f"a SYNCDATA block of {dma} bytes is impossible"
        return -dma, ""
    if not (1 <= channels <= MAX_CHANNELS and samples >= 1):
        return 0, f"a readout of {channels} channels and {samples} samples is impossible"
    length = readout_bytes(samples, channels, vb)
    if dma != length and not packed:
        return 0, f"{channels} channels of {samples} samples take {length} bytes, the header says {dma}"
    if vb and dma % (length // channels):
        return 0, f"{channels} channels of {samples} samples do not fit into {dma} bytes"
    if at + length > end or at + size > end:
        return 0, f"the readout should end at byte {at + length}, the measurement ends at byte {end}: truncated"
    return length, ""


def _end_fault(data: mmap.mmap, at: int, end: int, length: int, uid: int) -> str:
    """Return what is wrong with an end mark of `length` bytes: there must be nothing but padding behind it."""
    behind = end - at - length
    if behind > 1024 or length > 1 << 20:
        return f"the end mark (ACQEND) is followed by {max(behind, 0)} bytes: data behind the end, or a damaged flag"
    if behind >= 12 and struct.unpack_from("<i", data, at + length + 4)[0] == uid:
        return "the end mark (ACQEND) is followed by another readout: a damaged flag"
    return ""


def _equal_readouts(data: mmap.mmap, at: int, end: int, length: int, vb: bool, most: int) -> np.ndarray:
    """Copy the headers of the readouts from `at` on that have the layout of the first, at least one."""
    count = max(1, min(most, (end - at) // length))
    view = np.ndarray((count,), _RECORD[vb], data, at, (length,))
    if count > 1:
        mdh = view["mdh"]
        same = (mdh["FlagsAndDMALength"] & DMA_MASK) == (mdh["FlagsAndDMALength"][0] & DMA_MASK)
        for field in ("SamplesInScan", "UsedChannels"):
            same &= mdh[field] == mdh[field][0]
        same &= (mdh["EvalInfoMask"] & np.uint64(_END | _SYNC)) == 0
        count = count if same.all() else int(np.argmin(same))
    return view[:count].copy()


def _first_contradiction(records: np.ndarray, vb: bool) -> tuple[int, str]:
    """Return the index of the first readout that contradicts the others, or their number, and the reason."""
    if len(records) == 0:
        return 0, ""
    mdh = records["mdh"]
    numbers, times = np.unique(mdh["MeasUID"], return_counts=True)
    checks = {
        "it belongs to another measurement (MeasUID)": mdh["MeasUID"] != numbers[np.argmax(times)],
        "readouts are missing before it (ScanCounter)": np.diff(mdh["ScanCounter"], prepend=mdh["ScanCounter"][:1] - 1)
        != 1,
    }
    if not vb:
        channel = records["channel"]
        expected = 32 + 8 * mdh["SamplesInScan"].astype(np.uint32)
        checks["its first channel has another length"] = channel["TypeAndChannelLength"] >> 8 != expected
        checks["its first channel belongs to another readout"] = channel["ScanCounter"] != mdh["ScanCounter"]
    first = {reason: int(np.argmax(bad)) for reason, bad in checks.items() if bad.any()}
    if not first:
        return len(records), ""
    reason = min(first, key=first.__getitem__)
    return first[reason], reason
