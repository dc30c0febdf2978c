"""Echo-planar trains: lines that alternate in direction, sampled on their ramps or not, and the blips between them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import Line, line, set_labels
from pulsetwin.sequences.timing import pause, up, whole


@dataclass(frozen=True, slots=True)
class Train:
    """What an echo-planar train is made of.

    Parameters
    ----------
    line
        Its readout towards +x; those towards -x are its mirror image.
    reads
        The readout gradients towards +x and -x.
    blips
        Along +y: of the first, the inner and the last line's blocks if the ramps are sampled, else one for a block of
        its own.
    gap
        Duration of the block of a blip, 0 if blips are played with the lines [s].
    spacing
        From the middle of a line to that of the next [s].
    """

    line: Line
    reads: tuple[Any, Any]
    blips: tuple[Any, ...]
    gap: float
    spacing: float

    def duration(self, lines: int) -> float:
        """Return how long a number of lines lasts [s]."""
        return lines * self.line.duration + (lines - 1) * self.gap

    def blip(self, number: int, lines: int) -> Any:
        """Return the blip that is played with line `number` of `lines`, or after it in a block of its own."""
        if self.gap:
            return self.blips[0]
        return self.blips[0 if number == 0 else 2 if number == lines - 1 else 1]


def train(
    samples: int, fov: float, bandwidth: float, oversampling: int, step: float, ramp_sampling: bool, scanner: Scanner
) -> Train:
    """Return the parts of a train.

    Parameters
    ----------
    samples
        Of a line, without oversampling.
    fov
        Field of view along x [m].
    bandwidth
        On the flat part of the gradient [Hz] per pixel.
    oversampling
        Of the readout.
    step
        Area of a blip, above 0 [1/m].
    ramp_sampling
        Sample on the ramps, and play the blips while the lines turn round: shaped gradients along y. Otherwise all
        gradients are trapezoids.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If the bandwidth needs more than the gradient can do; the largest that works is told.
    """
    blip = pp.make_trapezoid("y", area=step, system=scanner.opts)
    half = up(max(pp.calc_duration(blip) / 2, scanner.adc_dead_time), scanner.block_raster)
    _check_bandwidth(samples, fov, bandwidth, oversampling, half if ramp_sampling else None, scanner)
    if not ramp_sampling:
        one = line(samples, fov, bandwidth, oversampling, scanner)
        gap = up(pp.calc_duration(blip), scanner.block_raster)
        return Train(one, _both_ways(one), (blip,), gap, one.duration + gap)
    one = _line_with_ramps(samples, fov, bandwidth, oversampling, half, scanner)
    return Train(one, _both_ways(one), _split(step, half, one.duration, scanner), 0.0, one.duration)


def add_navigators(seq: pp.Sequence, train: Train, central: int, names: dict[str, int] | None) -> None:
    """Add three lines through the centre, the first and last towards -x, so that the train begins towards +x.

    Parameters
    ----------
    seq
        To which they are added.
    train
        The parts.
    central
        Number of the central line.
    names
        Labels besides LIN, NAV, SEG, REV and AVG; nothing is measured if None.
    """
    for number in range(3):
        reverse = 1 - number % 2
        events = [train.reads[reverse]]
        if names is not None:
            called = {**names, "LIN": central, "NAV": 1, "SEG": reverse, "REV": reverse, "AVG": number // 2}
            events += [train.line.adc, *set_labels(**called)]
        seq.add_block(*events)
        if number < 2:
            pause(seq, train.gap)


def add_lines(
    seq: pp.Sequence, train: Train, lines: list[int], direction: int, central: int, *, measured: bool
) -> None:  # fmt: skip
    """Add lines with the labels LIN, SEG and REV, in the order in which they are given.

    Parameters
    ----------
    seq
        To which they are added.
    train
        The parts.
    lines
        Their numbers.
    direction
        Of the blips, +1 or -1; 0 for none, where all lines are central ones, told apart by AVG.
    central
        Number of the central line.
    measured
        Whether the receiver is on.
    """
    reads = [_known(seq, read, 1.0) for read in train.reads]
    played = replace(train, blips=tuple(_known(seq, blip, direction) for blip in train.blips)) if direction else train
    for number, at in enumerate(lines):
        reverse = number % 2
        events = [reads[reverse]]
        if measured:
            called = {"LIN": at} if direction else {"LIN": central, "AVG": number}
            events += [train.line.adc, *set_labels(**called, SEG=reverse, REV=reverse)]
        blips = [played.blip(number, len(lines))] if direction and len(lines) > 1 else []
        if not train.gap:
            seq.add_block(*events, *blips)
            continue
        seq.add_block(*events)
        if number < len(lines) - 1:
            seq.add_block(*blips, pp.make_delay(train.gap))


def _known(seq: pp.Sequence, gradient: Any, factor: float) -> Any:
    """Return a gradient times a factor that the sequence knows, so that its shape is not stored anew in each block."""
    scaled = pp.scale_grad(gradient, factor)
    number = seq.register_grad_event(scaled)
    scaled.id = number[0] if isinstance(number, tuple) else number
    return scaled


def _both_ways(one: Line) -> tuple[Any, Any]:
    return one.read, pp.scale_grad(one.read, -1.0)


def _check_bandwidth(
    samples: int, fov: float, bandwidth: float, oversampling: int, margin: float | None, scanner: Scanner
) -> None:
    """Refuse a bandwidth that is not reached within the gradient's limits; with ramp sampling `margin` [s] is given."""

    def reached(tried: float) -> bool:
        amplitude, _, flat = _on_ramps(samples, fov, tried, oversampling, margin or 0.0, scanner)
        return amplitude <= scanner.max_gradient * scanner.gamma and (margin is None or flat >= 0)

    if not reached(bandwidth):
        most = next(tried for n in itertools.count(1) if reached(tried := math.floor(bandwidth * 0.99**n)))
        raise ProtocolError(f"bandwidth = {bandwidth:g} Hz asks too much of the gradient: "
                            f"{most} Hz is the most that works")  # fmt: skip


def _on_ramps(
    samples: int, fov: float, bandwidth: float, oversampling: int, margin: float, scanner: Scanner
) -> tuple[float, float, float]:
    """Return the amplitude [Hz/m], ramp time and least flat time [s] of a line sampled except for `margin` [s]."""
    dwell, step = 1 / (bandwidth * samples * oversampling), max(2 * scanner.rf_raster, scanner.adc_raster)
    dwell = whole(dwell, step) if dwell >= step else max(whole(dwell, scanner.adc_raster), scanner.adc_raster)
    amplitude = 1 / (fov * oversampling * dwell)
    raster = max(scanner.gradient_raster, scanner.block_raster)
    ramp = max(up(amplitude / scanner.opts.max_slew, raster), raster)
    on_ramps = (ramp**2 - margin**2) / ramp if margin < ramp else -2 * (margin - ramp)
    return amplitude, ramp, samples / fov / amplitude - on_ramps


def _line_with_ramps(
    samples: int, fov: float, bandwidth: float, oversampling: int, margin: float, scanner: Scanner
) -> Line:
    """Return a line that is sampled except for `margin` [s] at either end; between them k moves by ``samples / fov``.

    As in `line`, k is 0 at sample ``n / 2``, to half a raster time of RF where the dwell time leaves no choice.
    """
    opts, raster = scanner.opts, max(scanner.gradient_raster, scanner.block_raster)
    amplitude, ramp, flat = _on_ramps(samples, fov, bandwidth, oversampling, margin, scanner)
    dwell = whole(1 / (fov * oversampling * amplitude), scanner.adc_raster)
    unit = math.lcm(2, scanner.adc_samples_divisor)
    sampled = up(flat, 2 * raster) + 2 * (ramp - margin)
    count = math.ceil(sampled / dwell / unit - 1e-6) * unit
    window = (count + 1) * dwell  # samples lie in the middle of their dwell times
    flat = up(window + scanner.rf_raster + 2 * (margin - ramp), 2 * raster)
    read = pp.make_trapezoid("x", amplitude=amplitude, rise_time=ramp, flat_time=flat, fall_time=ramp, system=opts)
    middle = pp.calc_duration(read) / 2
    adc = pp.make_adc(count, dwell=dwell, delay=whole(middle - window / 2, scanner.rf_raster), system=opts)
    return Line(read, adc, middle, read.area / 2, 2 * middle)


def _split(area: float, half: float, block: float, scanner: Scanner) -> tuple[Any, Any, Any]:
    """Return the blips of the first, inner and last lines: each begins `half` [s] before its line's block ends."""
    blip = pp.make_trapezoid("y", area=area, duration=2 * half, system=scanner.opts)
    rise, top = blip.rise_time, blip.amplitude
    begins = [(block - half, 0.0), (block - half + rise, top), (block, top)]
    ends = [(0.0, top), (half - rise, top), (half, 0.0)]
    return tuple(_points(points, scanner) for points in (begins, ends + begins, ends))  # type: ignore[return-value]


def _points(points: list[tuple[float, float]], scanner: Scanner) -> Any:
    """Return a gradient along y through points of time [s] and amplitude [Hz/m], each time once."""
    raster = scanner.gradient_raster
    distinct = {round(time / raster): amplitude for time, amplitude in points}
    times = [number * raster for number in distinct]
    return pp.make_extended_trapezoid("y", times=times, amplitudes=list(distinct.values()), system=scanner.opts)
