"""CEST fingerprinting: a schedule of saturations, each followed by a snapshot; any B1, offset, time and recovery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_saturation import KINDS, crusher, pulses_in, saturation
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.snapshot import Settings, check_readout, readout, start
from pulsetwin.sequences.timing import pause, rest, whole

_SCHEDULE = ("b1", "offset", "saturation_time", "flip_angle", "recovery", "tr")
_LARGINE = (
    2, 2, 1.7, 1.5, 1.2, 1.2, 3, 0.5, 3, 1, 2.2, 3.2, 1.5, 0.7, 1.5, 2.2, 2.5, 1.2, 3, 0.2, 1.5, 2.5, 0.7, 4, 3.2, 3.5,
    1.5, 2.7, 0.7, 0.5,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Protocol(Settings):
    """Settings of a CEST-MRF scan; those of the schedule have one value for each measurement, or one for all.

    A measurement is its saturation, crusher, readout and recovery. With several shots the schedule is played as often,
    for a part of the lines each time; the magnetisation is carried through all of it.
    """

    b1: tuple[float, ...] = setting(
        tuple(1e-6 * value for value in _LARGINE), "T", "schedule: of constant pulses, or root mean square of a Gauss",
        low=0, high=1e-4,
    )  # fmt: skip
    offset: tuple[float, ...] = setting((3.0,), "ppm", "schedule: of the saturation from water", low=-1000, high=1000)
    saturation_time: tuple[float, ...] = setting(
        (2.5,), "s", "schedule: from the first pulse's start to the last's end; 0 for none", low=0, high=60
    )
    flip_angle: tuple[float, ...] = setting(
        (math.radians(15),), "rad", "schedule: of the excitations", low=1e-3, high=math.pi
    )
    recovery: tuple[float, ...] | None = setting(
        None, "s", "schedule: from a readout to the next saturation, not after the last", low=0, high=100
    )
    tr: tuple[float, ...] | None = setting(
        None, "s", "schedule: from a saturation's start to the next's, instead of recovery", low=0, high=100
    )
    saturation: str = setting("spin_lock", "", "continuous wave, or train of pulses", choices=KINDS)
    pulse_duration: float = setting(0.1, "s", "of a pulse of a train", low=1e-4, high=10)
    pulse_pause: float = setting(0.1, "s", "from the end of a train's pulse to the next one's start", low=0, high=10)
    tip_duration: float = setting(1e-3, "s", "of pulses that lead to the spin-lock field and back", low=1e-5, high=0.01)
    tip_pause: float | None = setting(None, "s", "between them and a spin-lock; the least if none", low=0, high=0.1)
    phase_step: float = setting(math.radians(50), "rad", "from a spin-lock pulse to the next", low=0, high=7)
    crushing: float = setting(4.0, "", "cycles of phase across a voxel, along each axis, before the readout; 0 for "
                              "no crusher", low=0, high=64)  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)
        check_readout(self)
        if self.recovery is not None and self.tr is not None:
            raise ProtocolError("recovery and tr: give one of them, the other follows")
        lengths = {name: len(value) for name in _SCHEDULE if (value := getattr(self, name)) is not None}
        most = max(lengths.values())
        for name, length in lengths.items():
            if length not in (1, most):
                raise ProtocolError(f"{name} has {length} values where {most} are measured: give 1 or {most}")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence; the label SET counts measurements.

    Offsets become Hz by the scanner's field, B1 by its gyromagnetic ratio.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short, a pulse too strong, or a train does not fill its time; what works is told.
    """
    p, rows = protocol, schedule(protocol)
    readouts = {angle: readout(p, angle, scanner) for angle in {row.flip_angle for row in rows}}
    crush = crusher(p.crushing, p, scanner)
    seq, last = start(p, readouts[rows[0].flip_angle], scanner), (p.shots - 1, len(rows) - 1)
    for shot in range(p.shots):
        for number, row in enumerate(rows):
            blocks = saturation(p, row.b1, row.offset, row.saturation_time, scanner) + ([crush] if crush else [])
            for block in blocks:
                seq.add_block(*block)
            readouts[row.flip_angle].add(seq, shot, number)
            row.least = readouts[row.flip_angle].duration + sum(pp.calc_duration(*block) for block in blocks)
            row.wait = _recovery(row, number, scanner)
            if (shot, number) != last:
                pause(seq, row.wait)
    describe(seq, p, readouts[rows[0].flip_angle].te, [row.least + row.wait for row in rows])
    return _describe_schedule(seq, p, rows, scanner)


def _recovery(row: SimpleNamespace, number: int, scanner: Scanner) -> float:
    """Return the time from a measurement's readout to the next saturation [s]."""
    if row.tr is not None:
        return rest(f"tr of measurement {number}", row.tr, row.least, scanner.block_raster)
    return whole(row.recovery or 0.0, scanner.block_raster)


def schedule(protocol: Protocol) -> list[SimpleNamespace]:
    """Return the measurements: `b1`, `offset`, `saturation_time`, `flip_angle`, `recovery` and `tr` of each."""
    given = {name: getattr(protocol, name) or (None,) for name in _SCHEDULE}
    count = max(map(len, given.values()))
    columns = {name: values * (count // len(values)) for name, values in given.items()}
    return [SimpleNamespace(**{name: column[row] for name, column in columns.items()}) for row in range(count)]


def _describe_schedule(seq: pp.Sequence, p: Protocol, rows: list[SimpleNamespace], scanner: Scanner) -> pp.Sequence:
    """State the schedule by the names and units of Pulseq-CEST files; return the sequence."""
    pulsed = p.saturation != "cw"
    said = {
        "B0": scanner.field_strength,
        "num_meas": len(rows),
        "offsets_ppm": [row.offset for row in rows],
        "B1pa": [1e6 * row.b1 for row in rows],
        "Tsat": [row.saturation_time for row in rows],
        "Trec": [row.wait for row in rows],
        "FlipAngle": [math.degrees(row.flip_angle) for row in rows],
    }
    if pulsed:
        said |= {"tp": p.pulse_duration, "td": p.pulse_pause}
        said["n_pulses"] = [
            pulses_in(row.saturation_time, p.pulse_duration, p.pulse_pause) if row.saturation_time else 0
            for row in rows
        ]
    for name, value in said.items():
        seq.set_definition(name, value)
    return seq
