"""Readouts of a timeline as gradients: flat tops where samples are evenly spaced in k, else smooth waveforms.

Between neighbouring samples a readout has gradient moments. Of all waveforms that are straight between the middles of
raster intervals, begin and end at 0 and have these moments, the one of least mean square slew rate is played: it is
linear in the moments, so that one matrix serves all readouts of equal times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import AXES, Array
from pulsetwin.sequences.timing import up

_SHARE = 0.99  # of the scanner's limits
_LONGER = 1.03  # by which dwell times grow until the limits are kept
_TRIES = 150
_EVEN = 1e-6  # of the largest moment, within which moments are equal


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Times of a readout's block, the same for all readouts that share it.

    Parameters
    ----------
    count, dwell
        Samples, and from one to the next [s].
    delay
        From the block's start to the acquisition [s]; the first sample is half a dwell time later.
    ramp
        Of flat-topped gradients [s].
    duration
        Of the block [s].
    scanner
        Whose limits are kept.
    smooth
        What the moments between samples are multiplied with to give a waveform [Hz/m] at the middles of the gradient
        raster, float64 ``[raster, sample - 1]``; empty if all moments are even.
    """

    count: int
    dwell: float
    delay: float
    ramp: float
    duration: float
    scanner: Scanner
    smooth: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def first(self) -> float:
        """From the block's start to the first sample [s]."""
        return self.delay + self.dwell / 2

    @property
    def last(self) -> float:
        """From the last sample to the block's end [s]."""
        return self.duration - self.first - (self.count - 1) * self.dwell


def window(count: int, dwell: float, late: float, moments: Array, scanner: Scanner) -> Window:
    """Return the window of some readouts, with the least dwell time from `dwell` on that the limits allow.

    Parameters
    ----------
    count
        Samples of each.
    dwell
        Wanted [s].
    late
        By which the acquisition begins after a raster time of blocks [s].
    moments
        Between neighbouring samples along x, y, z [1/m], float64 ``[readout, count - 1, 3]``.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If the scanner cannot acquire as many samples, or a dwell time within reach keeps no limits.
    """
    if count % scanner.adc_samples_divisor or 0 < scanner.adc_samples_limit < count:
        raise ProtocolError(
            f"readouts of {count} samples: {scanner.name} takes multiples of {scanner.adc_samples_divisor}"
            + (f", at most {scanner.adc_samples_limit}" if scanner.adc_samples_limit else "")
        )
    smooth = not bool(_even(moments).all())
    for _ in range(_TRIES):
        dwell = up(dwell, scanner.adc_raster)
        found = _window(count, dwell, late, moments, smooth, scanner)
        if _kept(found, moments, scanner):
            return found
        dwell = max(_LONGER * dwell, dwell + scanner.adc_raster)
    raise ProtocolError(
        f"a readout of {count} samples needs more gradient than {scanner.name} has, even at a dwell time of "
        f"{1e6 * dwell:.4g} us: learn smaller moments between samples"
    )


def readout_gradients(own: Window, moments: Array) -> tuple[list[Any], Array, Array]:
    """Return the gradients of a readout, and their moments before its first and after its last sample [1/m], ``[3]``.

    Parameters
    ----------
    own
        Its window.
    moments
        Between neighbouring samples [1/m], float64 ``[sample - 1, 3]``.
    """
    events, head, tail = [], np.zeros(3), np.zeros(3)
    opts = own.scanner.opts
    for axis, name in enumerate(AXES):
        mine = moments[:, axis]
        if not np.any(mine):
            continue
        if _even(mine[None, :, None])[0, 0]:
            gradient = mine.mean() / own.dwell
            flat = own.duration - 2 * own.ramp
            events.append(
                pp.make_trapezoid(
                    name, amplitude=gradient, rise_time=own.ramp, flat_time=flat, fall_time=own.ramp, system=opts
                )
            )
            head[axis] = gradient * (own.first - own.ramp / 2)
            tail[axis] = gradient * (own.last - own.ramp / 2)
        else:
            wave = own.smooth @ mine
            events.append(pp.make_arbitrary_grad(name, wave, first=0.0, last=0.0, system=opts))
            raster = own.scanner.gradient_raster
            passed = _integrals(len(wave), raster, np.array([own.first, own.duration - own.last, own.duration])) @ wave
            head[axis], tail[axis] = passed[0], passed[2] - passed[1]
    return events, head, tail


def _even(moments: Array) -> Array:
    """Return whether the moments ``[readout, step, 3]`` along each axis are the same from sample to sample."""
    spread = np.ptp(moments, axis=1) if moments.shape[1] else np.zeros((len(moments), moments.shape[2]))
    return spread <= _EVEN * np.abs(moments).max(initial=0.0)


def _window(count: int, dwell: float, late: float, moments: Array, smooth: bool, scanner: Scanner) -> Window:
    """Return the window of a dwell time; waveforms that are not flat have twice the time to begin and end."""
    raster = max(scanner.gradient_raster, scanner.block_raster)
    strongest = np.abs(moments).max(initial=0.0) / dwell
    ramp = max(up(strongest / (_SHARE * scanner.opts.max_slew), raster), raster)
    lead = up(max((1 + smooth) * ramp, scanner.adc_dead_time), raster)
    delay = lead + late
    end = delay + count * dwell
    duration = up(end + max((1 + smooth) * ramp, scanner.adc_dead_time), raster)
    matrix = np.zeros((0, 0))
    if smooth:
        samples = delay + (np.arange(count) + 0.5) * dwell
        matrix = _smoothest(round(duration / scanner.gradient_raster), scanner.gradient_raster, samples)
    return Window(count, dwell, delay, ramp, duration, scanner, matrix)


def _kept(own: Window, moments: Array, scanner: Scanner) -> bool:
    """Return whether the gradients of all readouts keep the scanner's limits."""
    largest, steepest = _SHARE * scanner.opts.max_grad, _SHARE * scanner.opts.max_slew
    strongest = np.abs(moments).max(initial=0.0) / own.dwell
    if strongest > largest:
        return False
    even = _even(moments)
    uneven = moments.swapaxes(1, 2)[~even]
    if not len(uneven):
        return True
    waves = uneven @ own.smooth.T
    points = np.pad(waves, ((0, 0), (1, 1)))
    step = np.full(points.shape[1] - 1, scanner.gradient_raster)
    step[[0, -1]] /= 2
    return bool(np.abs(waves).max() <= largest and np.abs(np.diff(points, axis=1) / step).max() <= steepest)


def _smoothest(count: int, raster: float, samples: Array) -> Array:
    """Return the matrix from moments between `samples` [s] to the waveform of least square slew, ``[count, moment]``.

    Lagrange's conditions: ``R g + A^T mu = 0, A g = m`` with the roughness R and the moments A of a waveform g.
    """
    step = np.full(count + 1, raster)
    step[[0, -1]] /= 2
    slope = np.diff(np.eye(count + 2), axis=0)[:, 1:-1] / np.sqrt(step)[:, None]
    moments = np.diff(_integrals(count, raster, samples), axis=0) / raster
    wanted = len(moments)
    system = np.block([[raster * slope.T @ slope, moments.T], [moments, np.zeros((wanted, wanted))]])
    right = np.zeros((count + wanted, wanted))
    right[count:] = np.eye(wanted) / raster
    return np.linalg.solve(system, right)[:count]


def _integrals(count: int, raster: float, times: Array) -> Array:
    """Return what the values of a waveform are multiplied with to be integrated up to `times` [s], ``[time, count]``.

    The waveform is straight between the middles of `count` raster intervals, and 0 at its beginning and end.
    """
    place = np.concatenate(([0.0], (np.arange(count) + 0.5) * raster, [count * raster]))
    hats = np.eye(count + 2)[:, 1:-1]
    whole = 0.5 * (hats[1:] + hats[:-1]) * np.diff(place)[:, None]
    total = np.concatenate((np.zeros((1, count)), np.cumsum(whole, axis=0)))
    here = np.clip(np.searchsorted(place, times, side="right") - 1, 0, count)
    gone = times - place[here]
    slope = (hats[here + 1] - hats[here]) / np.diff(place)[here, None]
    return total[here] + gone[:, None] * (hats[here] + 0.5 * gone[:, None] * slope)
