"""Cartesian lines: the readout, the lobes that lead to it, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.timing import up, whole

_NEAR = 0.05  # relative difference of the bandwidth that is played from what is asked for
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

    @property
    def bandwidth(self) -> float:
        """What is played, per pixel [Hz]: dwell times lie on a raster."""
        return float(1 / (self.adc.num_samples * self.adc.dwell))


def line(samples: int, fov: float, bandwidth: float, oversampling: int, scanner: Scanner) -> Line:
    """Return the readout of a line of `samples` over `fov` [m] at `bandwidth` [Hz] per pixel.

    Sample ``n / 2`` is in the middle of the gradient, so that k is 0 there in each echo of a train too. For this the
    dwell time is a multiple of twice the raster of RF, where that is near what is asked for; otherwise the sample is
    up to half that raster away from the middle, as acquisitions start on it.

    Raises
    ------
    ProtocolError
        If the bandwidth needs a stronger gradient or shorter samples than there are; the largest is told.
    """
    opts, raster = scanner.opts, max(scanner.gradient_raster, scanner.block_raster)
    count = samples * oversampling
    step = max(2 * scanner.rf_raster, scanner.adc_raster)
    dwell = 1 / (bandwidth * count)
    even = whole(dwell, step)
    dwell = even if abs(even / dwell - 1) < _NEAR else whole(dwell, scanner.adc_raster)
    strongest = min(scanner.gamma * scanner.max_gradient * fov / samples, 1 / (scanner.adc_raster * count))
    if dwell == 0 or samples / fov / (count * dwell) > scanner.gamma * scanner.max_gradient:
        raise ProtocolError(
            f"bandwidth = {bandwidth:g} Hz is too high: about {strongest:.4g} Hz is the most that works"
        )
    amplitude = samples / fov / (count * dwell)
    window = (count + 1) * dwell  # samples lie in the middle of their dwell times
    ramp = pp.make_trapezoid("x", amplitude=amplitude, flat_time=up(window, raster), system=opts).rise_time
    spare = max(scanner.adc_dead_time + scanner.rf_raster - ramp, 0.0)
    flat = up(window + 2 * spare, 2 * raster)
    read = pp.make_trapezoid("x", amplitude=amplitude, flat_time=flat, system=opts)
    middle = pp.calc_duration(read) / 2
    adc = pp.make_adc(count, dwell=dwell, delay=whole(middle - window / 2, scanner.rf_raster), system=opts)
    return Line(read, adc, middle, read.area / 2, 2 * middle)


@lru_cache(4096)
def lobe(axis: str, area: float, duration: float, scanner: Scanner) -> Any:
    """Return a gradient of an area [1/m] that lasts `duration` [s]; equal ones are one, so change only a copy."""
    return pp.make_trapezoid(axis, area=area, duration=duration, system=scanner.opts)


def least_duration(*areas: float, scanner: Scanner) -> float:
    """Return the least time in which each of some areas [1/m] can be played [s]."""
    lobes = [pp.make_trapezoid("x", area=area, system=scanner.opts) for area in areas if area]
    return float(max((pp.calc_duration(one) for one in lobes), default=scanner.block_raster))


def labels(*values: int) -> list[Any]:
    """Return the labels of a readout: line, partition, slice and echo, or the first of them."""
    return set_labels(**dict(zip(COUNTERS, values, strict=False)))


def set_labels(**values: int) -> list[Any]:
    """Return labels that set counters and flags to values."""
    return [_set_label(name, value) for name, value in values.items()]


@lru_cache(4096)
def _set_label(name: str, value: int) -> Any:
    return pp.make_label(name, "SET", value)


def encoding(number: int, count: int, fov: float) -> float:
    """Return k of line `number` of `count` [1/m]: 0 at number ``count // 2``."""
    return (number - count // 2) / fov
