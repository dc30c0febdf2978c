"""Actual flip-angle imaging (AFI): a spoiled gradient echo of a volume with two repetition times in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import least_duration, line, lobe, set_labels
from pulsetwin.sequences.checks import check_even
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import GradientEcho, add_excitation, add_readout, add_rewinding
from pulsetwin.sequences.hard_pulse import hard_pulse
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import linear
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import within_turn
from pulsetwin.sequences.slice_pulse import SlicePulse
from pulsetwin.sequences.timing import pause, rest, up, whole


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of an AFI scan; hard pulses excite all that is in the coil, so the field of view holds it."""

    fov: tuple[float, float, float] = setting((0.24, 0.24, 0.2), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((64, 64, 40), "", "samples, lines and partitions", low=2, high=1024)
    flip_angle: float = setting(math.radians(60), "rad", "of the excitation", low=1e-3, high=math.pi)
    te: float | None = setting(None, "s", "echo time; the least if none", low=0, high=1)
    tr: float | None = setting(0.02, "s", "the shorter repetition time; the least if none", low=0, high=10)
    ratio: float = setting(5.0, "", "of the longer repetition time to the shorter", low=1.5, high=20)
    bandwidth: float = setting(500.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(400e-6, "s", "of the excitation, a hard pulse", low=1e-5, high=1e-2)
    spoiling: float = setting(
        64.0, "", "cycles of phase across a voxel along z in the shorter time, more by the ratio in the longer", low=1,
        high=1000,
    )  # fmt: skip
    rf_spoiling: float = setting(
        math.radians(70), "rad", "increment of the RF phase's increment, see `phases`", low=0, high=7
    )
    dummies: int = setting(20, "", "pairs of repetitions before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_even(self.matrix)


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence: SET 0 is read in the shorter repetition time TR1, SET 1 in the longer TR2.

    With ``r = S1 / S0`` of the two images and ``n = TR2 / TR1``, where both are short beside T1, the flip angle is
    ``arccos((r n - 1) / (n - r))`` (Yarnykh, Magn Reson Med 2007, 57, 192; doi:10.1002/mrm.21120).

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
    echo, spoiler = _parts(p, scanner)
    wait_te = rest("te", p.te, echo.te, raster)
    least = echo.duration + wait_te
    short = least + rest("tr", p.tr, least, raster)
    long = short + max(whole((p.ratio - 1) * short, raster), pp.calc_duration(spoiler))
    waits = short - least, long - least - pp.calc_duration(spoiler)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SET", echo.line.adc, p.noise_samples, scanner)
    lines = [(line, partition) for line, partition in linear(np.ones(p.matrix[2:0:-1], bool)).tolist()]
    for number, measured in enumerate([None] * p.dummies + lines):
        where = measured or (p.matrix[1] // 2, p.matrix[2] // 2)
        for which, phase in enumerate(phases(number, p.rf_spoiling, long / short)):
            add_excitation(seq, echo, where, 0.0, phase)
            pause(seq, wait_te)
            add_readout(seq, echo, set_labels(LIN=where[0], PAR=where[1], SET=which) if measured else None)
            add_rewinding(seq, echo, where)
            if which:
                seq.add_block(spoiler)
            pause(seq, waits[which])
    return describe(seq, p, echo.te + wait_te, short + long, TR1=short, TR2=long, Bandwidth=echo.line.bandwidth)


def phases(number: int, increment: float, ratio: float) -> tuple[float, float]:
    """Return the RF phases [rad] of a pair of repetitions.

    From pair to pair the phase advances by `increment` [rad] more across the shorter time, and by `ratio` times that
    across the longer one: as spins do in a field that grows, so that there is a steady state (Nehrke, Magn Reson Med
    2009, 61, 84; doi:10.1002/mrm.21592).
    """
    first = increment * (1 + ratio) * number * (number - 1) / 2
    return within_turn(first), within_turn(first + increment * number)


def _parts(p: Protocol, scanner: Scanner) -> tuple[GradientEcho, Any]:
    """Return the repetition, and the spoiler that the longer time has besides.

    The gradients of each time add up to whole cycles across a voxel along z, and to nothing along x and y: an image
    then shows only what is in phase.
    """
    rf = hard_pulse(p.flip_angle, p.rf_duration, "excitation", scanner)
    duration = up(pp.calc_duration(rf), scanner.block_raster)
    still = lobe("z", 0.0, duration, scanner)
    pulse = SlicePulse((rf, still, pp.make_delay(duration)), rf.delay + pp.calc_rf_center(rf)[0], 0.0, duration)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    y, z = (count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True))
    spoiler = p.spoiling * p.matrix[2] / p.fov[2]
    # there is time: weaker lobes stimulate nerves less
    prephase = 2 * least_duration(read.before, y, z, scanner=scanner)
    rewind = up(1.5 * least_duration(read.before, y, spoiler + z, scanner=scanner), scanner.block_raster)
    echo = GradientEcho(p.matrix, p.fov, pulse, read, prephase, rewind, (-read.before, spoiler), scanner)
    more = (p.ratio - 1) * spoiler
    length = up(1.5 * least_duration(more, scanner=scanner), scanner.block_raster)
    return echo, lobe("z", more, length, scanner)
