"""Cartesian lines: the readout, the lobes that lead to it, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.timing import up, whole

COUNTERS = ("LIN", "PAR", "SLC", "ECO")


@dataclass(frozen=True, slots=True)
class Line:
    """A readout along x.

    Parameters
    ----------
    read, adc
        Its events.
    echo
        From the start of its block to sample ``n / 2``, where k is 0 [s].
    before
        Area of the gradient until then [1/m].
    duration
        Of its block [s].
    """

    read: Any
    adc: Any
    echo: float
    before: float
    duration: float


def line(samples: int, fov: float, bandwidth: float, oversampling: int, scanner: Scanner) -> Line:
    """Return the readout of a line of `samples` over `fov` [m] at `bandwidth` [Hz] per pixel."""
    opts, raster = scanner.opts, max(scanner.gradient_raster, scanner.block_raster)
    count = samples * oversampling
    dwell = whole(1 / (bandwidth * count), scanner.adc_raster)
    amplitude = samples / fov / (count * dwell)
    ramp = pp.make_trapezoid("x", amplitude=amplitude, flat_time=up(count * dwell, raster), system=opts).rise_time
    flat = up(count * dwell + 2 * max(scanner.adc_dead_time - ramp, 0.0), raster)
    read = pp.make_trapezoid("x", amplitude=amplitude, flat_time=flat, system=opts)
    late = whole(read.rise_time + (flat - count * dwell) / 2, scanner.rf_raster)
    adc = pp.make_adc(count, dwell=dwell, delay=max(late, scanner.adc_dead_time), system=opts)
    echo = adc.delay + (count / 2 + 0.5) * dwell  # samples lie in the middle of their dwell times
    return Line(read, adc, echo, read.amplitude * (echo - read.rise_time / 2), pp.calc_duration(read))


def lobe(axis: str, area: float, duration: float, scanner: Scanner) -> Any:
    """Return a gradient of an area [1/m] that lasts `duration` [s]."""
    return pp.make_trapezoid(axis, area=area, duration=duration, system=scanner.opts)


def least_duration(*areas: float, scanner: Scanner) -> float:
    """Return the least time in which each of some areas [1/m] can be played [s]."""
    lobes = [pp.make_trapezoid("x", area=area, system=scanner.opts) for area in areas if area]
    return float(max((pp.calc_duration(one) for one in lobes), default=scanner.block_raster))


def labels(*values: int) -> list[Any]:
    """Return the labels of a readout: line, partition, slice and echo, or the first of them."""
    return [pp.make_label(name, "SET", value) for name, value in zip(COUNTERS, values, strict=False)]


def encoding(number: int, count: int, fov: float) -> float:
    """Return k of line `number` of `count` [1/m]: 0 at number ``count // 2``."""
    return (number - count // 2) / fov
