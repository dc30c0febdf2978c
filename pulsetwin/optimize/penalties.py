"""What a sequence costs besides a poor image: RF power, gradients that cannot be played, time, gaps in k-space."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sim.timeline import Timeline


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
    """Return the share of the cells of k-space that no sample is in, softly.

    The mean over cells of ``exp(-2 n)``, with `n` the sum of bilinear weights (1 at the cell, 0 at its neighbours).

    Parameters
    ----------
    kspace
        Positions of samples [1/m], ``[sample, 3]``.
    fov
        Field of view along x, y, z [m].
    grid
        Cells along y, x.
    """
    return torch.exp(-2 * _deposited(kspace, fov, grid)).mean()


def _deposited(kspace: Tensor, fov: tuple[float, float, float], grid: tuple[int, int]) -> Tensor:
    rows, columns = grid
    y, x = kspace[:, 1] * fov[1] + rows // 2, kspace[:, 0] * fov[0] + columns // 2
    cells = kspace.new_zeros(rows * columns)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y.detach().floor() + dy, x.detach().floor() + dx
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            at = (row * columns + column)[inside].long()
            cells = cells.index_add(0, at, weight[inside])
    return cells
