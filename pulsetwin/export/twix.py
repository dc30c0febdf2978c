"""Write raw data as a Siemens TWIX file (VD/VE layout), readout by readout, so that any TWIX reader reads it back.

Noise becomes a measurement of its own before the scan, as on the scanner. Labels become counters, flags become flags,
and the signature of the `.seq` goes where the scanner's interpreter puts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import ProtocolError
from pulsetwin.export.twix_header import SEQUENCE, header_block, slice_axes
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.twix_geometry import LPS_TO_RAS, matrix_quaternion
from pulsetwin.recon.twix_mdh import (
    ALIGNMENT,
    BIT,
    CHANNEL_HEADER,
    DMA_MASK,
    LABEL_OF_COUNTER,
    RAID_BYTES,
    RAID_ENTRY,
    TICK,
    VD_MDH,
    channel_record,
    readout_bytes,
)

_CHUNK = 32 << 20
_NOISE_LENGTH = 4096
_NOON = 17_280_000
_COUNTER_OF_LABEL = {label: counter for counter, label in LABEL_OF_COUNTER.items()}


def write(raw: RawData, path: str | Path, *, seq_signature: str | None = None, force: bool = False) -> None:
    """Write a scan as TWIX.

    Parameters
    ----------
    raw
        The scan; samples may be lazily read.
    path
        The file to appear, whole or not at all.
    seq_signature
        MD5 signature of the `.seq` that was played; by default the one in ``raw.header``.
    force
        Whether to replace an existing file.

    Raises
    ------
    ProtocolError
        If the format cannot hold something: too many samples or channels, a label out of range, a skewed geometry.
    OutputExistsError
        If `path` exists and `force` is false.
    """
    signature = str(raw.header.get("signature") or "") if seq_signature is None else seq_signature
    _check(raw, signature)
    with atomic_file(path, force=force) as temporary, temporary.open("wb") as file:
        file.write(bytes(RAID_BYTES))
        scans = ([_noise_scan(raw)] if raw.noise is not None else []) + [raw]
        entries = [_measurement(file, scan, signature, number + 1) for number, scan in enumerate(scans)]
        table = np.zeros(len(entries), RAID_ENTRY)
        for k, (start, end) in enumerate(entries):
            table[k] = (k + 1, k + 1, start, end - start, b"pulsetwin", b"noise" if k < len(entries) - 1 else b"scan")
        file.seek(0)
        file.write(np.array([0, len(entries)], "<u4").tobytes() + table.tobytes())


def _check(raw: RawData, signature: str) -> None:
    if signature and (len(signature) != 32 or set(signature) - set("0123456789abcdef")):
        raise ProtocolError(f"signature {signature!r} is not an MD5 hash: give the 32 hexadecimal digits of the .seq")
    if not raw.groups or not sum(len(group) for group in raw.groups):
        raise ProtocolError("there are no readouts to write: give at least one")
    for group in raw.groups:
        _, channels, samples = group.samples.shape
        if not (1 <= channels <= 256 and 1 <= samples <= 65535 and readout_bytes(samples, channels, False) <= DMA_MASK):
            raise ProtocolError(
                f"{channels} channels of {samples} samples do not fit a TWIX readout: split the ADC or compress coils"
            )
        for name, values in group.labels.items():
            if name not in _COUNTER_OF_LABEL or (len(values) and not 0 <= values.min() <= values.max() <= 65535):
                raise ProtocolError(f"label {name} cannot be written: TWIX has counters 0..65535 for known labels only")


def _noise_scan(raw: RawData) -> RawData:
    """Return the noise as a scan of its own."""
    channels, total = raw.noise.shape
    length = min(total, _NOISE_LENGTH)
    whole = total // length
    parts = [raw.noise[:, : whole * length].reshape(channels, whole, length).swapaxes(0, 1)]
    if total % length:
        parts.append(raw.noise[None, :, whole * length :])
    groups, start = [], 0.0
    for part in parts:
        count = len(part)
        flags = {"noise": np.ones(count, bool), "imaging": np.zeros(count, bool)}
        dwell = np.full(count, raw.noise_dwell)
        time = start + np.arange(count) * raw.noise_dwell * length
        groups.append(Readouts(np.asarray(part, np.complex64), None, time, dwell, {}, flags))
        start += count * raw.noise_dwell * length
    return RawData(tuple(groups), None, raw.noise_dwell, raw.geometry, {}, raw.header)


def _measurement(file: BinaryIO, raw: RawData, signature: str, number: int) -> tuple[int, int]:
    """Write one measurement, padded to 512 bytes; return the bytes it spans without the padding."""
    start = file.tell()
    slices = max(len(raw.geometry.centers), 1 + max(int(group.label("SLC").max(initial=0)) for group in raw.groups))
    file.write(header_block(raw, signature, float(raw.groups[0].dwell[0]), slices))
    group_of, row_of = _order(raw.groups)
    template = _template(raw, signature, number)
    bytes_each = max(readout_bytes(g.samples.shape[2], g.coils, False) for g in raw.groups)
    step = max(1, _CHUNK // bytes_each)
    for begin in range(0, len(group_of), step):
        _write_chunk(file, raw, template, group_of, row_of, slice(begin, begin + step))
    end_mark = template.copy()
    end_mark["FlagsAndDMALength"], end_mark["ScanCounter"] = VD_MDH.itemsize + 160, len(group_of) + 1
    end_mark["EvalInfoMask"], end_mark["TimeStamp"] = 1 << BIT["ACQEND"], _NOON
    file.write(end_mark.tobytes() + bytes(160))
    end = file.tell()
    file.write(bytes(-end % ALIGNMENT))
    return start, end


def _order(groups: tuple[Readouts, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return group and row of each readout in the order of acquisition; rows of a group stay in order."""
    time = np.concatenate([np.maximum.accumulate(group.start_time) for group in groups])
    group_of = np.concatenate([np.full(len(group), k) for k, group in enumerate(groups)])
    row_of = np.concatenate([np.arange(len(group)) for group in groups])
    order = np.argsort(time, kind="stable")
    return group_of[order], row_of[order]


def _template(raw: RawData, signature: str, number: int) -> np.ndarray:
    pulseq = bool(signature) or "pulseq" in str(raw.header.get("sequence") or SEQUENCE).lower()
    mdh = np.zeros((), VD_MDH)
    mdh["MeasUID"] = number
    mdh["SliceData"]["quaternion"] = matrix_quaternion(slice_axes(raw, pulseq)[0])
    return mdh


def _write_chunk(file: BinaryIO, raw: RawData, template, group_of: np.ndarray, row_of: np.ndarray, part: slice) -> None:
    """Write readouts `part` of the order: all of a group's at once, then put in order."""
    groups, rows = group_of[part], row_of[part]
    number = part.start + 1 + np.arange(len(groups))
    blocks = {}
    for k in np.unique(groups):
        mine = groups == k
        blocks[int(k)] = _records(raw, int(k), template, rows[mine], number[mine], len(group_of))
    if len(blocks) == 1:
        file.write(next(iter(blocks.values())).data)
        return
    after = dict.fromkeys(blocks, 0)
    for k in groups.tolist():
        file.write(blocks[k][after[k] : after[k] + 1].data)
        after[k] += 1


def _records(raw: RawData, k: int, template, rows: np.ndarray, number: np.ndarray, total: int) -> np.ndarray:
    """Return the bytes of some readouts of group `k`, of `total` in all, as a record array."""
    group = raw.groups[k]
    _, channels, samples = group.samples.shape
    out = np.zeros(len(rows), np.dtype([("mdh", VD_MDH), ("channel", channel_record(samples, False), (channels,))]))
    mdh, header = out["mdh"], out["channel"]["header"]
    mdh[...] = template
    mdh["FlagsAndDMALength"] = out.dtype.itemsize
    mdh["ScanCounter"], mdh["SamplesInScan"], mdh["UsedChannels"] = number, samples, channels
    mdh["TimeStamp"] = _NOON + np.round(group.start_time[rows] / TICK).astype(np.int64)
    mdh["EvalInfoMask"] = _masks(group, rows)
    mdh["CenterCol"] = samples // 2
    mdh["CenterLin"], mdh["CenterPar"] = _centres(raw, group)
    for name, values in group.labels.items():
        mdh["Counter"][_COUNTER_OF_LABEL[name]] = values[rows]
    if not group.labels:
        mdh["Counter"]["Lin"] = np.minimum(number - 1, 65535)
    centre = np.minimum(group.label("SLC")[rows], len(raw.geometry.centers) - 1)
    mdh["SliceData"]["position"] = (1e3 * raw.geometry.centers @ LPS_TO_RAS)[centre]
    if number[-1] == total:
        mdh["EvalInfoMask"][-1] |= np.uint64(1 << BIT["LASTSCANINMEAS"])
    header["TypeAndChannelLength"] = (CHANNEL_HEADER.itemsize + 8 * samples) << 8
    header["MeasUID"], header["ScanCounter"] = template["MeasUID"], number[:, None]
    header["ChannelId"] = np.arange(channels)
    out["channel"]["samples"] = np.asarray(group.samples[rows])
    return out


def _masks(group: Readouts, rows: np.ndarray) -> np.ndarray:
    """Return the evaluation mask of readouts."""
    imaging, reference = group.flag("imaging")[rows], group.flag("reference")[rows]
    bits = {
        "noise": "NOISEADJSCAN",
        "navigator": "RTFEEDBACK",
        "phase_correction": "PHASCOR",
        "reversed": "REFLECT",
    }
    mask = np.full(len(rows), 1 << BIT["ONLINE"], np.uint64)
    for name, bit in bits.items():
        mask[group.flag(name)[rows]] |= np.uint64(1 << BIT[bit])
    mask[reference & ~imaging] |= np.uint64(1 << BIT["PATREFSCAN"])
    mask[reference & imaging] |= np.uint64(1 << BIT["PATREFANDIMASCAN"])
    other = group.flag("noise")[rows] | group.flag("navigator")[rows] | group.flag("phase_correction")[rows]
    mask[~imaging & ~reference & ~other] |= np.uint64(1 << BIT["noname60"])
    return mask


def _centres(raw: RawData, group: Readouts) -> tuple[int, int]:
    """Return the line and partition through the centre of k-space, as a Cartesian scan has them."""
    if group.trajectory is None:
        return 0, 0
    found: list[Any] = []
    for label, axis in (("LIN", 1), ("PAR", 2)):
        away = group.trajectory.offset[:, axis] * raw.geometry.fov[axis]
        found.append(int(np.clip(np.round(np.median(group.label(label) - away)), 0, 65535)))
    return found[0], found[1]
