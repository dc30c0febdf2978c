"""Learning under constraints: an augmented Lagrangian around the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pulsetwin.optimize.loop import Learnt, Loss, LossFunction, optimise
from pulsetwin.optimize.parameters import Parameter

Constraints = Callable[[dict[str, Tensor]], Tensor]
"""Returns real numbers ``[constraint]`` that are to be 0 or less, of parameter values."""
_STIFFER, _ENOUGH = 4.0, 0.25


def optimise_under(
    loss: LossFunction, constraints: Constraints, parameters: Mapping[str, Parameter], *, rounds: int = 6,
    stiffness: float = 10.0, checkpoint: Path | None = None, **settings: Any,
) -> tuple[Learnt, Tensor]:  # fmt: skip
    """Make a loss small where constraints hold; return the last round and what its constraints are, ``[constraint]``.

    Each round learns on from the one before, with the loss ``f + (max(0, m + s g)^2 - m^2) / (2 s)``; then
    ``m = max(0, m + s g)``, and the stiffness `s` grows fourfold where the violation did not fall to a quarter
    (Powell 1969; Rockafellar 1973, doi:10.1007/BF00934777).

    Parameters
    ----------
    loss, parameters
        As for `loop.optimise`.
    constraints
        To be 0 or less; of order 1 where they are badly violated.
    rounds
        How many.
    stiffness
        Of the first round.
    checkpoint
        Folder of a file for each round; a run that was broken off goes on.
    settings
        Further settings of `loop.optimise`, for each round.
    """
    parameters, multipliers, worst = dict(parameters), None, float("inf")
    for number in range(rounds):
        file = None if checkpoint is None else checkpoint / f"round_{number}.pt"
        around = _augmented(loss, constraints, multipliers, stiffness)
        learnt = optimise(around, parameters, checkpoint=file, **settings)
        parameters = {name: replace(one, start=learnt.values[name]) for name, one in parameters.items()}
        with torch.no_grad():
            found = constraints(learnt.values)
        multipliers = (stiffness * found + (0 if multipliers is None else multipliers)).clamp_min(0)
        violation = float(found.clamp_min(0).max())
        if violation > _ENOUGH * worst:
            stiffness *= _STIFFER
        worst = violation
    return learnt, found


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
