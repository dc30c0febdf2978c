"""Saturation recovery: T1 from snapshots at several times after a saturation that tolerates errors of B1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.preparations import Preparation, play, saturation, spoiler
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.snapshot import Settings, check_readout, readout, start
from pulsetwin.sequences.timing import pause, rest

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Protocol(Settings):
    """Settings of a saturation recovery."""

    recovery_times: tuple[float, ...] = setting(
        (10.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.75, 0.5, 0.4, 0.3, 0.2), "s",
        "from the saturation's last pulse to the excitation of the centre of k-space", low=1e-3, high=60,
    )  # fmt: skip
    flip_angle: float = setting(math.radians(10), "rad", "of the excitations", low=1e-3, high=math.pi)
    saturation_b1: float = setting(10e-6, "T", "of the saturating pulses", low=1e-7, high=1e-3)
    saturation_pulses: int = setting(4, "", "of a saturation", low=1, high=16)
    b1_error: float = setting(0.3, "", "relative error of B1 that is tolerated", low=0, high=0.9)
    crushing: float = setting(12.0, "", "cycles of phase across a voxel along z after the first saturating pulse",
                              low=0.5, high=64)  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)
        check_readout(self)
        if not self.recovery_times:
            raise ProtocolError("recovery_times: give at least one")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence; the label SET counts recovery times, which the definition TI repeats.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short or a pulse too strong; what works is told.
    """
    p = protocol
    snapshot = readout(p, p.flip_angle, scanner)
    seq = start(p, snapshot, scanner)
    crush = spoiler(p.crushing * p.matrix[2] / p.fov[2] / 2, scanner)  # what a readout leaves must not be stored
    measured, realised = [], []
    for number, time in enumerate(p.recovery_times):
        for shot in range(p.shots):
            prepare = _saturation(p, number * p.shots + shot, scanner)
            least = prepare.after + snapshot.centre
            wait = rest("recovery_times", time, least, scanner.block_raster)
            seq.add_block(*crush)
            play(seq, prepare)
            pause(seq, wait)
            snapshot.add(seq, shot, number)
        measured.append(pp.calc_duration(*crush) + prepare.duration + wait + snapshot.duration)
        realised.append(least + wait)
    return describe(seq, p, snapshot.te, measured, TI=realised, FlipAngle=math.degrees(p.flip_angle))


def _saturation(p: Protocol, repetition: int, scanner: Scanner) -> Preparation:
    """Return a saturation whose spoilers differ from those before.

    Equal ones would bring back, as stimulated echoes, what the pulses of earlier saturations stored.
    """
    crushing = p.crushing * (1 + _GOLDEN * repetition % 1)
    return saturation(
        p.saturation_b1, crushing * p.matrix[2] / p.fov[2], scanner, pulses=p.saturation_pulses, b1_error=p.b1_error
    )  # fmt: skip
