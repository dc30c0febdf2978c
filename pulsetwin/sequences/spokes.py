"""Spokes: straight readouts in any direction, and the lobes that undo them to the last digit a `.seq` keeps.

A `.seq` keeps six digits of an amplitude. Lobes whose amplitude is a whole multiple of the readout's, both on a grid of
amplitudes that six digits hold, undo the readout exactly in every direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import AXES, Array
from pulsetwin.sequences.timing import up, whole

_DIGITS = 6
_MOST = 1 - 1e-4  # of the limits: amplitudes are rounded to the grid


@dataclass(frozen=True, slots=True)
class Spoke:
    """A readout and the lobe that undoes it, or half of it.

    Parameters
    ----------
    amplitude
        Of the readout [Hz/m].
    rise, flat, delay
        Of the readout, the delay from its block's start [s].
    factor
        How many times stronger the lobe is, and of the other sign.
    lobe_rise, lobe_flat
        Of the lobe [s].
    adc
        Acquisition.
    zero
        From the block's start to where k is 0 [s].
    duration
        Of the readout's block [s].
    scanner
        Whose limits are kept.
    """

    amplitude: float
    rise: float
    flat: float
    delay: float
    factor: int
    lobe_rise: float
    lobe_flat: float
    adc: Any
    zero: float
    duration: float
    scanner: Scanner

    @property
    def lobe_duration(self) -> float:
        """Duration of the lobe [s]."""
        return 2 * self.lobe_rise + self.lobe_flat

    def events(self, direction: Array) -> tuple[list[Any], list[Any]]:
        """Return the gradients of the readout and of the lobe along `direction`, a unit vector ``[3]``."""
        digits = math.floor(math.log10(self.factor * self.amplitude)) + 1
        step = 10.0 ** (digits - _DIGITS)
        vector = np.round(self.amplitude * direction / step) * step
        opts = self.scanner.opts
        read = _trapezoids(vector, self.rise, self.flat, self.delay, opts)
        return read, _trapezoids(-self.factor * vector, self.lobe_rise, self.lobe_flat, 0.0, opts)


def _trapezoids(vector: Array, rise: float, flat: float, delay: float, opts: pp.Opts) -> list[Any]:
    times = {"rise_time": rise, "flat_time": flat, "fall_time": rise, "delay": delay}
    return [
        pp.make_trapezoid(axis, amplitude=float(part), system=opts, **times)
        for axis, part in zip(AXES, vector, strict=True)
        if part
    ]


def full_spoke(samples: int, fov: float, bandwidth: float, oversampling: int, scanner: Scanner) -> Spoke:
    """Return a readout through the middle of k-space, of `samples` over `fov` [m] at `bandwidth` [Hz] per pixel.

    The lobe undoes half of it: one plays before, one after. Sample ``n / 2`` lies at k = 0 to half of the RF raster.

    Raises
    ------
    ProtocolError
        If the gradient is too weak for the bandwidth, or the samples are too many.
    """
    count = samples * oversampling
    _check_samples(count, scanner)
    dwell, amplitude, rise = _readout(count, samples / fov, bandwidth, scanner)
    early = max(scanner.adc_dead_time - rise, 0.0)
    flat = (count + 1) * dwell + 2 * early + 2 * scanner.rf_raster
    flat, *lobe = _lobe(amplitude, rise, flat, 2, scanner)
    middle = rise + flat / 2
    adc = pp.make_adc(
        count, dwell=dwell, delay=whole(middle - (count / 2 + 0.5) * dwell, scanner.rf_raster), system=scanner.opts
    )
    return Spoke(amplitude, rise, flat, 0.0, *lobe, adc, middle, up(2 * rise + flat, scanner.block_raster), scanner)


def half_spoke(samples: int, fov: float, bandwidth: float, oversampling: int, scanner: Scanner) -> Spoke:
    """Return a readout from the middle of k-space outwards, acquired from the beginning of the ramp.

    `samples` are those of a whole line over `fov` [m], at `bandwidth` [Hz] per pixel. The lobe undoes all of it.

    Raises
    ------
    ProtocolError
        If the gradient is too weak for the bandwidth, or the samples are too many.
    """
    dwell, amplitude, rise = _readout(samples * oversampling, samples / fov, bandwidth, scanner)
    edge, lost = samples / fov / 2, rise / 2  # the ramp covers half of what the flat top would
    divisor = scanner.adc_samples_divisor
    count = math.ceil((edge / amplitude + lost) / dwell / divisor) * divisor
    _check_samples(count, scanner)
    amplitude = edge / (count * dwell - lost)  # a little less, for the edge to lie at the end of the last sample
    delay = up(scanner.adc_dead_time, scanner.gradient_raster)
    flat, *lobe = _lobe(amplitude, rise, max(count * dwell - rise, 0.0), 1, scanner)
    adc = pp.make_adc(count, dwell=dwell, delay=delay, system=scanner.opts)
    end = max(delay + 2 * rise + flat, delay + count * dwell + scanner.adc_dead_time)
    return Spoke(amplitude, rise, flat, delay, *lobe, adc, delay, up(end, scanner.block_raster), scanner)


def _readout(count: int, width: float, bandwidth: float, scanner: Scanner) -> tuple[float, float, float]:
    """Return dwell time [s], amplitude [Hz/m] and rise time [s] for a line of `width` [1/m] in `count` samples."""
    dwell = up(1 / (bandwidth * count), scanner.adc_raster)
    most = min(_MOST * scanner.opts.max_grad / width, 1 / count / scanner.adc_raster)
    if bandwidth > most:
        raise ProtocolError(f"bandwidth = {bandwidth:g} Hz is too much: {math.floor(most)} Hz is the most that works")
    amplitude = width / (count * dwell)
    raster = scanner.gradient_raster
    return dwell, amplitude, max(up(amplitude / (_MOST * scanner.opts.max_slew), raster), raster)


def _check_samples(count: int, scanner: Scanner) -> None:
    divisor, limit = scanner.adc_samples_divisor, scanner.adc_samples_limit
    if limit and count > limit:
        raise ProtocolError(
            f"a spoke of {count} samples is too long: {limit} are the most of {scanner.name}; give less oversampling"
        )
    if count % divisor:
        raise ProtocolError(
            f"a spoke of {count} samples: {scanner.name} needs a multiple of {divisor}; give another oversampling"
        )


def _lobe(amplitude: float, rise: float, flat: float, parts: int, scanner: Scanner) -> tuple[float, int, float, float]:
    """Return the readout's flat time [s], and factor, rise and flat time [s] of the lobe that undoes a part of it.

    Time and factor are such that ``parts * factor * (lobe_rise + lobe_flat) = rise + flat``, in the least total time.
    """
    raster, best = scanner.gradient_raster, None
    for factor in range(1, int(_MOST * scanner.opts.max_grad / amplitude) + 1):
        lobe_rise = max(up(factor * amplitude / (_MOST * scanner.opts.max_slew), raster), raster)
        both = max(rise + flat, parts * factor * lobe_rise)
        steps = round(up(both, parts * factor * raster) / (parts * factor * raster))
        read = steps * parts * factor * raster
        total = read + rise + parts * (steps * raster + lobe_rise)
        if best is None or total < best[0] - raster / 2:
            best = total, read - rise, factor, lobe_rise, steps * raster - lobe_rise
    if best is None:
        raise ProtocolError("the gradient of a spoke is too strong: lower the bandwidth")
    return best[1], best[2], best[3], best[4]
