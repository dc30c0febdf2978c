"""A timeline by repetitions and readouts, as it is to be realised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import Array
from pulsetwin.sim.timeline import Timeline

_SAME_TIME, _SAME_PHASE = 1e-9, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Evenly spaced samples.

    Parameters
    ----------
    count, dwell
        Samples, and time between them [s].
    start
        First sample since the pulse's centre [s].
    moments
        Between neighbouring samples [1/m], float64 ``[sample - 1, 3]``.
    first_k, last_k
        Moment from the pulse's centre to the first and last sample [1/m], ``[3]``.
    phase
        Of the receiver [rad].
    """

    count: int
    dwell: float
    start: float
    moments: Array
    first_k: Array
    last_k: Array
    phase: float

    @property
    def end(self) -> float:
        """Last sample since the pulse's centre [s]."""
        return self.start + (self.count - 1) * self.dwell

    @property
    def key(self) -> tuple[int, int, int]:
        """What readouts share that are played in the same window: samples, dwell time and place in the raster [ns]."""
        nanosecond = 1e9
        return self.count, round(self.dwell * nanosecond), round(self.start * nanosecond) % 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Repetition:
    """A pulse and what follows until the next pulse's centre.

    Parameters
    ----------
    flip_angle, phase
        Of the pulse [rad], the angle not negative, the phase in the twin's sign.
    duration
        To the next pulse [s].
    moment
        Total of the gradients [1/m], ``[3]``.
    readouts
        In order of play.
    """

    flip_angle: float
    phase: float
    duration: float
    moment: Array
    readouts: tuple[Readout, ...]


def repetitions(timeline: Timeline) -> list[Repetition]:
    """Return the repetitions of a timeline.

    Raises
    ------
    ProtocolError
        If it has finite pulses, carriers or shims; if a readout has a single sample, samples that are not evenly
        spaced, or phases that differ.
    """
    if bool((timeline.shape >= 0).any()) or timeline.shim is not None or bool((timeline.frequency != 0).any()):
        raise ProtocolError("realise: the timeline has finite pulses, carriers or shims: give one of hard pulses")
    start = timeline.interval_start.numpy()
    time = np.concatenate(([0.0], np.cumsum(timeline.duration.detach().numpy())))
    k = np.concatenate((np.zeros((1, 3)), np.cumsum(timeline.moment.detach().numpy(), axis=0)))
    angle, phase = timeline.flip_angle.detach().numpy(), timeline.phase.detach().numpy()
    bounds = timeline.readout_start.numpy()
    owner = np.searchsorted(start, timeline.sample_interval.numpy()[bounds[:-1]], side="right") - 1
    return [
        Repetition(
            flip_angle=abs(float(angle[row])), phase=float(phase[row]) + (math.pi if angle[row] < 0 else 0.0),
            duration=float(time[start[row + 1]] - time[start[row]]), moment=k[start[row + 1]] - k[start[row]],
            readouts=tuple(
                _readout(timeline, int(number), time - time[start[row]], k - k[start[row]])
                for number in np.nonzero(owner == row)[0]
            ),
        )
        for row in range(timeline.pulses)
    ]  # fmt: skip


def _readout(timeline: Timeline, number: int, time: Array, k: Array) -> Readout:
    """Return a readout; `time` [s] and `k` [1/m] count from its pulse, at the begin of intervals and the last's end."""
    own = slice(*timeline.readout_start[number : number + 2].tolist())
    taken = timeline.sample_interval[own].numpy() + 1
    at, where = time[taken], k[taken]
    phase = timeline.sample_phase[own].detach().numpy()
    if len(at) < 2 or np.ptp(np.diff(at)) > _SAME_TIME:
        raise ProtocolError(f"realise: readout {number} has samples that are not evenly spaced in time: make them so")
    if np.abs(np.exp(1j * (phase - phase[0])) - 1).max() > _SAME_PHASE:
        raise ProtocolError(f"realise: the receiver's phase changes within readout {number}: keep it there")
    dwell = float(at[-1] - at[0]) / (len(at) - 1)
    return Readout(len(at), dwell, float(at[0]), np.diff(where, axis=0), where[0], where[-1], float(phase[0]))
