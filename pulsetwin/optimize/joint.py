"""Learning in turns: a sequence and the network that reads its images, one after the other or both at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.loop import Loss, LossFunction, Watch, optimise
from pulsetwin.optimize.parameters import Parameter, starts, values_of
from pulsetwin.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of learning.

    Parameters
    ----------
    names
        Parameters that are learnt in it; all others stay as they are.
    steps, rate, decay
        As of `loop.optimise`.
    """

    names: tuple[str, ...]
    steps: int
    rate: float
    decay: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What turns end with.

    Parameters
    ----------
    values
        Parameters after the last step, detached.
    history
        For each step of all turns ``turn``, ``loss``, ``rate`` and the terms.
    """

    values: dict[str, Tensor]
    history: list[dict[str, float]]


LossOfTurn = Callable[[int, dict[str, Tensor]], LossFunction]
"""From the number of a turn and the values that stay in it to the loss of those that are learnt: called at the turn's
first step, where whatever the fixed ones determine may be computed once."""


def learn_in_turns(
    loss_of: LossOfTurn, parameters: Mapping[str, Parameter], turns: Sequence[Turn], *, seed: int = 0,
    folder: Path | None = None, every: int = 50, progress: Progress = silent, watch: Watch | None = None,
) -> Taught:  # fmt: skip
    """Make a loss small by some parameters at a time.

    Parameters
    ----------
    loss_of
        See `LossOfTurn`; what it returns depends on its arguments, and on what it is called with, alone.
    parameters
        All that is learnt, by name.
    turns
        In their order.
    seed
        Of the generators: each turn has its own.
    folder
        Of a checkpoint for each turn, ``turn_0000.pt`` and on. A run that was broken off goes on, and ends bit for bit
        as an unbroken one.
    every
        Steps between checkpoints.
    progress
        Called with the steps done in all turns, their number, and the terms.
    watch
        As of `loop.optimise`, with the number of the step in all turns, the values of all parameters, and the history
        of all turns.

    Raises
    ------
    ProtocolError
        If a turn names what is no parameter.
    DivergedError, MismatchError
        As of `loop.optimise`.
    """
    unknown = sorted({name for turn in turns for name in turn.names} - set(parameters))
    if unknown:
        raise ProtocolError(f"turns: no parameter {unknown[0]!r}; there are {', '.join(parameters)}")
    values = values_of(parameters, starts(parameters))
    history: list[dict[str, float]] = []
    total = sum(turn.steps for turn in turns)
    for number, turn in enumerate(turns):
        learning = {name: replace(parameters[name], start=values[name]) for name in turn.names}
        fixed = {name: value for name, value in values.items() if name not in learning}
        done = len(history)
        learnt = optimise(
            _when_needed(loss_of, number, fixed), learning, steps=turn.steps, rate=turn.rate, decay=turn.decay,
            seed=seed * len(turns) + number, every=every, watch=_in_all(watch, history, fixed),
            checkpoint=None if folder is None else folder / f"turn_{number:04d}.pt",
            progress=lambda step, _, what, done=done: progress(done + step, total, what),
        )  # fmt: skip
        values |= learnt.values
        history += [{"turn": number, **line} for line in learnt.history]
    return Taught(values, history)


def _when_needed(loss_of: LossOfTurn, number: int, fixed: dict[str, Tensor]) -> LossFunction:
    """Return the loss of a turn, made at its first step: turns that are over need none."""
    made: list[LossFunction] = []

    def loss(values, step, generator) -> Loss:
        if not made:
            made.append(loss_of(number, fixed))
        return made[0](values, step, generator)

    return loss


def _in_all(watch: Watch | None, history: list[dict[str, float]], fixed: dict[str, Tensor]) -> Watch | None:
    """Return what watches a turn, of `watch`, the history before it and the values that stay."""
    if watch is None:
        return None
    before = list(history)
    return lambda step, values, own: watch(len(before) + step, fixed | values, [*before, *own])
