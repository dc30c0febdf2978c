"""The loop that learns: steps downhill with checkpoints, so that a run that was killed ends as if it had not been."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pulsetwin.errors import DivergedError, MismatchError, ProtocolError
from pulsetwin.optimize.checkpoint import load_checkpoint, save_checkpoint
from pulsetwin.optimize.methods import Method, method_named
from pulsetwin.optimize.parameters import Parameter, starts, values_of
from pulsetwin.progress import Progress, silent

_RUNAWAY = 1e3  # times the first loss, beyond which a run has diverged
_PRIME = 1_000_003  # seeds of steps lie this far apart from run to run


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A loss at one step.

    Parameters
    ----------
    total
        What is made small: a real scalar tensor with gradients.
    terms
        Its parts and whatever else is worth a line of the history.
    residuals
        Real numbers whose squares sum to `total`, any shape, for Gauss-Newton.
    """

    total: Tensor
    terms: Mapping[str, Tensor | float] = field(default_factory=dict)
    residuals: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What a run ends with.

    Parameters
    ----------
    values
        Parameters after the last step, detached.
    best
        Parameters at the lowest loss of all steps.
    history
        For each step ``loss``, ``rate`` and the terms.
    step
        Steps taken.
    """

    values: dict[str, Tensor]
    best: dict[str, Tensor]
    history: list[dict[str, float]]
    step: int


LossFunction = Callable[[dict[str, Tensor], int, torch.Generator], Loss]
"""Loss of parameter values at a step; what is random in it comes from the generator, seeded by run and step."""
Watch = Callable[[int, dict[str, Tensor], Sequence[Mapping[str, float]]], None]
"""Called with the step, the values that were evaluated (detached), and the history of all steps up to this one."""


def optimise(
    loss: LossFunction, parameters: Mapping[str, Parameter], *, method: str = "adam", steps: int, rate: float = 0.01,
    decay: float = 1.0, restarts: int = 0, seed: int = 0, checkpoint: Path | None = None, every: int = 50,
    progress: Progress = silent, watch: Watch | None = None,
) -> Learnt:  # fmt: skip
    """Make a loss small.

    Parameters
    ----------
    loss
        Called as ``loss(values, step, generator)``.
    parameters
        What is learnt, by name.
    method
        ``adam``; ``lbfgs``, with a strong-Wolfe line search, for losses without chance; ``gauss-newton``, damped
        (Levenberg and Marquardt), for losses with residuals.
    steps
        How many.
    rate
        Size of a step in free numbers for Adam (see `Parameter`); of L-BFGS and Gauss-Newton, the share of their own.
    decay
        What the rate falls to, geometrically, until the last step or the next restart; 1 keeps it.
    restarts
        How many times, evenly spread, the rate goes back and the method forgets what it has gathered.
    seed
        Of the generators.
    checkpoint
        File of the state. If it exists, the run goes on from there, and ends bit for bit as an unbroken one, provided
        that `loss` depends on its arguments alone.
    every
        Steps between checkpoints.
    progress
        Called with steps done, their number, and the terms.
    watch
        Called at each step, after its loss was evaluated.

    Raises
    ------
    DivergedError
        If the loss or a gradient is not finite, or the loss 1000 times that of the first step: the last good state is
        in the checkpoint.
    MismatchError
        If the checkpoint is of a run with other parameters or settings.
    ProtocolError
        If a setting is out of range.
    """
    _check(parameters, steps, rate, decay, restarts, every)
    plan = {"method": method, "steps": steps, "rate": rate, "decay": decay, "restarts": restarts, "seed": seed}
    run = _Run(loss, parameters, plan, checkpoint)
    try:
        while run.step < steps:
            run.advance(watch)
            progress(run.step, steps, f"optimise: {_told(run.history[-1])}")
            if run.step % every == 0 or run.step == steps:
                run.save()
    except KeyboardInterrupt:
        run.save_begun()
        raise
    return Learnt(run.values(), run.best, run.history, run.step)


class _Run:
    """The state of a run between two steps."""

    def __init__(
        self, loss: LossFunction, parameters: Mapping[str, Parameter], plan: dict[str, Any], checkpoint: Path | None
    ) -> None:
        self.loss, self.parameters, self.plan, self.checkpoint = loss, dict(parameters), plan, checkpoint
        self.free = {name: value.requires_grad_() for name, value in starts(parameters).items()}
        self.method: Method = method_named(plan["method"], self.free)
        self.step, self.history, self.lowest = 0, [], math.inf
        self.best = self.values()
        if checkpoint is not None and checkpoint.exists():
            self._load(load_checkpoint(checkpoint))
        self.begun = self.good = self._state()

    def values(self) -> dict[str, Tensor]:
        """Return the parameters' values, detached."""
        with torch.no_grad():
            return values_of(self.parameters, self.free)

    def advance(self, watch: Watch | None) -> None:
        """Take a step, or raise with the last good state saved."""
        rate, fresh = self._rate()
        if fresh:
            self.method.restart()
        before = self.values()
        self.begun = self._state()

        def objective() -> Loss:
            generator = torch.Generator().manual_seed(self.plan["seed"] * _PRIME + self.step)
            return self.loss(values_of(self.parameters, self.free), self.step, generator)

        found = self.method.step(objective, rate)
        total = float(found.total.detach())
        self._check_finite(total)
        self.good = self.begun
        if total < self.lowest:
            self.lowest, self.best = total, before
        terms = {name: float(torch.as_tensor(value).detach()) for name, value in found.terms.items()}
        self.history.append({"loss": total, "rate": rate, **terms})
        if watch is not None:
            watch(self.step, before, self.history)
        self.step += 1

    def save(self) -> None:
        """Write where the run stands."""
        self._write(self._state())

    def save_begun(self) -> None:
        """Write where the run stood when its last step began: within one, a part is done and another not."""
        self._write(self.begun)

    def _rate(self) -> tuple[float, bool]:
        """Return the rate of the present step, and whether the method restarts there."""
        length = -(-self.plan["steps"] // (self.plan["restarts"] + 1))
        position = self.step % length
        return self.plan["rate"] * self.plan["decay"] ** (position / length), position == 0 and self.step > 0

    def _check_finite(self, total: float) -> None:
        gradients = [leaf.grad for leaf in self.free.values() if leaf.grad is not None]
        finite = math.isfinite(total) and all(bool(torch.isfinite(one).all()) for one in gradients)
        first = self.history[0]["loss"] if self.history else total
        if finite and total - first <= _RUNAWAY * max(abs(first), 1e-12):
            return
        kept = "no file was asked for"
        if self.checkpoint is not None:
            self._write(self.good)
            kept = f"the state of step {self.good['step']} is in {self.checkpoint}"
        what = f"grew to {total:.3g}, from {first:.3g} at first" if finite else "or a gradient of it is not finite"
        raise DivergedError(f"optimise: at step {self.step} the loss {what}; {kept}: try a smaller rate")

    def _state(self) -> dict[str, Any]:
        copied = {name: value.detach().clone() for name, value in self.free.items()}
        return {
            "plan": self.plan, "free": copied, "method": _copied(self.method.state()), "step": self.step,
            "history": list(self.history), "best": self.best, "lowest": self.lowest,
        }  # fmt: skip

    def _write(self, state: dict[str, Any]) -> None:
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, state)

    def _load(self, state: dict[str, Any]) -> None:
        shapes = {name: tuple(value.shape) for name, value in state["free"].items()}
        mine = {name: tuple(value.shape) for name, value in self.free.items()}
        differs = [name for name, value in self.plan.items() if state["plan"].get(name) != value]
        if shapes != mine or differs:
            what = f"settings: {', '.join(differs)}" if differs else "parameters"
            raise MismatchError(f"{self.checkpoint} is of a run with other {what}: give those, or another folder")
        with torch.no_grad():
            for name, value in state["free"].items():
                self.free[name].copy_(value)
        self.method.load(state["method"])
        self.step, self.history = state["step"], state["history"]
        self.best, self.lowest = state["best"], state["lowest"]


def _copied(value: Any) -> Any:
    """Return a copy of nested dicts and lists of tensors and numbers."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return type(value)(_copied(one) for one in value) if isinstance(value, list | tuple) else value


def _told(line: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in line.items() if name != "rate")


def _check(
    parameters: Mapping[str, Parameter], steps: int, rate: float, decay: float, restarts: int, every: int
) -> None:
    if not parameters:
        raise ProtocolError("optimise: there are no parameters: name at least one to learn")
    if steps < 1 or every < 1 or not 0 <= restarts < steps:
        raise ProtocolError(f"optimise: {steps} steps, {restarts} restarts, checkpoints every {every}: give steps of "
                            "1 or more, and fewer restarts than steps")  # fmt: skip
    if not 0 < rate < math.inf or not 0 < decay <= 1:
        raise ProtocolError(f"optimise: rate {rate:g}, decay {decay:g}: give a positive rate, and a decay up to 1")
