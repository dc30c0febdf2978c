"""Peripheral nerve stimulation of a timeline by the SAFE model, differentiable in moments and durations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.export.nerve_stimulation import CAUTION, nerve_axes
from pulsetwin.scanner import PROTON, SafeAxis, Scanner
from pulsetwin.sim.timeline import Timeline

_SHORTEST = 1e-9  # interval that gradients are thought of in [s]


def nerve_excess(timeline: Timeline, scanner: Scanner) -> Tensor:
    """Return by how much nerves are stimulated beyond what the safety check warns of, relative, squared, summed.

    Over the ends and middles of all intervals; coefficients, and what is raised, are those of `nerve_peak`.
    """
    percent = 100 * stimulation(*played_gradients(timeline), _axes(scanner))
    return (percent / CAUTION - 1).clamp_min(0).square().sum()


def nerve_peak(timeline: Timeline, scanner: Scanner) -> Tensor:
    """Return the strongest stimulation of nerves [%], by the coefficients that the safety check takes.

    Raises
    ------
    ProtocolError
        If the scanner has no coefficients, as those for animals.
    """
    return 100 * stimulation(*played_gradients(timeline), _axes(scanner)).max()


def _axes(scanner: Scanner) -> tuple[SafeAxis, SafeAxis, SafeAxis]:
    axes = nerve_axes(scanner)
    if axes is None:
        raise ProtocolError(f"{scanner.name} has no coefficients of nerve stimulation: name another scanner, or no pns")
    return axes


def played_gradients(timeline: Timeline) -> tuple[Tensor, Tensor]:
    """Return gradients that play a timeline's moments: straight between the ends and the middles of its intervals.

    They are 0 at pulses. At the end of an interval between two samples they are the mean of its gradient and the
    next's, where one of both ends at a sample, the gradient of that one; what the middle is follows from the moment.

    Returns
    -------
    Tensor
        Time of each knot since the first pulse [s], float64 ``[knot]``, ascending.
    Tensor
        Gradient there [Hz/m], float64 ``[knot, 3]``.
    """
    time = timeline.duration.clamp_min(_SHORTEST)
    mean = timeline.moment / time[:, None]
    end = _ends(timeline, mean)
    middle = 2 * mean - (end[:-1] + end[1:]) / 2
    gradient = torch.cat((torch.stack((end[:-1], middle), 1).reshape(-1, 3), end[-1:]))
    steps = (time / 2).repeat_interleave(2)
    return torch.cat((steps.new_zeros(1), steps.cumsum(0))), gradient


def _ends(timeline: Timeline, mean: Tensor) -> Tensor:
    """Return the gradients at the ends of intervals [Hz/m], ``[interval + 1, 3]``."""
    within, first = torch.zeros(2, len(mean), dtype=torch.bool)
    within[timeline.sample_interval] = True
    within[timeline.sample_interval[timeline.readout_start[:-1]]] = False  # the lobe before the first sample
    first[timeline.interval_start[:-1]] = True
    before, after = within[:-1].double()[:, None], within[1:].double()[:, None]
    inner = (before * mean[:-1] + after * mean[1:]) / (before + after).clamp_min(1)
    inner = torch.where(first[1:, None], 0.0, inner)
    nothing = mean.new_zeros(1, 3)
    return torch.cat((nothing, inner, nothing))


def stimulation(time: Tensor, gradient: Tensor, axes: Sequence[SafeAxis], gamma: float = PROTON) -> Tensor:
    r"""Return the stimulation at the knots of gradients that are straight between them, as a share of the limit.

    .. math:: s_a = \frac{g}{l} (w_1 |h_1 * \dot G| + w_2\, h_2 * |\dot G| + w_3 |h_3 * \dot G|), \quad
              s = \sqrt{\textstyle\sum_a s_a^2}

    with low-pass filters `h_i` of time constants `tau_i`, exact for constant slew rates between knots.

    Parameters
    ----------
    time
        Of the knots [s], ``[knot]``, ascending.
    gradient
        There [Hz/m], ``[knot, 3]``, 0 before the first.
    axes
        Coefficients of x, y, z.
    gamma
        Gyromagnetic ratio / 2 pi [Hz/T].

    Returns
    -------
    Tensor
        Norm over the axes, ``[knot - 1]``, at all knots but the first.

    References
    ----------
    Hebrank and Gebhardt, SAFE-Model, Proc. ISMRM 8 (2000) 2007.
    """
    like = {"dtype": gradient.dtype, "device": gradient.device}
    tau = torch.tensor([axis.tau for axis in axes], **like)
    weight = torch.tensor([axis.weight for axis in axes], **like)
    scale = torch.tensor([axis.gradient_scale / axis.stimulation_limit for axis in axes], **like)
    step = time.diff()
    slew = gradient.diff(dim=0) / (gamma * step[:, None])
    drive = torch.stack((slew, slew.abs(), slew), 2)
    heard = _filtered(torch.exp(-step[:, None, None] / tau), drive)
    return (scale * (weight * heard.abs()).sum(2)).square().sum(1).clamp_min(1e-30).sqrt()


def _filtered(decay: Tensor, drive: Tensor) -> Tensor:
    """Return ``y_n = decay_n y_(n-1) + (1 - decay_n) drive_n`` along the first axis, from 0, in log2(n) steps."""
    found, far = (1 - decay) * drive, 1
    while far < len(found):
        found = torch.cat((found[:far], found[far:] + decay[far:] * found[:-far]))
        decay = torch.cat((decay[:far], decay[far:] * decay[:-far]))
        far *= 2
    return found
