"""Where the samples of a timeline lie in k-space."""

from __future__ import annotations

import torch
from torch import Tensor

from pulsetwin.sim.timeline import Timeline


def sampled_kspace(timeline: Timeline, refocusing: Tensor) -> Tensor:
    """Return k at each sample [1/m], ``[sample, 3]``, of the magnetisation that is meant to be seen.

    Parameters
    ----------
    timeline
        The sequence.
    refocusing
        Whether a pulse turns k to -k rather than to 0, bool ``[pulse]``.
    """
    starts = timeline.interval_start
    total = torch.cat((timeline.moment.new_zeros(1, 3), timeline.moment.cumsum(0)))
    gained = total[starts].diff(dim=0)
    begin, end = [], timeline.moment.new_zeros(3)
    for turned, moment in zip(refocusing.tolist(), gained, strict=True):
        begin.append(-end if turned else torch.zeros_like(end))
        end = begin[-1] + moment
    pulse = torch.searchsorted(starts, timeline.sample_interval, right=True) - 1
    return torch.stack(begin)[pulse] + total[timeline.sample_interval + 1] - total[starts[pulse]]
