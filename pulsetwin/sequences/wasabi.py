"""WASABI: B0 and B1 from snapshots after a short off-resonant pulse, at offsets around water and one far from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_saturation import constant_pulse, crusher
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.snapshot import Settings, check_readout, readout, start
from pulsetwin.sequences.timing import pause, whole

_OFFSETS = tuple(round(-2 + 4 * number / 30, 9) for number in range(31))


@dataclass(frozen=True, slots=True)
class Protocol(Settings):
    """Settings of a WASABI scan; Schuenke et al. 2017, doi:10.1002/mrm.26133.

    A measurement is recovery, pulse, crusher and readout; the first has the far offset, and its own recovery.
    """

    b1: float = setting(3.7e-6, "T", "of the pulse", low=1e-8, high=1e-4)
    pulse_duration: float = setting(5e-3, "s", "of the pulse", low=1e-4, high=0.1)
    offsets: tuple[float, ...] = setting(_OFFSETS, "ppm", "of the pulse from water", low=-100, high=100)
    m0_offset: float = setting(-300.0, "ppm", "of the pulse of the first measurement", low=-2000, high=2000)
    recovery: float = setting(3.0, "s", "before each pulse", low=0, high=60)
    m0_recovery: float = setting(12.0, "s", "before the pulse of the first measurement", low=0, high=60)
    flip_angle: float = setting(math.radians(10), "rad", "of the excitations", low=1e-3, high=math.pi)
    crushing: float = setting(4.0, "", "cycles of phase across a voxel, along each axis, before the readout",
                              low=0.5, high=64)  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)
        check_readout(self)
        if not self.offsets:
            raise ProtocolError("offsets: give at least one")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence; the label SET counts measurements, the first of them with the far offset.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept; its field makes ppm Hz.

    Raises
    ------
    ProtocolError
        If a time is too short or a pulse too strong; what works is told.
    """
    p, larmor = protocol, scanner.gamma * scanner.field_strength
    snapshot, crush = readout(p, p.flip_angle, scanner), crusher(p.crushing, p, scanner)
    seq, offsets = start(p, snapshot, scanner), [p.m0_offset, *p.offsets]
    for number, offset in enumerate(offsets):
        pulse = constant_pulse(p.b1, p.pulse_duration, 1e-6 * offset * larmor, 0.0, scanner)
        for shot in range(p.shots):
            pause(seq, whole(p.recovery if number else p.m0_recovery, scanner.block_raster))
            seq.add_block(*pulse)
            seq.add_block(*crush)
            snapshot.add(seq, shot, number)
    measured = pp.calc_duration(*pulse) + pp.calc_duration(*crush) + snapshot.duration
    return describe(
        seq, p, snapshot.te, p.recovery + measured, B0=scanner.field_strength, num_meas=len(offsets),
        offsets_ppm=offsets, M0_offset=p.m0_offset, B1=1e6 * p.b1, tp=p.pulse_duration, Trec=p.recovery,
        Trec_M0=p.m0_recovery, FREQ=1e-6 * larmor,
    )  # fmt: skip
