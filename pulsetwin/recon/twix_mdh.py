"""Byte layout of Siemens TWIX files: tables only, shared by the reader and the writer.

VB files hold one measurement: a header, then for every readout and channel a 128-byte measurement data header (MDH)
and the samples. VD, VE and XA files begin with a 10240-byte table of measurements (multi-RAID); every readout has one
192-byte MDH and a 32-byte header per channel. Field names follow the ones `twixtools.mdh_def` uses.
"""

from __future__ import annotations

import numpy as np

RAID_BYTES = 10240
RAID_ENTRIES = 64
ALIGNMENT = 512
DMA_MASK = 0x1FFFFFF
PACK_BIT = 0x2000000
TICK = 2.5e-3
"""Unit of the MDH time stamps [s]."""
TICKS_PER_DAY = 34_560_000

COUNTERS = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")
LABEL_OF_COUNTER = {
    "Lin": "LIN",
    "Ave": "AVG",
    "Sli": "SLC",
    "Par": "PAR",
    "Eco": "ECO",
    "Phs": "PHS",
    "Rep": "REP",
    "Set": "SET",
    "Seg": "SEG",
    "Ida": "ACQ",
}

BIT = {
    "ACQEND": 0,
    "RTFEEDBACK": 1,
    "HPFEEDBACK": 2,
    "ONLINE": 3,
    "OFFLINE": 4,
    "SYNCDATA": 5,
    "LASTSCANINCONCAT": 8,
    "LASTSCANINMEAS": 11,
    "REFPHASESTABSCAN": 14,
    "PHASESTABSCAN": 15,
    "PHASCOR": 21,
    "PATREFSCAN": 22,
    "PATREFANDIMASCAN": 23,
    "REFLECT": 24,
    "NOISEADJSCAN": 25,
    "FIRSTSCANINSLICE": 28,
    "LASTSCANINSLICE": 29,
    "noname60": 60,
}
"""Bit of each flag of the MDH's evaluation mask."""

RAID_HEADER = np.dtype([("hdSize", "<u4"), ("count", "<u4")])
RAID_ENTRY = np.dtype(
    [
        ("measId", "<u4"),
        ("fileId", "<u4"),
        ("off", "<u8"),
        ("len", "<u8"),
        ("patName", "S64"),
        ("protName", "S64"),
    ]
)

_LINE_COUNTER = [(name, "<u2") for name in COUNTERS]
_SLICE_DATA = [("position", "<f4", 3), ("quaternion", "<f4", 4)]
_BEGIN = [
    ("FlagsAndDMALength", "<u4"),
    ("MeasUID", "<i4"),
    ("ScanCounter", "<u4"),
    ("TimeStamp", "<u4"),
    ("PMUTimeStamp", "<u4"),
]
_MIDDLE = [
    ("EvalInfoMask", "<u8"),
    ("SamplesInScan", "<u2"),
    ("UsedChannels", "<u2"),
    ("Counter", _LINE_COUNTER),
    ("CutOff", "<u2", 2),
    ("CenterCol", "<u2"),
    ("CoilSelect", "<u2"),
    ("ReadOutOffcentre", "<f4"),
    ("TimeSinceLastRF", "<u4"),
    ("CenterLin", "<u2"),
    ("CenterPar", "<u2"),
]

VB_MDH = np.dtype(
    [
        *_BEGIN,
        *_MIDDLE,
        ("IceProgramPara", "<u2", 4),
        ("FreePara", "<u2", 4),
        ("SliceData", _SLICE_DATA),
        ("ChannelId", "<u2"),
        ("PTABPosNeg", "<u2"),
    ]
)

VD_MDH = np.dtype(
    [
        *_BEGIN,
        ("SystemType", "<u2"),
        ("PTABPosDelay", "<u2"),
        ("PTABPos", "<i4", 3),
        ("Reserved1", "<i4"),
        *_MIDDLE,
        ("SliceData", _SLICE_DATA),
        ("IceProgramPara", "<u2", 24),
        ("ReservedPara", "<u2", 4),
        ("ApplicationCounter", "<u2"),
        ("ApplicationMask", "<u2"),
        ("CRC", "<u4"),
    ]
)

CHANNEL_HEADER = np.dtype(
    [
        ("TypeAndChannelLength", "<u4"),
        ("MeasUID", "<i4"),
        ("ScanCounter", "<u4"),
        ("Reserved1", "<i4"),
        ("SequenceTime", "<u4"),
        ("Unused2", "<u4"),
        ("ChannelId", "<u2"),
        ("Unused3", "<u2"),
        ("CRC", "<u4"),
    ]
)


def flagged(mask: np.ndarray, *names: str) -> np.ndarray:
    """Return where the evaluation mask has any of the named flags, bool ``[readout]``."""
    bits = sum(1 << BIT[name] for name in names)
    return (mask & np.uint64(bits)) != 0


def readout_bytes(samples: int, channels: int, vb: bool) -> int:
    """Return the bytes that one readout takes in the file."""
    return channels * (128 + 8 * samples) if vb else 192 + channels * (32 + 8 * samples)


def channel_record(samples: int, vb: bool) -> np.dtype:
    """Return the layout of one channel of one readout: its header and its samples."""
    return np.dtype([("header", VB_MDH if vb else CHANNEL_HEADER), ("samples", "<c8", (samples,))])
