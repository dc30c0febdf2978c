"""Balanced steady-state free precession (bSSFP): slices or a volume, begun by half a flip angle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import labels, least_duration, line, lobe
from pulsetwin.sequences.checks import check_even, check_slices
from pulsetwin.sequences.describe_scan import describe
from pulsetwin.sequences.gradient_echo import GradientEcho, add_excitation, add_readout, add_rewinding
from pulsetwin.sequences.noise_scan import begin_scan
from pulsetwin.sequences.orderings import interleaved
from pulsetwin.sequences.protocol import setting, validate
from pulsetwin.sequences.rf_phase import within_turn
from pulsetwin.sequences.slice_pulse import position, scaled, slice_pulse
from pulsetwin.sequences.timing import down, rest, up, whole

_ROUNDING = 1e-12  # [s]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a bSSFP; a matrix of one partition gives slices, of more a volume. TE is half of TR."""

    fov: tuple[float, float, float] = setting((0.22, 0.22, 0.005), "m", "field of view along x, y, z", low=1e-4, high=1)
    matrix: tuple[int, int, int] = setting((128, 128, 1), "", "samples, lines and partitions", low=1, high=4096)
    slices: int = setting(1, "", "slices one after the other, with one partition only", low=1, high=512)
    slice_gap: float = setting(0.0, "m", "between slices", low=0, high=0.1)
    flip_angle: float = setting(math.radians(40), "rad", "of the excitations", low=1e-3, high=math.pi)
    tr: float | None = setting(None, "s", "between excitations; the least if none", low=0, high=1)
    phase_increment: float = setting(math.pi, "rad", "from pulse to pulse", low=0, high=2 * math.pi)
    bandwidth: float = setting(600.0, "Hz", "per pixel", low=1, high=1e5)
    oversampling: int = setting(2, "", "of the readout", low=1, high=8)
    rf_duration: float = setting(1e-3, "s", "of the excitations", low=1e-4, high=2e-2)
    time_bandwidth: float = setting(3.0, "", "of the excitations", low=1, high=32)
    spoiling: float = setting(8.0, "", "cycles of phase across the slice after the last line", low=0, high=64)
    dummies: int = setting(40, "", "repetitions of each slice before the first that is measured", low=0, high=100000)
    noise_samples: int = setting(0, "", "of a noise scan before all, at least", low=0, high=10**7)

    def __post_init__(self) -> None:
        validate(self)
        check_slices(self.matrix, self.slices)
        check_even(self.matrix)


def build(protocol: Protocol, scanner: Scanner) -> pp.Sequence:
    """Return the sequence: all gradients of a repetition add up to 0, and the echo is in its middle.

    Parameters
    ----------
    protocol
        The settings.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If the repetition time is too short; the least that works is told.
    """
    p = protocol
    echo, begin, tr = _parts(p, scanner)
    seq = pp.Sequence(scanner.opts)
    begin_scan(seq, "LIN PAR SLC", echo.line.adc, p.noise_samples, scanner)
    lines = [(number, partition) for partition in range(p.matrix[2]) for number in range(p.matrix[1])]
    for slice_number in interleaved(p.slices).tolist():
        place = position(slice_number, p.slices, p.fov[2], p.slice_gap)
        _begin(seq, p, echo, begin, place)
        for repetition, measured in enumerate([None] * p.dummies + lines):
            where = measured or (p.matrix[1] // 2, p.matrix[2] // 2)
            add_excitation(seq, echo, where, place, within_turn(p.phase_increment * repetition))
            add_readout(seq, echo, labels(*where, slice_number) if measured else None)
            add_rewinding(seq, echo, where)
        if p.spoiling:
            seq.add_block(pp.make_trapezoid("z", area=p.spoiling / p.fov[2], system=scanner.opts))
    return describe(seq, p, echo.te, tr, Bandwidth=echo.line.bandwidth)


def _parts(p: Protocol, scanner: Scanner) -> tuple[GradientEcho, float, float]:
    """Return a repetition, the time from the half pulse's block to the first, and the repetition time [s].

    The lobes take what the pulse and the readout leave.
    """
    raster = scanner.block_raster
    pulse = slice_pulse(p.flip_angle, p.fov[2], p.rf_duration, p.time_bandwidth, "excitation", scanner)
    read = line(p.matrix[0], p.fov[0], p.bandwidth, p.oversampling, scanner)
    ahead = pulse.events[1].area - pulse.after
    y, z = (count / 2 / fov for count, fov in zip(p.matrix[1:], p.fov[1:], strict=True))
    z *= p.matrix[2] > 1
    prephase = least_duration(read.before, y, abs(pulse.after) + z, scanner=scanner)
    rewind = least_duration(read.before, y, abs(ahead) + z, scanner=scanner)
    begin = least_duration(pulse.events[1].area, scanner=scanner)
    sides = (
        pulse.duration - pulse.centre + prephase + read.echo, read.duration - read.echo + rewind + pulse.centre,
        pulse.duration + begin,
    )  # fmt: skip
    least = 2 * up(max(sides), raster)
    tr = least + rest("tr", p.tr, least, 2 * raster)
    # the echo is as near to the middle as the raster lets it be
    prephase = _on_raster(down(tr / 2 - (pulse.duration - pulse.centre) - read.echo, raster), raster)
    rewind = _on_raster(tr - pulse.duration - prephase - read.duration, raster)
    leaving = read.before - read.read.area, -ahead
    echo = GradientEcho(p.matrix, p.fov, pulse, read, prephase, rewind, leaving, scanner)
    return echo, _on_raster(tr / 2 - pulse.duration, raster), tr


def _on_raster(time: float, raster: float) -> float:
    """Return a time next to the raster on it [s], rounded up: pypulseq takes no less than a lobe's least duration."""
    return whole(time, raster) + _ROUNDING


def _begin(seq: pp.Sequence, p: Protocol, echo: GradientEcho, duration: float, place: float) -> None:
    """Add half a flip angle, half a repetition before the first pulse (Deimling and Heid, ISMRM 1994, p. 495).

    It is opposed to the first pulse for alternating phases; another increment is like a precession between pulses, of
    which half passes by then.
    """
    phase = math.pi - (p.phase_increment - math.pi) / 2
    rf, select, fill = echo.pulse.tuned(place, phase)
    seq.add_block(scaled(rf, 0.5), select, fill)
    seq.add_block(lobe("z", -select.area, duration, echo.scanner))
