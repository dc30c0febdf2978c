"""Learning under constraints: an augmented Lagrangian around the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pulsetwin.optimize.loop import Learnt, Loss, LossFunction, Watch, optimise
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.progress import Progress, silent

Constraints = Callable[[dict[str, Tensor]], Tensor]
"""Returns real numbers ``[constraint]`` that are to be 0 or less, of parameter values."""
_STIFFER, _ENOUGH = 4.0, 0.25


def optimise_under(
    loss: LossFunction, constraints: Constraints, parameters: Mapping[str, Parameter], *, steps: int,
    rounds: int = 6, stiffness: float = 10.0, checkpoint: Path | None = None, progress: Progress = silent,
    watch: Watch | None = None, **settings: Any,
) -> tuple[Learnt, Tensor]:  # fmt: skip
    """Make a loss small where constraints hold; return what was learnt and what they are there, ``[constraint]``.

    Each round learns on from the one before, with the loss ``f + (max(0, m + s g)^2 - m^2) / (2 s)``; then
    ``m = max(0, m + s g)``, and the stiffness `s` grows fourfold where the violation did not fall to a quarter
    (Powell 1969; Rockafellar 1973, doi:10.1007/BF00934777).

    Parameters
    ----------
    loss, parameters
        As for `loop.optimise`.
    constraints
        To be 0 or less; of order 1 where they are badly violated.
    steps, rounds
        How many rounds, of as many steps each.
    stiffness
        Of the first round.
    checkpoint
        File of the last round; those of the others lie beside it, with their number. A run that was broken off goes on.
    progress, watch
        As for `loop.optimise`; steps are counted over all rounds.
    settings
        Further settings of `loop.optimise`, for each round.
    """
    parameters, multipliers, worst = dict(parameters), None, float("inf")
    history: list[dict[str, float]] = []
    whole = rounds * steps
    for number in range(rounds):
        done = number * steps
        learnt = optimise(
            _augmented(loss, constraints, multipliers, stiffness), parameters, steps=steps,
            checkpoint=_of_round(checkpoint, number, rounds), **settings,
            progress=lambda step, _, what, done=done: progress(done + step, whole, what),
            watch=watch and (lambda step, values, own, old=history[:]: watch(len(old) + step, values, old + own)),
        )  # fmt: skip
        history += learnt.history
        parameters = {name: replace(one, start=learnt.values[name]) for name, one in parameters.items()}
        with torch.no_grad():
            found = constraints(learnt.values)
        multipliers = (stiffness * found + (0 if multipliers is None else multipliers)).clamp_min(0)
        violation = float(found.clamp_min(0).max())
        if violation > _ENOUGH * worst:
            stiffness *= _STIFFER
        worst = violation
    return replace(learnt, history=history, step=whole), found


def _of_round(checkpoint: Path | None, number: int, rounds: int) -> Path | None:
    if checkpoint is None or number == rounds - 1:
        return checkpoint
    return checkpoint.with_stem(f"{checkpoint.stem}_{number}")


def _augmented(
    loss: LossFunction, constraints: Constraints, multipliers: Tensor | None, stiffness: float
) -> LossFunction:
    def augmented(values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        plain, violated = loss(values, step, generator), constraints(values)
        before = torch.zeros_like(violated) if multipliers is None else multipliers
        pushed = (before + stiffness * violated).clamp_min(0)
        extra = (pushed.square() - before.square()).sum() / (2 * stiffness)
        return Loss(plain.total + extra, {**plain.terms, "violation": violated.clamp_min(0).max()})

    return augmented
