"""The event tables of a Pulseq sequence: columns of numbers, one row per event, SI units and Hz."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
AXES = ("x", "y", "z")
NONE = -1


@dataclass(frozen=True, slots=True)
class RfEvents:
    """RF pulses.

    Parameters
    ----------
    id
        Number in the file, int64 ``[rf]``.
    amplitude
        Peak of the pulse, gamma B1 / 2 pi [Hz].
    magnitude, phase_shape, time_shape
        Rows of the shape table; `NONE` where the file has none (default raster, no phase).
    delay
        From the block's start to the first raster interval [s].
    center
        From the end of the delay to the effective centre [s].
    freq, phase
        Frequency [Hz] and phase [rad] offsets.
    freq_ppm, phase_ppm
        The same in ppm and rad/MHz of the Larmor frequency.
    use
        Initial of the use: e(xcitation), r(efocusing), i(nversion), s(aturation), p(reparation), o(ther), u(ndefined).
    duration
        Length of the shape [s].
    flip
        Flip angle on resonance, small-tip integral [rad].
    """

    id: Array
    amplitude: Array
    magnitude: Array
    phase_shape: Array
    time_shape: Array
    delay: Array
    center: Array
    freq: Array
    phase: Array
    freq_ppm: Array
    phase_ppm: Array
    use: Array
    duration: Array
    flip: Array

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True)
class GradientEvents:
    """Gradient waveforms as points joined by straight lines, all events end to end.

    Event `g` owns the points ``start[g]:start[g + 1]``; times count from the block's start.

    Parameters
    ----------
    id
        Number in the file, int64 ``[gradient]``.
    kind
        ``t`` trapezoid, ``a`` samples on the raster, ``o`` oversampled by two, ``e`` corners at own times.
    delay
        From the block's start [s].
    start
        First point of each event, int64 ``[gradient + 1]``.
    time
        Time from the block's start [s], float64 ``[point]``.
    amplitude
        Gradient [Hz/m], float64 ``[point]``.
    moment
        Integral from the event's start to the point [1/m], float64 ``[point]``.
    """

    id: Array
    kind: Array
    delay: Array
    start: Array
    time: Array
    amplitude: Array
    moment: Array

    def __len__(self) -> int:
        return len(self.id)

    @property
    def end(self) -> Array:
        """Time of the last point from the block's start [s], float64 ``[gradient]``."""
        return self.time[self.start[1:] - 1]

    @property
    def first(self) -> Array:
        """Gradient at the event's start [Hz/m], float64 ``[gradient]``."""
        return self.amplitude[self.start[:-1]]

    @property
    def last(self) -> Array:
        """Gradient at the event's end [Hz/m], float64 ``[gradient]``."""
        return self.amplitude[self.start[1:] - 1]

    @property
    def area(self) -> Array:
        """Integral over the whole event [1/m], float64 ``[gradient]``."""
        return self.moment[self.start[1:] - 1]

    def points(self, event: int) -> tuple[Array, Array]:
        """Return times [s] and amplitudes [Hz/m] of one event."""
        own = slice(self.start[event], self.start[event + 1])
        return self.time[own], self.amplitude[own]


@dataclass(frozen=True, slots=True)
class AdcEvents:
    """Acquisitions: number of samples, dwell and delay [s], frequency [Hz, ppm] and phase [rad, rad/MHz] offsets."""

    id: Array
    num_samples: Array
    dwell: Array
    delay: Array
    freq: Array
    phase: Array
    freq_ppm: Array
    phase_ppm: Array
    phase_shape: Array

    def __len__(self) -> int:
        return len(self.id)

    @property
    def end(self) -> Array:
        """Time from the block's start to the end of the last sample [s]."""
        return self.delay + self.num_samples * self.dwell


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the extension lists add to blocks; each distinct list is resolved once.

    Parameters
    ----------
    labels
        For each list, in the order of evaluation: ``(set?, label, value)``.
    rotation
        For each list, the row in `rotations`, or `NONE`.
    rotations
        Rotation matrices, float64 ``[rotation, 3, 3]``.
    triggers
        For each list: ``(type, channel, delay s, duration s)``.
    soft_delays
        For each list: ``(number, offset s, factor, hint)``.
    shims
        For each list: complex weights of the transmit channels.
    unknown
        For each list, the names of extensions that this package does not know.
    """

    labels: tuple[tuple[tuple[bool, str, int], ...], ...]
    rotation: Array
    rotations: Array
    triggers: tuple[tuple[tuple[int, int, float, float], ...], ...]
    soft_delays: tuple[tuple[tuple[int, float, float, str], ...], ...]
    shims: tuple[tuple[Array, ...], ...]
    unknown: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.rotation)
