"""A small network for a field of place and time, with its derivatives by both, propagated forward."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Field:
    """A field and its derivatives at places and times, ``[place, time]``.

    Parameters
    ----------
    value, by_place, by_place2, by_time
        The field, its first and second derivative by place, its first by time.
    """

    value: Tensor
    by_place: Tensor
    by_place2: Tensor
    by_time: Tensor


class FieldNetwork(nn.Module):
    """Fully connected, tanh: ``scale t / (t + tc) N(place, u)`` with ``u = ln(1 + t / tc)``, 0 at t = 0 by itself.

    Parameters
    ----------
    scale
        Size of the field.
    time_scale
        tc [s].
    hidden
        Units of each of two layers.
    generator
        For the weights.
    """

    def __init__(self, scale: float, time_scale: float, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.scale, self.time_scale = scale, time_scale
        sizes = [2, hidden, hidden, 1]
        self.layers = nn.ModuleList(nn.Linear(before, after, dtype=torch.float64) for before, after in pairwise(sizes))
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, place: Tensor, times: Tensor) -> Field:
        """Return the field at all places ``[place]`` and times ``[time]`` [s]."""
        late = torch.log1p(times / self.time_scale)
        grid = torch.stack(torch.meshgrid(place, late, indexing="ij"), -1)
        value, curved = grid, torch.zeros_like(grid)
        by_place, by_late = torch.eye(2, dtype=grid.dtype)[:, None, None].expand(2, *grid.shape)
        for number, layer in enumerate(self.layers):
            value = layer(value)
            by_place, by_late, curved = (one @ layer.weight.T for one in (by_place, by_late, curved))
            if number < len(self.layers) - 1:
                value = torch.tanh(value)
                slope = 1 - value**2
                curved = slope * (curved - 2 * value * by_place**2)
                by_place, by_late = slope * by_place, slope * by_late
        value, by_place, by_late, curved = (one[..., 0] for one in (value, by_place, by_late, curved))
        total = times + self.time_scale
        grown, grows = self.scale * times / total, self.scale * self.time_scale / total**2
        return Field(grown * value, grown * by_place, grown * curved, grows * value + grown * by_late / total)
