"""Arms of spirals: as fast as the gradients allow from the middle of k-space outwards, and back within one shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import Array

_STEPS = 20000
_MOST = 0.99  # of the limits


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm and its way back to k = 0.

    Parameters
    ----------
    gradient
        gx + i gy [Hz/m] in the middle of the raster intervals, complex128 ``[interval]``. The first and the last two
        are 0, and the sum is: the area is 0, whether the values count as steps or are joined by straight lines.
    outward
        Time from the end of the first interval, where the arm begins, to its end [s].
    """

    gradient: Array
    outward: float


def arm(samples: int, fov: float, interleaves: int, edge_density: float, speed: float, scanner: Scanner) -> Arm:
    r"""Return an arm of a spiral.

    .. math:: k(r) = r e^{i \theta(r)}, \quad \theta(r) = 2 \pi F (r - (1 - d) r^2 / 2 R) / N

    with the field of view F, the number of interleaves N, the edge of k-space R, and there the density d relative to
    the middle. It is followed as fast as speed, strength and slew rate (of the vector) allow.

    Parameters
    ----------
    samples
        Voxels across.
    fov
        Field of view [m].
    interleaves
        Arms that together sample as densely as `fov` needs.
    edge_density
        Sampling density at the edge of k-space, of that in the middle.
    speed
        Largest gradient that the receiver can follow [Hz/m].
    scanner
        Whose limits are kept.
    """
    opts, raster, edge = scanner.opts, scanner.gradient_raster, samples / 2 / fov
    winding, unwinding = 2 * math.pi * fov / interleaves, (1 - edge_density) / edge
    r = edge * np.linspace(0, 1, _STEPS) ** 2  # close together where the arm starts from rest
    length, curvature = _curve(r, winding, unwinding)
    rate, most = _MOST * opts.max_slew, _MOST * opts.max_grad
    fast = _speeds(length, curvature, min(speed, most), rate)
    time = np.concatenate(([0.0], np.cumsum(2 * length / (fast[1:] + fast[:-1]))))
    count = int(time[-1] / raster)
    reached = np.interp(np.arange(count + 1) * raster, time, r)
    reached = reached * np.exp(1j * winding * (reached - unwinding * reached**2 / 2))
    return Arm(_returned(np.diff(reached) / raster, rate, most, raster), count * raster)


def _curve(r: Array, winding: float, unwinding: float) -> tuple[Array, Array]:
    """Return the lengths between the places of radius `r` on the spiral [1/m], and the curvatures there [m]."""
    first, second = winding * (1 - unwinding * r), -winding * unwinding
    velocity = 1 + 1j * r * first  # along r, turned back by theta
    acceleration = 2j * first + 1j * r * second - r * first**2
    size = np.abs(velocity)
    return (size[1:] + size[:-1]) / 2 * np.diff(r), np.abs((velocity.conj() * acceleration).imag) / size**3


def _speeds(length: Array, curvature: Array, speed: float, rate: float) -> Array:
    """Return the fastest speeds along a curve from rest [Hz/m], for a vector acceleration `rate` [Hz/m/s]."""
    squared = np.minimum(speed**2, rate / np.maximum(curvature, 1e-30))
    squared[0] = 0.0
    for order in (range(1, len(squared)), range(len(squared) - 2, 0, -1)):  # speeding up, then slowing down in time
        back = 1 if order.step > 0 else -1
        for n in order:
            was = squared[n - back]
            spare = math.sqrt(max(rate**2 - (curvature[n - back] * was) ** 2, 0.0))
            squared[n] = min(squared[n], was + 2 * spare * length[n - 1 if back > 0 else n])
    return np.sqrt(squared)


def _returned(outward: Array, rate: float, most: float, raster: float) -> Array:
    """Return the gradient from 0, with a ramp to 0 and a straight lobe back to k = 0."""
    last = outward[-1]
    steps = math.ceil(abs(last) / rate / raster + 0.5)
    ramped = np.concatenate((outward, last * (steps - np.arange(1, steps + 1) + 0.5) / (steps + 0.5)))
    area = ramped.sum() * raster
    rise = math.ceil(min(math.sqrt(abs(area) / rate), most / rate) / raster)
    flat = max(math.ceil((abs(area) / min(most, rate * rise * raster) - rise * raster) / raster), 0)
    up = (np.arange(rise) + 0.5) / rise
    lobe = np.concatenate((up, np.ones(flat), up[::-1]))
    # two zeros at the end: 1.4.1 holds no values at edges, and its readers continue the line through the last two
    return np.concatenate(([0.0], ramped, -area / raster / lobe.sum() * lobe, [0.0, 0.0]))
