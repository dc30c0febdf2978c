"""Peripheral nerve stimulation of a timeline by the SAFE model, differentiable in moments and durations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.export.nerve_stimulation import CAUTION, nerve_axes
from pulsetwin.export.realise import LONGEST_LOBE, PULSE_DURATION, TIME_BANDWIDTH
from pulsetwin.scanner import PROTON, SafeAxis, Scanner
from pulsetwin.sim.timeline import Timeline

_SHORTEST, _NOTHING = 1e-9, 1e-9  # time that gradients are thought of in [s]; a moment [1/m]


def nerve_excess(timeline: Timeline, scanner: Scanner, thickness: float) -> Tensor:
    """Return by how much nerves are stimulated beyond what the safety check warns of, relative, squared, summed.

    Over the knots of `played_gradients`; coefficients, and what is raised, are those of `nerve_peak`.
    """
    percent = 100 * stimulation(*played_gradients(timeline, scanner, thickness), _axes(scanner))
    return (percent / CAUTION - 1).clamp_min(0).square().sum()


def nerve_peak(timeline: Timeline, scanner: Scanner, thickness: float) -> Tensor:
    """Return the strongest stimulation of nerves [%], by the coefficients that the safety check takes.

    Parameters
    ----------
    timeline
        The sequence.
    scanner
        Whose gradients and nerves.
    thickness
        Of the slices that its pulses select along z [m].

    Raises
    ------
    ProtocolError
        If the scanner has no coefficients, as those for animals.
    """
    return 100 * stimulation(*played_gradients(timeline, scanner, thickness), _axes(scanner)).max()


def _axes(scanner: Scanner) -> tuple[SafeAxis, SafeAxis, SafeAxis]:
    axes = nerve_axes(scanner)
    if axes is None:
        raise ProtocolError(f"{scanner.name} has no coefficients of nerve stimulation: name another scanner, or no pns")
    return axes


def played_gradients(timeline: Timeline, scanner: Scanner, thickness: float) -> tuple[Tensor, Tensor]:
    """Return gradients that play a timeline's moments as `export.realise` does, with slices along z [m].

    Between two samples they are straight between the ends and the middle of the interval: at its end the mean of its
    gradient and the next's, or that of the only one of both that ends at a sample; what the middle is follows from the
    moment. Elsewhere lobes are played as soon as the slice's gradient or the readout is over, in as much time as there
    is, but not more than 2 ms, with the ramps of the shortest lobe of the largest moment of all axes; where it needs
    more than there is, the interval lasts longer.

    Returns
    -------
    Tensor
        Time of each knot since the first pulse [s], float64 ``[knot]``, ascending.
    Tensor
        Gradient there [Hz/m], float64 ``[knot, 3]``.
    """
    time = timeline.duration.clamp_min(_SHORTEST)
    mean = timeline.moment / time[:, None]
    within = _within(timeline)
    ends = _ends(timeline, within, mean, TIME_BANDWIDTH / (PULSE_DURATION * thickness))
    begin, end = ends[:-1], ends[1:]
    steps, gradient = _lobes(timeline, begin, end, scanner)
    straight = torch.stack((2 * mean - (begin + end) / 2, end), 1)
    gradient = torch.cat((torch.where(within[:, None, None], straight, gradient[:, :2]), gradient[:, 2:]), 1)
    halves = torch.stack((time, time), 1) / 2
    steps = torch.cat((torch.where(within[:, None], halves, steps[:, :2]), steps[:, 2:]), 1)
    played = (steps > 0) & (~within[:, None] | (torch.arange(steps.shape[1]) < 2))
    return torch.cat((time.new_zeros(1), steps[played].cumsum(0))), torch.cat((ends[:1], gradient[played]))


def _lobes(timeline: Timeline, begin: Tensor, end: Tensor, scanner: Scanner) -> tuple[Tensor, Tensor]:
    """Return the steps of intervals with a lobe, ``[interval, 8]``, and the gradients after them, ``[..., 3]``.

    What is left of the pulse, a ramp to 0 from the gradient that the interval begins with, ramp, top and ramp of the
    lobe, a pause, a ramp to the gradient that the interval ends with, and half of the next pulse.
    """
    slew, strongest = scanner.opts.max_slew, scanner.opts.max_grad
    down, up = ((one.abs() / slew).amax(1) for one in (begin, end))
    half = torch.zeros(len(down) + 1, dtype=down.dtype)
    half[timeline.interval_start] = PULSE_DURATION / 2
    moment = timeline.moment - begin * (half[:-1] + down / 2)[:, None] - end * (half[1:] + up / 2)[:, None]
    largest = moment.abs().amax(1).clamp_min(_NOTHING)
    ramp = (largest / slew).sqrt().clamp_max(strongest / slew)
    needed = ramp + largest / (slew * ramp) + _SHORTEST  # of a top, however short
    free = timeline.duration - down - up - half[:-1] - half[1:]
    length = torch.maximum(needed, free.clamp_max(LONGEST_LOBE))
    rest = (free - length).clamp_min(0)
    steps = torch.stack((half[:-1], down, ramp, length - 2 * ramp, ramp, rest, up, half[1:]), 1)
    high, none = moment / (length - ramp)[:, None], torch.zeros_like(moment)
    return steps, torch.stack((begin, none, high, high, none, none, end, end), 1)


def _within(timeline: Timeline) -> Tensor:
    """Return which intervals are between two samples, bool ``[interval]``."""
    within = torch.zeros(len(timeline.duration), dtype=torch.bool)
    within[timeline.sample_interval] = True
    within[timeline.sample_interval[timeline.readout_start[:-1]]] = False  # the lobe before the first sample
    return within


def _ends(timeline: Timeline, within: Tensor, mean: Tensor, slices: float) -> Tensor:
    """Return the gradients at the ends of intervals, ``[interval + 1, 3]``, at pulses that of `slices` [Hz/m]."""
    first = torch.zeros(len(mean), dtype=torch.bool)
    first[timeline.interval_start[:-1]] = True
    before, after = within[:-1].double()[:, None], within[1:].double()[:, None]
    inner = (before * mean[:-1] + after * mean[1:]) / (before + after).clamp_min(1)
    selecting = mean.new_tensor([[0.0, 0.0, slices]])
    inner = torch.where(first[1:, None], selecting, inner)
    return torch.cat((selecting, inner, selecting))


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
