"""Damage raw files in every way that happens, and judge what the reader makes of it.

Allowed outcomes: a `PulsetwinError`, a warning that the intact file does not give, or exactly the intact data except
for the samples that were overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pulsetwin.errors import PulsetwinError
from pulsetwin.rawdata import RawData
from pulsetwin.recon.read import read
from pulsetwin.recon.twix_mdh import VB_MDH, VD_MDH
from pulsetwin.recon.twix_raid import read_container
from pulsetwin.recon.twix_walk import walk

ROOT = Path(__file__).resolve().parents[2]
SCANS = {
    "gre": ("tests/data/vendor_gre/gre.dat", None),
    "epi": ("examples/data/pulseq_epi/ramp_epi_pe_plus.dat", "examples/data/pulseq_epi/ramp_epi_pe_plus.seq"),
    "echo": ("examples/data/pulseq_se/slice_profile_sinc.dat", "examples/data/pulseq_se/slice_profile_sinc.seq"),
    "bare": ("examples/data/pulseq_epi/basic_epi_pe_plus.dat", None),
}
OTHER_SEQ = ROOT / "examples/data/pulseq_epi/ramp_epi_pe_none.seq"
FIELDS = (
    "FlagsAndDMALength",
    "MeasUID",
    "ScanCounter",
    "TimeStamp",
    "EvalInfoMask",
    "SamplesInScan",
    "UsedChannels",
    "Counter",
    "CenterCol",
    "CenterLin",
    "CenterPar",
    "SliceData",
)


@dataclass(frozen=True)
class Scan:
    """An intact scan: bytes, layout and what the reader makes of it."""

    data: bytes
    seq: Path | None
    raw: RawData
    samples: tuple[np.ndarray, ...]
    offset: np.ndarray
    length: np.ndarray
    header: tuple[int, int]
    end: int
    vb: bool


@cache
def intact(name: str) -> Scan:
    file, seq = SCANS[name]
    path, seq_path = ROOT / file, ROOT / seq if seq else None
    container = read_container(path)
    last = container.measurements[-1]
    found = walk(path, last, container.vb)
    raw = read(path, seq_path)
    length = np.diff(found.offset, append=found.offset[-1] + np.diff(found.offset)[-1])
    samples = tuple(group.samples[:] for group in raw.groups)
    header = (last.start, last.start + last.header)
    return Scan(path.read_bytes(), seq_path, raw, samples, found.offset, length, header, last.end, container.vb)


@dataclass
class Damaged:
    """A file under damage: its bytes, the readouts whose samples were overwritten, and the `.seq` to use."""

    data: bytearray
    scan: Scan
    rng: np.random.Generator
    touched: set[int]
    seq: Path | bytes | None
    partial: bool = False

    def field(self, k: int, name: str) -> tuple[int, int]:
        """Byte and size of a field in the header of readout `k`."""
        dtype, offset = (VB_MDH if self.scan.vb else VD_MDH).fields[name][:2]
        return int(self.scan.offset[k]) + offset, dtype.itemsize

    def put(self, at: int, value: int, size: int) -> None:
        self.data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")

    def set(self, k: int, name: str, value: int) -> None:
        at, size = self.field(k, name)
        self.put(at, value, size)

    def counter(self, k: int, number: int, value: int) -> None:
        self.put(self.field(k, "Counter")[0] + 2 * number, value, 2)

    def flag(self, k: int, bit: int) -> None:
        at, _ = self.field(k, "EvalInfoMask")
        self.data[at + bit // 8] ^= 1 << bit % 8

    def overwrite(self, start: int, stop: int, value: bytes) -> None:
        """Overwrite bytes and note the readouts whose samples they hold."""
        stop = min(stop, len(self.data))
        self.data[start:stop] = (value * (1 + (stop - start) // max(len(value), 1)))[: stop - start]
        self._note(start, stop)

    def _note(self, start: int, stop: int) -> None:
        begin = self.scan.offset
        hit = (begin < stop) & (begin + self.scan.length > start)
        self.touched |= set(np.nonzero(hit)[0].tolist())

    def flip(self, at: int, bit: int) -> None:
        self.data[at] ^= 1 << bit
        self._note(at, at + 1)


Case = Callable[[Damaged], None]


def _samples_start(d: Damaged, k: int) -> int:
    return int(d.scan.offset[k]) + (128 if d.scan.vb else 224)


def _nan(d: Damaged) -> None:
    at = _samples_start(d, 7)
    d.overwrite(at + 16, at + 20, np.float32(np.nan).tobytes())


def _cut(fraction: float) -> Case:
    def case(d: Damaged) -> None:
        begin, end = int(d.scan.offset[0]), len(d.data)
        del d.data[begin + int((end - begin) * fraction) :]

    return case


def _zero_tail(fraction: float) -> Case:
    def case(d: Damaged) -> None:
        begin = len(d.data) - int(len(d.data) * fraction)
        d.overwrite(max(begin, 0), len(d.data), b"\0")

    return case


def _each(field: str, value: int) -> Case:
    def case(d: Damaged) -> None:
        for k in range(len(d.scan.offset)):
            d.set(k, field, value)

    return case


def _counters_all(value: int) -> Case:
    def case(d: Damaged) -> None:
        for k in range(len(d.scan.offset)):
            for number in range(14):
                d.counter(k, number, value)

    return case


def _replace(old: bytes, new: bytes) -> Case:
    def case(d: Damaged) -> None:
        begin, end = d.scan.header
        d.data[begin:end] = d.data[begin:end].replace(old, new)

    return case


def _keep_partial(inner: Case) -> Case:
    def case(d: Damaged) -> None:
        inner(d)
        d.partial = True

    return case


def _clean_cut(d: Damaged) -> None:
    del d.data[int(d.scan.offset[-1]) :]


def _acqend_lost(d: Damaged) -> None:
    del d.data[int(d.scan.offset[-1] + d.scan.length[-1]) :]


def _field_of_view(d: Damaged) -> None:
    at = d.data.index(b"=", d.data.index(b"sSliceArray.asSlice[0].dReadoutFOV"))
    while not chr(d.data[at]).isdigit():
        at += 1
    d.data[at] ^= 1


def _channel_length(d: Damaged) -> None:
    if not d.scan.vb:
        d.put(int(d.scan.offset[5]) + 192, 77, 4)


def _wrong_seq(d: Damaged) -> None:
    d.seq = OTHER_SEQ


def _edited_seq(d: Damaged) -> None:
    if isinstance(d.seq, Path):
        d.seq = d.seq.read_bytes().replace(b"[ADC]", b"# edited\n[ADC]")


CASES: dict[str, Case] = {
    "intact": lambda d: None,
    "empty": lambda d: d.data.clear(),
    "one byte": lambda d: d.data.__delitem__(slice(1, None)),
    "only the first 100 bytes": lambda d: d.data.__delitem__(slice(100, None)),
    "not TWIX": lambda d: d.data.__setitem__(slice(None), bytes(range(256)) * 400),
    "text": lambda d: d.data.__setitem__(slice(None), b"hello world, this is not raw data\n" * 1000),
    "zeros": lambda d: d.data.__setitem__(slice(None), bytes(len(d.data))),
    "cut in the table": lambda d: d.data.__delitem__(slice(5000, None)),
    "cut in the header": lambda d: d.data.__delitem__(slice(d.scan.header[0] + 3000, None)),
    "cut at 50 %": _cut(0.5),
    "cut at 99 %": _cut(0.99),
    "cut at a clean line": _clean_cut,
    "end mark lost": _acqend_lost,
    "cut at 50 %, partial": _keep_partial(_cut(0.5)),
    "cut at a clean line, partial": _keep_partial(_clean_cut),
    "end mark lost, partial": _keep_partial(_acqend_lost),
    "cut before the first readout, partial": _keep_partial(_cut(0.0)),
    "RAID count 0": lambda d: d.put(4, 0, 4),
    "RAID count 2": lambda d: d.put(4, 2, 4),
    "RAID count 64": lambda d: d.put(4, 64, 4),
    "RAID count 1000": lambda d: d.put(4, 1000, 4),
    "RAID offset 0": lambda d: d.put(16, 0, 8),
    "RAID offset beyond": lambda d: d.put(16, 1 << 40, 8),
    "RAID offset shifted": lambda d: d.put(16, 10240 + 512, 8),
    "RAID length 0": lambda d: d.put(24, 0, 8),
    "RAID length half": lambda d: d.put(24, 900_000, 8),
    "RAID length huge": lambda d: d.put(24, 1 << 50, 8),
    "header length 0": lambda d: d.put(d.scan.header[0], 0, 4),
    "header length huge": lambda d: d.put(d.scan.header[0], 0xFFFFFFFF, 4),
    "header length one less": lambda d: d.put(d.scan.header[0], d.scan.header[1] - d.scan.header[0] - 32, 4),
    "header buffers 1000": lambda d: d.put(d.scan.header[0] + 4, 1000, 4),
    "header buffers 3": lambda d: d.put(d.scan.header[0] + 4, 3, 4),
    "buffer name": _replace(b"MeasYaps\0", b"MeasYapz\0"),
    "field of view in one copy": _field_of_view,
    "huge index": _replace(b"asSlice[0]", b"asSlice[9]"),
    "samples 0": lambda d: d.set(5, "SamplesInScan", 0),
    "samples +1": lambda d: d.set(5, "SamplesInScan", 321),
    "samples 65535": lambda d: d.set(5, "SamplesInScan", 65535),
    "channels 0": lambda d: d.set(5, "UsedChannels", 0),
    "channels 3": lambda d: d.set(5, "UsedChannels", 3),
    "channels 65535": lambda d: d.set(5, "UsedChannels", 65535),
    "first readout: samples 0": lambda d: d.set(0, "SamplesInScan", 0),
    "all samples halved": _each("SamplesInScan", 16),
    "DMA 0": lambda d: d.set(5, "FlagsAndDMALength", 0),
    "DMA doubled": lambda d: d.set(5, "FlagsAndDMALength", 2 * int(d.scan.length[0])),
    "SYNCDATA, DMA 0": lambda d: (d.flag(5, 5), d.set(5, "FlagsAndDMALength", 0)),
    "SYNCDATA flag": lambda d: d.flag(5, 5),
    "end mark in the middle": lambda d: d.flag(5, 0),
    "end mark on the last but one": lambda d: d.flag(len(d.scan.offset) - 2, 0),
    "end mark on the last": lambda d: d.flag(len(d.scan.offset) - 1, 0),
    "zero tail 30 %": _zero_tail(0.3),
    "zero tail 5 %": _zero_tail(0.05),
    "zero tail 30 %, partial": _keep_partial(_zero_tail(0.3)),
    "zeroed block": lambda d: d.overwrite(_samples_start(d, 9) + 1000, _samples_start(d, 9) + 9000, b"\0"),
    "LIN 60000": lambda d: d.counter(5, 0, 60000),
    "LIN + 1": lambda d: d.counter(5, 0, 6),
    "PAR 60000": lambda d: d.counter(5, 3, 60000),
    "SLC 3": lambda d: d.counter(5, 2, 3),
    "REP 1": lambda d: d.counter(5, 6, 1),
    "all counters 65535": _counters_all(65535),
    "all counters 0": _counters_all(0),
    "counter jumps": lambda d: d.set(5, "ScanCounter", 99),
    "another measurement": lambda d: d.set(5, "MeasUID", 12345),
    "reversed line": lambda d: d.flag(5, 24),
    "phase correction line": lambda d: d.flag(5, 21),
    "noise line": lambda d: d.flag(5, 25),
    "channel length": _channel_length,
    "NaN": _nan,
    "NaN, partial": _keep_partial(_nan),
    "infinite": lambda d: d.overwrite(_samples_start(d, 3), _samples_start(d, 3) + 4, np.float32(np.inf).tobytes()),
    "huge sample": lambda d: d.overwrite(_samples_start(d, 3), _samples_start(d, 3) + 4, np.float32(1e30).tobytes()),
    "wrong seq": _wrong_seq,
    "edited seq": _edited_seq,
    "line twice": lambda d: d.data.__setitem__(
        slice(d.scan.offset[6], d.scan.offset[6]),
        bytes(d.data[d.scan.offset[5] : d.scan.offset[6]]),
    ),
    "line lost": lambda d: d.data.__delitem__(slice(int(d.scan.offset[5]), int(d.scan.offset[6]))),
    "bytes behind": lambda d: d.data.extend(b"\1" * 100_000),
    "padding lost": lambda d: d.data.__delitem__(slice(d.scan.end, None)),
}


def random_case(d: Damaged) -> str:
    """Apply one to three random mutations; return their names."""
    names = []
    for _ in range(int(d.rng.choice([1, 1, 1, 2, 3]))):
        if len(d.data) < 64:
            break
        mutation = _RANDOM[int(d.rng.integers(len(_RANDOM)))]
        names.append(mutation.__name__ + ": " + str(mutation(d)))
    d.partial = bool(d.rng.random() < 0.3)
    return "; ".join(names) + (" [partial]" if d.partial else "")


def _truncate(d: Damaged) -> int:
    at = int(d.rng.integers(len(d.data)))
    del d.data[at:]
    return at


def _bit_anywhere(d: Damaged) -> int:
    at = int(d.rng.integers(len(d.data)))
    d.flip(at, int(d.rng.integers(8)))
    return at


def _bit_in_mdh(d: Damaged) -> tuple[int, str, int]:
    k, name = int(d.rng.integers(len(d.scan.offset))), FIELDS[int(d.rng.integers(len(FIELDS)))]
    at, size = d.field(k, name)
    at += int(d.rng.integers(size))
    bit = int(d.rng.integers(8))
    if at < len(d.data):
        d.data[at] ^= 1 << bit
    return k, name, bit


def _value_in_mdh(d: Damaged) -> tuple[int, str, int]:
    k, name = int(d.rng.integers(len(d.scan.offset))), FIELDS[int(d.rng.integers(len(FIELDS)))]
    at, size = d.field(k, name)
    value = int(d.rng.choice([0, 1, 2, 255, 65535, 4294967295, int(d.rng.integers(1 << 31))]))
    if name == "Counter":
        at, size = at + 2 * int(d.rng.integers(14)), 2
    if at + size <= len(d.data):
        d.put(at, value, min(size, 8))
    return k, name, value


def _block(d: Damaged) -> tuple[int, int]:
    start = int(d.rng.integers(len(d.data)))
    size = int(2 ** d.rng.uniform(0, 18))
    value = (b"\0", b"\xff", d.rng.bytes(64), np.float32(np.nan).tobytes())[int(d.rng.integers(4))]
    d.overwrite(start, start + size, value)
    return start, size


def _zeros_at_end(d: Damaged) -> int:
    start = int(d.rng.integers(len(d.data)))
    d.overwrite(start, len(d.data), b"\0")
    return start


def _table(d: Damaged) -> int:
    at = int(d.rng.integers(8, 32)) if d.rng.random() < 0.7 else int(d.rng.integers(8))
    d.data[at] = int(d.rng.integers(256))
    return at


def _header_text(d: Damaged) -> tuple[int, int]:
    begin, end = d.scan.header
    start, size = int(d.rng.integers(begin, end)), int(2 ** d.rng.uniform(0, 12))
    if start + size < len(d.data):
        d.data[start : start + size] = d.rng.bytes(size)
    return start, size


def _bit_in_header_begin(d: Damaged) -> int:
    at = d.scan.header[0] + int(d.rng.integers(64))
    if at < len(d.data):
        d.data[at] ^= 1 << int(d.rng.integers(8))
    return at


def _remove(d: Damaged) -> tuple[int, int]:
    start, size = int(d.rng.integers(len(d.data))), int(2 ** d.rng.uniform(0, 16))
    del d.data[start : start + size]
    return start, size


def _insert(d: Damaged) -> tuple[int, int]:
    start, size = int(d.rng.integers(len(d.data))), int(2 ** d.rng.uniform(0, 14))
    d.data[start:start] = d.rng.bytes(size)
    return start, size


def _nan_payload(d: Damaged) -> int:
    k = int(d.rng.integers(len(d.scan.offset)))
    at = _samples_start(d, k) + 8 * int(d.rng.integers(16))
    d.overwrite(at, at + 4, np.float32((np.nan, np.inf, -np.inf, 1e38)[int(d.rng.integers(4))]).tobytes())
    return k


def _named(d: Damaged) -> str:
    name = list(CASES)[int(d.rng.integers(len(CASES)))]
    if len(d.data) == len(d.scan.data):
        CASES[name](d)
    return name


def _seq_damage(d: Damaged) -> str:
    if d.seq is None:
        d.seq = OTHER_SEQ
        return "unasked"
    if isinstance(d.seq, Path):
        d.seq = d.seq.read_bytes()
    text = bytearray(d.seq)
    kind = ("cut", "flip", "remove")[int(d.rng.integers(3))]
    at = int(d.rng.integers(len(text)))
    if kind == "cut":
        del text[at:]
    elif kind == "flip":
        text[at] ^= 1 << int(d.rng.integers(7))
    else:
        del text[at : at + int(2 ** d.rng.uniform(0, 12))]
    d.seq = bytes(text)
    return f"{kind} {at}"


_RANDOM = (
    _truncate,
    _bit_anywhere,
    _bit_in_mdh,
    _bit_in_mdh,
    _value_in_mdh,
    _value_in_mdh,
    _block,
    _zeros_at_end,
    _table,
    _header_text,
    _bit_in_header_begin,
    _remove,
    _insert,
    _nan_payload,
    _named,
    _seq_damage,
)


def damaged(scan_name: str, seed: int) -> Damaged:
    """Return a fresh copy of an intact scan, to be damaged."""
    scan = intact(scan_name)
    return Damaged(bytearray(scan.data), scan, np.random.default_rng(seed), set(), scan.seq)


def judge(d: Damaged, folder: Path) -> str:
    """Read a damaged file completely; return ``error``, ``flagged`` or ``equal``, or raise `AssertionError`."""
    path = folder / "damaged.dat"
    path.write_bytes(d.data)
    seq = d.seq
    if isinstance(seq, bytes):
        seq = folder / "damaged.seq"
        seq.write_bytes(d.seq)
    try:
        raw = read(path, seq, partial=d.partial)
        samples = tuple(np.asarray(group.samples[:]) for group in raw.groups)
    except PulsetwinError as error:
        message = str(error)
        assert "\n" not in message, message
        assert path.name in message or "damaged.seq" in message or OTHER_SEQ.name in message or ".seq" in message
        return "error"
    assert sum(len(group) for group in raw.groups), "no readouts and no error"
    assert all(np.isfinite(part.view(np.float32)).all() for part in samples), "samples that are no numbers"
    if set(raw.warnings) - set(d.scan.raw.warnings):
        return "flagged"
    _assert_equal(d, raw, samples)
    return "equal"


def _assert_equal(d: Damaged, raw: RawData, samples: tuple[np.ndarray, ...]) -> None:
    """Assert that a result without warnings is that of the intact file, but for overwritten samples."""
    before = d.scan.raw
    assert [part.shape for part in samples] == [part.shape for part in d.scan.samples], "other readouts, no warning"
    same = np.array([k not in d.touched for k in range(len(d.scan.offset))])
    for group, old, part, old_part in zip(raw.groups, before.groups, samples, d.scan.samples, strict=True):
        keep = same if len(group) == len(same) else np.zeros(len(group), bool)
        assert np.array_equal(part[keep], old_part[keep]), "other samples, no warning"
        assert group.labels.keys() == old.labels.keys(), "other labels, no warning"
        assert group.flags.keys() == old.flags.keys(), "other flags, no warning"
        for name, values in old.labels.items():
            assert np.array_equal(group.labels[name], values), f"other label {name}, no warning"
        for name, values in old.flags.items():
            assert np.array_equal(group.flags[name], values), f"other flag {name}, no warning"
        if old.trajectory is not None:
            assert group.trajectory is not None, "no trajectory, no warning"
            distance = np.abs(group.trajectory.positions() - old.trajectory.positions()).max()
            assert distance < 1e-6, "other trajectory, no warning"
        assert np.allclose(group.dwell, old.dwell, rtol=1e-6), "another dwell time, no warning"
        limit = 1e-9 if d.scan.seq else 0.011
        assert np.abs(group.start_time - old.start_time).max() < limit, "other times, no warning"
    geometry = raw.geometry
    assert np.allclose(geometry.fov, before.geometry.fov), "another field of view, no warning"
    assert geometry.matrix == before.geometry.matrix, "another matrix, no warning"
    assert np.allclose(geometry.rotation, before.geometry.rotation, atol=3e-3), "another orientation, no warning"
    assert np.allclose(geometry.centers, before.geometry.centers, atol=2e-5), "another position, no warning"
