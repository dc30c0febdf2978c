"""How far the gradients of a timeline take k, time and b after each pulse: as autograd can follow it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.sim.timeline import Timeline

B_UNIT = 4 * torch.pi**2
"""What turns k^2 t into b."""


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Columns since the pulse: k [1/m], time [s], and the terms of b linear in the state's k and constant.

    A transverse state that starts at k has ``b = B_UNIT (k^2 time + k linear + constant)``. All are float64 on the CPU.

    Parameters
    ----------
    sample
        At each sample, ``[sample, 8]``.
    row
        At the end of each repetition, ``[pulse, 8]``.
    """

    sample: Tensor
    row: Tensor


def paths_of(timeline: Timeline) -> Paths:
    """Return the paths of a timeline."""
    step = torch.cat((timeline.moment, timeline.duration[:, None]), 1).cpu()
    starts = timeline.interval_start.cpu()
    row = torch.repeat_interleave(torch.arange(timeline.pulses), starts.diff())
    total = torch.cat((step.new_zeros(1, 4), step.cumsum(0)))
    end = total[1:] - total[starts[:-1]][row]
    k0, k1, time = (end - step)[:, :3], end[:, :3], step[:, 3:]
    terms = time * torch.cat((k0 + k1, (k0 * k0 + k0 * k1 + k1 * k1).sum(1, keepdim=True) / 3), 1)
    sums = torch.cat((total, torch.cat((terms.new_zeros(1, 4), terms.cumsum(0)))), 1)
    taken = timeline.sample_interval.cpu()
    return Paths(sums[taken + 1] - sums[starts[:-1]][row[taken]], sums[starts[1:]] - sums[starts[:-1]])
