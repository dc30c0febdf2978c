"""Inversion-prepared 3D gradient echo (MPRAGE): an adiabatic inversion before each line's train of partitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import add_excitation, add_readout, add_rewinding, spoiled_echo
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.timing import pause, rest, up


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of an MPRAGE."""

    fov: tuple[float, float, float] = setting(
        (0.256, 0.24, 0.176), "m", "field of view along x, y, z", low=1e-4, high=1
    )
    matrix: tuple[int, int, int] = setting((256, 240, 176), "", "samples, lines and partitions", low=2, high=4096)
    flip_angle: float = setting(math.radians(9), "rad", "of the excitations", low=1e-3, high=math.pi / 2)
    ti: float | None = setting(
        None, "s", "from the inversion to the middle partition; the least if none", low=0, high=9
    )
    tr: float | None = setting(None, "s", "from inversion to inversion; the least if none", low=0, high=60)
    echo_spacing: float | None = setting(None, "s", "from excitation to excitation; the least if none", low=0, high=1)
    bandwidth: float = setting(240.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    inversion_duration: float = setting(10.24e-3, "s", "of the adiabatic pulse", low=1e-3, high=5e-2)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=1e-2)
    time_bandwidth: float = setting(8.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoilers make", low=0, high=64)
    rf_spoiling: float = setting(math.radians(50), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(1, "", "inversions before the first train that is measured", low=0, high=100)

    def __post_init__(self) -> None:
        validate(self)
        if any(size % 2 for size in self.matrix):
            raise ProtocolError(f"matrix = {self.matrix}: give even numbers")


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a time is too short; the least that works is told.
    """
    p, raster = protocol, scanner.block_raster
    echo, prepared = spoiled_echo(p, scanner), _inversion(p, scanner)
    wait = rest("echo_spacing", p.echo_spacing, echo.duration, raster)
    spacing, partitions = echo.duration + wait, p.matrix[2]
    to_middle = prepared.after + partitions // 2 * spacing + echo.pulse.centre
    wait_ti = rest("ti", p.ti, to_middle, raster)
    train = prepared.before + prepared.after + wait_ti + partitions * spacing
    wait_tr = rest("tr", p.tr, train, raster)
    seq = pp.Sequence(scanner.opts)
    seq.add_block(*labels(0, 0, 0, 0))
    pulses = count()
    for row in [None] * p.dummies + list(range(p.matrix[1])):
        for block in prepared.blocks:
            seq.add_block(*block)
        pause(seq, wait_ti)
        for partition in range(partitions):
            where = p.matrix[1] // 2 if row is None else row, partition
            add_excitation(seq, echo, where, 0.0, spoiled_phase(p.rf_spoiling, next(pulses)))
            add_readout(seq, echo, None if row is None else labels(*where, 0, 0))
            add_rewinding(seq, echo, where)
            pause(seq, wait)
        pause(seq, wait_tr)
    return describe(seq, p, echo.te, train + wait_tr, TI=to_middle + wait_ti, EchoSpacing=spacing)


def _inversion(p: Protocol, scanner: Scanner) -> SimpleNamespace:
    """Return the blocks of the inversion and its spoiler, and the times before and after the pulse's centre [s]."""
    pulse = pp.make_adiabatic_pulse(
        "hypsec", duration=p.inversion_duration, dwell=10 * scanner.rf_raster, system=scanner.opts, use="inversion",
        delay=scanner.rf_dead_time,
    )  # fmt: skip
    whole = up(pp.calc_duration(pulse), scanner.block_raster)
    centre = pulse.delay + pp.calc_rf_center(pulse)[0]
    spoiler = pp.make_trapezoid("z", area=8 * p.matrix[2] / p.fov[2], system=scanner.opts)
    return SimpleNamespace(
        blocks=((pulse, pp.make_delay(whole)), (spoiler,)), before=centre,
        after=whole - centre + pp.calc_duration(spoiler),
    )  # fmt: skip
