"""What a sequence costs besides a poor image: RF power, gradients that cannot be played, time, gaps in k-space."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sim.timeline import Timeline

_PAIRS = 2**20  # whose distances are kept at a time


def flip_power(flip_angle: Tensor) -> Tensor:
    """Return the sum of squared flip angles [rad^2], to which the SAR of pulses of one shape is proportional."""
    return flip_angle.square().sum()


def rf_energy(timeline: Timeline, block: float = 1e-3) -> Tensor:
    """Return the energy of the pulses, the sum of the integrals of ``|gamma B1 / 2 pi|^2`` [Hz^2 s].

    Parameters
    ----------
    timeline
        The sequence; a pulse's shape is scaled to its flip angle.
    block
        Length of a pulse without a shape, a block [s].
    """
    unit = [
        float((shape.b1.abs().square().reshape(len(shape.duration), -1).sum(1) * shape.duration).sum())
        / shape.flip_angle**2
        for shape in timeline.shapes
    ]
    unit.append(1 / (4 * torch.pi**2 * block))  # entry -1
    each = torch.tensor(unit, dtype=torch.float64)[timeline.shape]
    return (each * timeline.flip_angle.square()).sum()


def gradient_excess(timeline: Timeline, scanner: Scanner) -> Tensor:
    """Return by how much the gradients of all intervals exceed the scanner's amplitude, relative and squared, summed.

    The amplitude of an interval's moment is that of the least trapezoid: with ramps of the scanner's slew rate from and
    to 0 between samples' runs, constant while samples are taken.
    """
    limit = scanner.max_gradient * PROTON
    return ((mean_gradients(timeline).abs() / limit - 1).clamp_min(0).square()).sum()


def slew_excess(timeline: Timeline, scanner: Scanner) -> Tensor:
    """Return by how much the steps between the intervals' mean gradients exceed the slew rate, relative and squared.

    A step is given the half lengths of the two intervals as its time, and 0 comes before and after all.
    """
    gradient, time = mean_gradients(timeline), timeline.duration
    zero = gradient.new_zeros(1, 3)
    step = torch.cat((zero, gradient, zero)).diff(dim=0).abs()
    room = torch.cat((time[:1], time[1:] + time[:-1], time[-1:])) / 2
    needed = step / (scanner.max_slew * PROTON * room.clamp_min(1e-9)[:, None])
    return (needed - 1).clamp_min(0).square().sum()


def mean_gradients(timeline: Timeline) -> Tensor:
    """Return the mean gradient of each interval [Hz/m], ``[interval, 3]``; 0 in intervals of no length."""
    time = timeline.duration[:, None]
    return torch.where(time > 0, timeline.moment / time.clamp_min(1e-9), 0.0)


def duration(timeline: Timeline) -> Tensor:
    """Return the time from the first pulse to the end [s]."""
    return timeline.duration.sum()


def roughness(values: Tensor) -> Tensor:
    """Return the sum of squared differences of neighbours along the first axis over that of squares."""
    return values.diff(dim=0).square().sum() / values.square().sum().clamp_min(1e-30)


def uncovered(kspace: Tensor, fov: tuple[float, float, float], grid: tuple[int, int]) -> Tensor:
    """Return how far samples are from an even cover of k-space: 1 if all are at its centre, 0 if none is missing.

    The energy distance ``2 E|k - y| - E|k - k'| - E|y - y'|`` between samples k and the even density y of the cells
    (Székely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018), over that of samples at the centre: samples are drawn
    into the square, and repel each other from afar, as in electrostatic halftoning (Teuber et al. 2011,
    doi:10.1137/100790197).

    Parameters
    ----------
    kspace
        Positions of samples [1/m], ``[sample, 3]``.
    fov
        Field of view along x, y, z [m].
    grid
        Cells along y, x.
    """
    size = torch.tensor(grid[::-1], dtype=kspace.dtype)
    low = -(size // 2) - 0.5
    place = kspace[:, :2] * torch.tensor(fov[:2], dtype=kspace.dtype) - low
    within = _mean_distance_within(float(size[0]), float(size[1]))
    apart = 2 * _distances(place) / len(place) ** 2
    at_centre = 2 * _mean_distance(size[None] / 2, size) - within
    return (2 * _mean_distance(place, size).mean() - apart - within) / at_centre


def _distances(place: Tensor) -> Tensor:
    """Return the sum of the distances of all pairs of points ``[point, 2]``.

    Each block of pairs is taken anew for its gradient, so that memory does not grow with their number.
    """
    total, rows = place.new_zeros(()), max(1, _PAIRS // len(place))
    for start in range(0, len(place), rows):
        block = checkpoint(_distances_from, place[start:], rows, use_reentrant=False, preserve_rng_state=False)
        total = total + block
    return total


def _distances_from(place: Tensor, rows: int) -> Tensor:
    """Return the sum of the distances among the first points and from them to all others."""
    own, others = place[:rows], place[rows:]
    apart = torch.cdist(own, others, compute_mode="donot_use_mm_for_euclid_dist")  # products lose small distances
    return torch.pdist(own).sum() + apart.sum()


def _mean_distance(place: Tensor, size: Tensor) -> Tensor:
    """Return the mean distance of points ``[point, 2]`` to those of a rectangle from 0 to `size` ``[2]``."""
    total = place.new_zeros(len(place))
    for column in (0, 1):
        for row in (0, 1):
            x, y = size[0] * column - place[:, 0], size[1] * row - place[:, 1]
            total = total + (2 * (column == row) - 1) * _distance_integral(x, y)
    return total / size.prod()


def _distance_integral(x: Tensor, y: Tensor) -> Tensor:
    """Return the integral of ``sqrt(u^2 + v^2)`` over u from 0 to x and v from 0 to y."""
    r = (x * x + y * y).clamp_min(1e-30).sqrt()
    one, other = (a.pow(3) * torch.asinh(b / a.abs().clamp_min(1e-30)) for a, b in ((x, y), (y, x)))
    return x * y * r / 3 + (one + other) / 6


def _mean_distance_within(a: float, b: float) -> float:
    """Return the mean distance of two points of a rectangle (Ghosh 1951, Bull. Calcutta Math. Soc. 43:17)."""
    d = math.hypot(a, b)
    logs = b * b / a * math.log((a + d) / b) + a * a / b * math.log((b + d) / a)
    return (a**3 / b**2 + b**3 / a**2 + d * (3 - (a / b) ** 2 - (b / a) ** 2) + 2.5 * logs) / 15
