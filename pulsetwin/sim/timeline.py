"""A sequence as the digital twin sees it: pulses, the intervals between them, and samples, as flat tensors.

Signs are those of ``s(t) = sum_r m(r) exp(-2 pi i k(t) r)``: transverse magnetisation of a spin with offset ``f`` [Hz]
turns by ``exp(-2 pi i f t)``. A `.seq` counts phases the other way round; `sim.timeline_from_seq` turns them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError


@dataclass(frozen=True, slots=True)
class PulseShape:
    """The waveforms of an RF pulse in segments of constant value, for engines with finite pulses.

    Parameters
    ----------
    duration
        Length of each segment [s], float64 ``[segment]``.
    b1
        gamma B1 / 2 pi [Hz] of each segment at the nominal flip angle, complex128 ``[segment]`` or, for parallel
        transmission, ``[segment, channel]``; phase 0 at the pulse's centre by convention.
    gradient
        Mean gradient of each segment [Hz/m], float64 ``[segment, 3]``.
    center
        From the start of the first segment to the centre, where an instantaneous pulse would act [s].
    flip_angle
        Nominal flip angle [rad], which a pulse's own flip angle is divided by to scale `b1`.
    """

    duration: Tensor
    b1: Tensor
    gradient: Tensor
    center: float
    flip_angle: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Pulses at instants (their centres), intervals of constant gradient between them, and samples at interval ends.

    Repetition ``r`` is pulse ``r`` followed by the intervals ``interval_start[r]`` to ``interval_start[r + 1]``.
    Intervals before the first pulse are left out, since nothing precesses there: time 0 is the first pulse's centre,
    and `start_time` says when that is. All tensors are contiguous, on one device, real ones float64. Those of values
    (angles, phases, durations, moments) may carry gradients.

    Parameters
    ----------
    flip_angle
        ``[pulse]`` [rad].
    phase
        Phase of the pulse's axis at its centre [rad], ``[pulse]``: a 90 degree pulse of phase 0 turns z to -i.
    frequency
        Offset of the pulse's carrier, positive where it meets spins of positive offset [Hz], ``[pulse]``.
    shape
        Entry of `shapes` that each pulse plays, -1 for an instantaneous one, int64 ``[pulse]``.
    shapes
        Distinct pulse shapes.
    duration
        ``[interval]`` [s].
    moment
        Gradient moment of each interval, k at its end minus k at its start [1/m], ``[interval, 3]``.
    in_pulse
        Whether an interval lies within the window of the pulse before or after it, bool ``[interval]``: engines with
        finite pulses play the shape instead.
    interval_start
        First interval of each repetition and the total, int64 ``[pulse + 1]``.
    sample_interval
        Interval at whose end each sample is taken, ascending, int64 ``[sample]``.
    sample_phase
        Receiver phase of each sample [rad], ``[sample]``: the signal is multiplied by ``exp(i phase)``.
    readout_start
        First sample of each readout and the total, int64 ``[readout + 1]``; a readout lies in one repetition.
    readout_shape
        Readouts of equal number have equal times and moments from their first sample on, int64 ``[readout]``.
    shim
        Complex weight of each transmit channel in each pulse, ``[pulse, channel]``, or None: every channel with 1.
    start_time
        Centre of the first pulse since the start of the sequence [s].
    """

    flip_angle: Tensor
    phase: Tensor
    frequency: Tensor
    shape: Tensor
    shapes: tuple[PulseShape, ...]
    duration: Tensor
    moment: Tensor
    in_pulse: Tensor
    interval_start: Tensor
    sample_interval: Tensor
    sample_phase: Tensor
    readout_start: Tensor
    readout_shape: Tensor
    shim: Tensor | None = None
    start_time: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def pulses(self) -> int:
        """Number of pulses, and of repetitions."""
        return len(self.flip_angle)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.sample_interval)

    @classmethod
    def zeros(cls, duration: Tensor, intervals: Tensor, sampled: Tensor) -> Timeline:
        """Make a timeline of instantaneous pulses that does nothing yet: angles, phases and moments are 0.

        What a sequence is learnt from, or filled in by `dataclasses.replace`. A repetition's samples are one readout,
        unlike any other.

        Parameters
        ----------
        duration
            ``[interval]`` [s].
        intervals
            Number of intervals after each pulse, int64 ``[pulse]``.
        sampled
            Whether a sample is taken at the end of an interval, bool ``[interval]``.
        """
        starts = torch.cat((intervals.new_zeros(1), intervals.cumsum(0)))
        taken = torch.nonzero(sampled)[:, 0]
        counts = torch.bincount(torch.searchsorted(starts, taken, right=True) - 1, minlength=len(intervals))
        counts = counts[counts > 0]
        none = torch.zeros(len(intervals), dtype=torch.float64)
        return cls(
            flip_angle=none, phase=none, frequency=none, shape=torch.full((len(intervals),), -1), shapes=(),
            duration=duration, moment=torch.zeros((len(duration), 3), dtype=torch.float64),
            in_pulse=torch.zeros(len(duration), dtype=torch.bool), interval_start=starts, sample_interval=taken,
            sample_phase=torch.zeros(len(taken), dtype=torch.float64),
            readout_start=torch.cat((counts.new_zeros(1), counts.cumsum(0))), readout_shape=torch.arange(len(counts)),
        )  # fmt: skip

    @classmethod
    def from_repetitions(
        cls, flip_angle: Tensor, phase: Tensor, duration: Tensor, moment: Tensor, samples: Tensor, adc_phase: Tensor
    ) -> Timeline:
        """Make a timeline of equally long repetitions with instantaneous pulses.

        Parameters
        ----------
        flip_angle, phase
            ``[pulse]`` [rad].
        duration
            ``[pulse, interval]`` [s].
        moment
            ``[pulse, interval, 3]`` [1/m].
        samples
            Whether a sample is taken at the end of an interval, bool ``[interval]``, the same in each repetition.
        adc_phase
            Receiver phase, ``[pulse]`` [rad].
        """
        pulses, intervals = duration.shape
        taken = torch.nonzero(samples)[:, 0]
        rows = torch.arange(pulses)
        flat = moment.reshape(-1, 3)
        count = len(taken)
        interval = (rows[:, None] * intervals + taken).flatten()
        times = duration.reshape(-1)
        ends = torch.arange(pulses + 1) * count if count else torch.zeros(1, dtype=torch.int64)
        return cls(
            flip_angle=flip_angle, phase=phase, frequency=torch.zeros_like(phase.detach()),
            shape=torch.full((pulses,), -1), shapes=(), duration=times, moment=flat,
            in_pulse=torch.zeros(len(times), dtype=torch.bool), interval_start=torch.arange(pulses + 1) * intervals,
            sample_interval=interval, sample_phase=adc_phase[:, None].expand(-1, count).flatten().contiguous(),
            readout_start=ends, readout_shape=equal_readouts(times, flat, interval, ends),
        )  # fmt: skip


def equal_readouts(duration: Tensor, moment: Tensor, sample_interval: Tensor, readout_start: Tensor) -> Tensor:
    """Return a number for each readout, the same where times and moments from the first sample on are equal.

    Equal within 1e-9 s and 1e-6 of the largest moment; int64 ``[readout]``.
    """
    time, position = duration.detach().cumsum(0), moment.detach().cumsum(0)
    scale = max(float(moment.detach().abs().max()) if moment.numel() else 0.0, 1e-9) * 1e-6
    first, count = readout_start[:-1], readout_start.diff()
    origin = torch.repeat_interleave(sample_interval[first], count)
    passed = torch.round((time[sample_interval] - time[origin]) / 1e-9)
    moved = torch.round((position[sample_interval] - position[origin]) / scale)
    keys = torch.cat((passed[:, None], moved), 1).to(torch.int64).numpy()
    known: dict[bytes, int] = {}
    bounds = readout_start.tolist()
    numbers = [known.setdefault(keys[begin:end].tobytes(), len(known)) for begin, end in pairwise(bounds)]
    return torch.tensor(numbers, dtype=torch.int64)


def _check(line: Timeline) -> None:
    pulses, intervals, samples = len(line.flip_angle), len(line.duration), len(line.sample_interval)
    wanted = {
        "flip_angle": (pulses,), "phase": (pulses,), "frequency": (pulses,), "shape": (pulses,),
        "duration": (intervals,), "moment": (intervals, 3), "in_pulse": (intervals,),
        "interval_start": (pulses + 1,), "sample_interval": (samples,), "sample_phase": (samples,),
        "readout_start": (len(line.readout_shape) + 1,), "readout_shape": (len(line.readout_shape),),
    }  # fmt: skip
    whole = ("shape", "interval_start", "sample_interval", "readout_start", "readout_shape")
    for name, shape in wanted.items():
        value = getattr(line, name)
        dtype = torch.int64 if name in whole else torch.bool if name == "in_pulse" else torch.float64
        if tuple(value.shape) != shape or value.dtype != dtype:
            raise ShapeError(f"timeline: {name} is {value.dtype} {tuple(value.shape)}: give {dtype} {shape}")
        if not value.is_contiguous():
            raise ShapeError(f"timeline: {name} is not contiguous: call .contiguous() on it")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ProtocolError(f"timeline: {name} holds values that are not finite: check the sequence")
    if bool((line.duration < 0).any()):
        raise ProtocolError(f"timeline: interval {int((line.duration < 0).nonzero()[0])} lasts less than 0 s")
    if samples and not (int(line.sample_interval.min()) >= 0 and int(line.sample_interval.max()) < intervals):
        raise ShapeError(f"timeline: sample_interval names intervals beyond the {intervals} there are")
    if pulses and int(line.interval_start[-1]) != intervals:
        raise ShapeError(f"timeline: interval_start ends at {int(line.interval_start[-1])} of {intervals} intervals")
    if int(line.readout_start[-1]) != samples:
        raise ShapeError(f"timeline: readout_start ends at {int(line.readout_start[-1])} of {samples} samples")
