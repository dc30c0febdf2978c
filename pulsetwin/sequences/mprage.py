"""Inversion-prepared 3D gradient echo (MPRAGE): an adiabatic inversion before each line's train of partitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels, set_labels
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import add_excitation, add_readout, add_rewinding, spoiled_echo
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.preparations import inversion, play
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import spoiled_phase
from pulsetwin.sequences.sampling import calibration_labels, check_sampling, sampled, sampling_definitions
from pulsetwin.sequences.timing import pause, rest

_CRUSHING = 8.0  # cycles of phase across a voxel along z after the inversion


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of an MPRAGE."""

    fov: tuple[float, float, float] = setting(
        (0.256, 0.24, 0.176), "m", "field of view along x, y, z", low=1e-4, high=1
    )
    matrix: tuple[int, int, int] = setting((256, 240, 176), "", "samples, lines and partitions", low=2, high=4096)
    acceleration: tuple[int, int] = setting((1, 1), "", "along y and z: one of so many is sampled", low=1, high=16)
    caipi_shift: int = setting(0, "", "partitions by which sampled lines are shifted, one to the next", low=0, high=15)
    calibration: int = setting(0, "", "lines and partitions around the centre, all sampled", low=0, high=256)
    partial_fourier: tuple[float, float] = setting(
        (1.0, 1.0), "", "share along y and z that is sampled", low=0.5, high=1
    )
    flip_angle: float = setting(math.radians(9), "rad", "of the excitations", low=1e-3, high=math.pi / 2)
    ti: float | None = setting(0.9, "s", "from the inversion to the middle partition; the least if none", low=0, high=9)
    te: float | None = setting(None, "s", "echo time; the least if none", low=0, high=1)
    tr: float | None = setting(2.3, "s", "from inversion to inversion; the least if none", low=0, high=60)
    echo_spacing: float | None = setting(None, "s", "from excitation to excitation; the least if none", low=0, high=1)
    bandwidth: float = setting(240.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    inversion_duration: float = setting(12.8e-3, "s", "of the adiabatic inversion", low=1e-3, high=5e-2)
    inversion_b1: float | None = setting(
        None, "T", "peak of the adiabatic inversion; 21 uT if none, or the scanner's if less", low=1e-7, high=1e-2
    )
    inversion_sweep: float = setting(830.0, "Hz", "offset at which it starts and ends", low=1, high=1e6)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=1e-2)
    time_bandwidth: float = setting(8.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(2.0, "", "cycles of phase across a voxel along z that the spoilers make", low=0, high=64)
    rf_spoiling: float = setting(math.radians(50), "rad", "increment of the RF phase's increment", low=0, high=7)
    dummies: int = setting(1, "", "inversions before the first train that is measured", low=0, high=100)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        if any(size % 2 for size in self.matrix):
            raise ProtocolError(f"matrix = {self.matrix}: give even numbers")
        check_sampling(self)


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
    echo, crusher = spoiled_echo(p, scanner), _CRUSHING * p.matrix[2] / p.fov[2]
    prepared = inversion(p.inversion_duration, p.inversion_b1, p.inversion_sweep, crusher, scanner)
    wait_te = rest("te", p.te, echo.te, raster)
    wait = rest("echo_spacing", p.echo_spacing, echo.duration + wait_te, raster)
    spacing, trains, calibrating = echo.duration + wait_te + wait, _trains(p), calibration_labels(p)
    half = p.matrix[2] // 2
    most = [max(sum((part < half) == early for part in train) for train in trains.values()) for early in (True, False)]
    to_middle = prepared.after + most[0] * spacing + echo.pulse.centre
    wait_ti = rest("ti", p.ti, to_middle, raster)
    length = prepared.before + prepared.after + wait_ti + sum(most) * spacing
    wait_tr = rest("tr", p.tr, length, raster)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR" + " REF IMA" * bool(calibrating), echo.line.adc, p.noise_samples, scanner)
    pulses = count()
    for row in [None] * p.dummies + list(trains):
        number = p.matrix[1] // 2 if row is None else row
        play(seq, prepared)
        early = sum(partition < half for partition in trains[number])
        pause(seq, wait_ti + (most[0] - early) * spacing)
        for partition in trains[number]:
            where = number, partition
            add_excitation(seq, echo, where, 0.0, spoiled_phase(p.rf_spoiling, next(pulses)))
            pause(seq, wait_te)
            names = [*labels(*where), *set_labels(**calibrating.get(where, {}))]
            add_readout(seq, echo, None if row is None else names)
            add_rewinding(seq, echo, where)
            pause(seq, wait)
        pause(seq, wait_tr + (most[1] - len(trains[number]) + early) * spacing)
    times = {"TI": to_middle + wait_ti, "EchoSpacing": spacing, "Bandwidth": echo.line.bandwidth}
    return describe(seq, p, echo.te + wait_te, length + wait_tr, **times, **sampling_definitions(p))


def _trains(p: Protocol) -> dict[int, list[int]]:
    """Return the partitions of each line that is sampled.

    Trains need not be of one length: each waits so that the middle partition has its time after the inversion, and the
    next inversion its own.
    """
    mask = sampled(p)
    return {row: np.flatnonzero(mask[:, row]).tolist() for row in range(p.matrix[1]) if mask[:, row].any()}
