"""Write down a program, event by event: free precession, pulses, spoiling, and what is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pulsetwin.sequences.events import Array
from pulsetwin.sim.bloch_mcconnell.program import CRUSH, DEPHASE, RECORD, RESET, Program
from pulsetwin.sim.bloch_mcconnell.reuse import joined
from pulsetwin.sim.bloch_mcconnell.steps import Steps

_TIME = 12  # decimals of durations [s]
_ANGLE = 12  # decimals of turns [rad]
_MOMENT = 6  # decimals of gradient moments [1/m]


@dataclass(slots=True)
class Path:
    """What is written down so far; `phase` is the last pulse's, `frame` how far its frame is from the carrier [rad]."""

    chains: dict[tuple[object, ...], int] = field(default_factory=dict)
    steps: list[tuple[Array, Array, Array, Array]] = field(default_factory=list)
    maps: list[int] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    records: list[tuple[float, int]] = field(default_factory=list)
    moments: dict[tuple[float, ...], int] = field(default_factory=dict)
    waiting: float = 0.0
    phase: float = 0.0
    frame: float = 0.0
    coherent: bool = False

    def wait(self, time: float) -> None:
        """Let magnetisation precess freely."""
        self.waiting += time

    def settle(self) -> None:
        """Write down the free precession that is waited for."""
        time = round(self.waiting, _TIME)
        if time > 0:
            one = np.zeros(1)
            self._add(("free", time), (one, one, np.array([time]), one), 0.0)
        self.waiting = 0.0

    def pulse(self, frequency: float, phase: float, steps: Steps) -> None:
        """Play a pulse; `phase` is that of its start in the frame of the carrier."""
        self.settle()
        if not len(steps.duration):
            return
        begins = phase - self.frame
        turn = begins + steps.phase[0] - self.phase if self.coherent else 0.0
        turns = -np.diff(steps.phase, prepend=steps.phase[0])
        key = (frequency, *(part.tobytes() for part in (steps.amplitude, steps.phase, steps.duration)))
        played = (np.full(len(turns), frequency), steps.amplitude, steps.duration, turns)
        self._add(key, played, -turn)
        self.phase, self.coherent = begins + float(steps.phase[-1]), True

    def crush(self) -> None:
        """Take away the transverse magnetisation."""
        self.settle()
        if self.coherent:
            self._append(CRUSH)
        self.coherent = False

    def dephase(self, moment: Array) -> None:
        """Turn the magnetisation of each isochromat by ``2 pi`` its position times the moment [1/m]."""
        self.settle()
        key = tuple(np.round(moment, _MOMENT).tolist())
        if self.coherent and any(key):
            self._append(DEPHASE - self.moments.setdefault(key, len(self.moments)))

    def record(self, block: int) -> None:
        """Measure."""
        self.settle()
        self._append(RECORD)
        self.records.append((self.phase + self.frame, block))

    def reset(self) -> None:
        """Begin anew."""
        self.waiting = 0.0
        self._append(RESET)
        self.coherent = False

    def program(self, mode: str, isochromats: Array) -> Program:
        """Return what has been written down, for isochromats at positions [m], ``[isochromat, 3]``."""
        empty = (np.zeros(0),) * 4
        frequency, amplitude, duration, turn = (np.concatenate(part) for part in zip(empty, *self.steps, strict=True))
        chain = np.concatenate(([0], np.cumsum([len(steps[0]) for steps in self.steps]))).astype(np.int64)
        turns, blocks = zip(*self.records, strict=True)
        reused = joined(np.array(self.maps), np.array(self.turns), len(self.steps) + 1)
        dephasing = 2 * math.pi * np.array(list(self.moments)).reshape(-1, 3) @ isochromats.T
        return Program(
            mode, frequency, amplitude, duration, turn, chain, *reused, dephasing, np.array(turns), np.array(blocks)
        )

    def _append(self, number: int, turn: float = 0.0) -> None:
        self.maps.append(number)
        self.turns.append(_turn(turn))

    def _add(self, key: tuple[object, ...], steps: tuple[Array, Array, Array, Array], turn: float) -> None:
        if key not in self.chains:
            self.chains[key] = len(self.chains) + 1
            self.steps.append(steps)
        self._append(self.chains[key], turn)


def _turn(angle: float) -> float:
    """Return an angle from -pi to pi, rounded so that equal ones are the same number."""
    return round(math.remainder(angle, 2 * math.pi), _ANGLE)
