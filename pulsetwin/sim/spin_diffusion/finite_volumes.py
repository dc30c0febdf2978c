"""Build-up of any profile of materials by finite volumes: conservative, exact in time, with exact gradients.

Each layer is one cell. Between the points of two cells flows what a steady flow between them would, so that jumps of
D and C where cells meet cost no order. What leaves a cell enters the next: nothing is lost but by relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.sim.spin_diffusion.layers import Layers
from pulsetwin.sim.spin_diffusion.relaxation import relax


@dataclass(frozen=True, slots=True)
class _Cells:
    """The balance ``spins dP/dt = -(conduction + loss) P + gain`` of all cells."""

    spins: Tensor
    between: Tensor
    loss: Tensor
    gain: Tensor


def profile(layers: Layers, times: np.ndarray) -> Tensor:
    """Return the polarisation of each layer, ``[layer, time]``; see `grouped` for means of many.

    Parameters
    ----------
    layers
        A particle in layers that are thin beside their distance to anything that changes; see `refined`. Its tensors
        may want gradients.
    times
        Since saturation [s], ``[time]``.
    """
    return _means(_cells(layers), torch.eye(len(layers.edges), dtype=torch.float64), times)


def grouped(layers: Layers, group: np.ndarray, times: np.ndarray) -> Tensor:
    """Return the mean polarisation per spin of groups of layers, ``[group, time]``, as their NMR signals show it.

    Parameters
    ----------
    layers, times
        As for `profile`.
    group
        To which group each layer belongs, whole numbers from 0, ``[layer]``.
    """
    cells = _cells(layers)
    member = torch.as_tensor(group) == torch.arange(int(np.max(group)) + 1)[:, None]
    share = member * cells.spins
    return _means(cells, share / share.sum(1, keepdim=True), times)


def _means(cells: _Cells, weights: Tensor, times: np.ndarray) -> Tensor:
    """Return weighted means of all cells; the balance is made symmetric by the root of the number of spins."""
    root = cells.spins.sqrt()
    flow = torch.nn.functional.pad(cells.between, (1, 1))
    diagonal = (flow[:-1] + flow[1:] + cells.loss) / cells.spins
    beside = -cells.between / (root[:-1] * root[1:])
    return relax(diagonal, beside, cells.gain / root, weights / root, torch.as_tensor(times))


def _cells(layers: Layers) -> _Cells:
    power, outer = layers.power, _tensor(layers.edges)
    inner = torch.cat((outer.new_zeros(1), outer[:-1]))
    concentration, t1 = _tensor(layers.concentration), _tensor(layers.t1)
    spins = concentration * (outer ** (power + 1) - inner ** (power + 1)) / (power + 1)
    point = _points(power, inner, outer)
    conducted = concentration * _tensor(layers.diffusion)
    outwards = _steady(power, point[:-1], outer[:-1]) / conducted[:-1]
    inwards = _steady(power, inner[1:], point[1:]) / conducted[1:]
    return _Cells(spins, 1 / (outwards + inwards), spins / t1, spins * _tensor(layers.polarisation) / t1)


def _points(power: int, inner: Tensor, outer: Tensor) -> Tensor:
    """Return where the polarisation of a cell is its mean: the mean of r within it."""
    volume = (outer ** (power + 1) - inner ** (power + 1)) / (power + 1)
    return (outer ** (power + 2) - inner ** (power + 2)) / (power + 2) / volume


def _steady(power: int, inner: Tensor, outer: Tensor) -> Tensor:
    """Return the resistance between two radii, of unit conductivity, to a steady flow."""
    return {0: lambda: outer - inner, 1: lambda: torch.log(outer / inner), 2: lambda: 1 / inner - 1 / outer}[power]()


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)
