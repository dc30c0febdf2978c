"""What a long sequence repeats: its distinct pulses, the distinct times between them, and the period of both.

Where each repetition rewinds its phase encoding, what its pulses find depends on the tissue only, not on the encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.block_intervals import codes
from pulsetwin.sim.timeline import Timeline

K_GRAIN, TIME_GRAIN = 0.02, 1e-6
"""Moments [1/m] and times [s] between pulses that differ by less are the same."""
MOST_RESTS = 64
"""Distinct times between pulses, above which phase encoding is not rewound."""
_PRELUDE = 0.5  # part of a sequence that may go before its periods
_SAME_PHASE = 1e-4
_STILL = 1e-3  # turns across the object that a pulse's gradient may cause


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Pulses and the times between them by kind, and in which order they are played.

    A position is a pulse of the prelude or of the first period after it; later pulses repeat those.

    Parameters
    ----------
    pulses
        An example of each kind of pulse, apart from its phase, ``[kind]``.
    pulse_kind, phase
        Kind and phase [rad] of the pulse at each position, ``[position]``.
    rest_kind
        Kind of the time after it, ``[position]``.
    moment
        Of each kind of time, from pulse to pulse [1/m] in units of `K_GRAIN`, then its length in units of
        `TIME_GRAIN`, int64 ``[kind, 4]``.
    length, free
        From pulse centre to pulse centre, and without the pulses [s], ``[kind]``.
    path
        Integral of k since the pulse [s/m] ``[kind, 3]``.
    square
        Integral of its square [s/m^2] ``[kind]``.
    prelude
        Positions before the first period.
    """

    pulses: NDArray[np.int64]
    pulse_kind: NDArray[np.int64]
    phase: NDArray[np.float64]
    rest_kind: NDArray[np.int64]
    moment: NDArray[np.int64]
    length: NDArray[np.float64]
    free: NDArray[np.float64]
    path: NDArray[np.float64]
    square: NDArray[np.float64]
    prelude: int

    @property
    def positions(self) -> int:
        """Pulses of the prelude and one period."""
        return len(self.pulse_kind)

    @property
    def period(self) -> int:
        """Pulses of a period."""
        return self.positions - self.prelude

    def position(self, pulse: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position that each pulse repeats."""
        return np.where(pulse < self.positions, pulse, self.prelude + (pulse - self.prelude) % self.period)


def repeated(timeline: Timeline) -> Plan:
    """Return what a timeline repeats; the whole timeline is one period if nothing is."""
    pulse, examples = codes(
        timeline.shape.numpy(),
        np.round(timeline.flip_angle.numpy() / 1e-9),
        np.round(timeline.frequency.numpy() / 1e-6),
    )
    moment, free, length, path, square = _rests(timeline)
    keys = np.concatenate((np.rint(moment / K_GRAIN), np.rint(np.stack((length, free), 1) / TIME_GRAIN)), 1)
    rest, _ = codes(*keys.T)
    example = _weakest(rest, square)
    turn = np.exp(1j * timeline.phase.numpy())
    played, _ = codes(pulse, rest, np.rint(turn.real / _SAME_PHASE), np.rint(turn.imag / _SAME_PHASE))
    prelude, period = _period(played[:-1])  # after the last pulse, time is often cut off
    first = slice(0, prelude + period)
    return Plan(
        examples, pulse[first], timeline.phase.numpy()[first], rest[first], keys[example, :4].astype(np.int64),
        length[example], free[example], path[example], square[example], prelude,
    )  # fmt: skip


def turning_pulse(timeline: Timeline, extent: NDArray[np.float64]) -> int:
    """Return the first pulse whose gradient turns an object of an `extent` [m] along x, y, z, or -1."""
    turned = [
        float((shape.duration[:, None] * shape.gradient.abs()).sum(0).numpy() @ extent) > _STILL
        for shape in timeline.shapes
    ]
    found = np.nonzero(np.append(turned, False)[timeline.shape.numpy()])[0]
    return int(found[0]) if len(found) else -1


def count_rests(timeline: Timeline) -> int:
    """Return how many distinct moments and times there are between pulses, the last left out."""
    moment, _, length, _, _ = _rests(timeline)
    keys = np.concatenate((np.rint(moment / K_GRAIN), np.rint(length[:, None] / TIME_GRAIN)), 1)[:-1]
    return int(codes(*keys.T)[0].max(initial=0)) + 1


def _rests(timeline: Timeline) -> tuple[NDArray[np.float64], ...]:
    """Return moment, time without pulses, time, and integrals of k and its square after each pulse."""
    start, duration = timeline.interval_start.numpy(), timeline.duration.numpy()
    ends = np.concatenate((np.zeros((1, 3)), np.cumsum(timeline.moment.numpy(), 0)))
    owner = np.repeat(np.arange(timeline.pulses), np.diff(start))
    before, after = ends[:-1] - ends[start[owner]], ends[1:] - ends[start[owner]]
    both = (before**2 + before * after + after**2).sum(1) / 3

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(values, 0)))
        return np.asarray(sums[start[1:]] - sums[start[:-1]])

    free = total(np.where(timeline.in_pulse.numpy(), 0.0, duration))
    path = total(duration[:, None] * (before + after) / 2)
    return ends[start[1:]] - ends[start[:-1]], free, total(duration), path, total(duration * both)


def _weakest(kind: NDArray[np.int64], square: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the member of each kind with the least encoding."""
    order = np.lexsort((square, kind))
    _, first = np.unique(kind[order], return_index=True)
    return np.asarray(order[first])


def _period(played: NDArray[np.int64]) -> tuple[int, int]:
    """Return the prelude and the period of numbers that end periodically, for one more than these if they do not."""
    total = len(played)
    for period in total - 1 - np.nonzero(played[: total - 1] == played[-1])[0][::-1]:
        wrong = np.nonzero(played[period:] != played[:-period])[0]
        prelude = int(wrong[-1]) + 1 if len(wrong) else 0
        if prelude + 2 * period <= total and prelude <= _PRELUDE * total:
            return prelude, int(period)
    return 0, total + 1
