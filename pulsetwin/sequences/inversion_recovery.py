"""Inversion recovery: T1 from snapshots at several times after adiabatic inversions, each with its own recovery."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.preparations import inversion, play
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.snapshot import Settings, check_readout, readout, start
from pulsetwin.sequences.timing import pause, rest


@dataclass(frozen=True, slots=True)
class Protocol(Settings):
    """Settings of an inversion recovery."""

    inversion_times: tuple[float, ...] = setting(
        (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2), "s",
        "from the inversion to the excitation of the centre of k-space", low=1e-3, high=60,
    )  # fmt: skip
    recovery_times: tuple[float, ...] = setting(
        (8.0,), "s", "from the end of each image to the next inversion, one or one for each but the last image",
        low=1e-3, high=60,
    )  # fmt: skip
    flip_angle: float = setting(math.radians(5), "rad", "of the excitations", low=1e-3, high=math.pi / 2)
    inversion_duration: float = setting(12.8e-3, "s", "of the adiabatic inversion", low=1e-3, high=5e-2)
    inversion_b1: float | None = setting(
        None, "T", "peak of the adiabatic inversion; 21 uT if none, or the scanner's if less", low=1e-7, high=1e-2
    )
    inversion_sweep: float = setting(830.0, "Hz", "offset at which it starts and ends", low=1, high=1e6)
    crushing: float = setting(8.0, "", "cycles of phase across a voxel along z after an inversion", low=0, high=64)

    def __post_init__(self) -> None:
        validate(self)
        check_readout(self)
        if self.shots > 1:
            raise ProtocolError(f"shots = {self.shots}: an image follows one inversion, give 1")
        if len(self.recovery_times) not in (1, len(self.inversion_times) - 1):
            raise ProtocolError(f"recovery_times: {len(self.recovery_times)} between {len(self.inversion_times)} "
                                "images: give one, or one for each but the last image")  # fmt: skip


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence; the label SET counts images, whose times the definition TI repeats.

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
    area = p.crushing * p.matrix[2] / p.fov[2]
    prepare = inversion(p.inversion_duration, p.inversion_b1, p.inversion_sweep, area, scanner)
    least, raster = prepare.after + snapshot.centre, scanner.block_raster
    images = len(p.inversion_times)
    recoveries = p.recovery_times * (images - 1 if len(p.recovery_times) == 1 else 1)
    pauses = [*(rest("recovery_times", recovery, prepare.before, raster) for recovery in recoveries), 0.0]
    measured, realised = [], []
    for number, (time, after) in enumerate(zip(p.inversion_times, pauses, strict=True)):
        wait = rest("inversion_times", time, least, raster)
        play(seq, prepare)
        pause(seq, wait)
        snapshot.add(seq, 0, number)
        pause(seq, after)
        measured.append(prepare.duration + wait + snapshot.duration + after)
        realised.append(least + wait)
    return describe(seq, p, snapshot.te, measured, TI=realised, FlipAngle=math.degrees(p.flip_angle))
