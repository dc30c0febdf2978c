"""Ways downhill: Adam, L-BFGS and Gauss-Newton on free numbers, each with a state that can be kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError

METHODS = ("adam", "lbfgs", "gauss-newton")
_MOST_RESIDUALS = 4096
_DAMPING, _TRIES = 1e-3, 8
_EVALUATIONS = 25  # of one step of L-BFGS

Objective = Callable[[], "Evaluated"]
"""Evaluates the loss at the present free numbers."""


class Evaluated(Protocol):
    """A loss: its total, and the residuals whose squares it sums, or None."""

    total: Tensor
    residuals: Tensor | None


class Method(Protocol):
    """A way downhill; `step` returns the loss before the step and leaves its gradients in the free numbers."""

    def step(self, objective: Objective, rate: float) -> Evaluated:
        """Evaluate the loss and move the free numbers."""

    def restart(self) -> None:
        """Forget what was gathered in earlier steps."""

    def state(self) -> dict[str, Any]:
        """Return what was gathered."""

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""


def method_named(name: str, free: dict[str, Tensor]) -> Method:
    """Return a way downhill by its name, one of `METHODS`, for leaves `free`.

    Raises
    ------
    ProtocolError
        If the name is not known.
    """
    leaves = list(free.values())
    if name == "adam":
        return _OfTorch(lambda: torch.optim.Adam(leaves))
    if name == "lbfgs":
        settings = {"max_iter": 1, "max_eval": _EVALUATIONS, "history_size": 20, "line_search_fn": "strong_wolfe"}
        tolerances = {"tolerance_grad": 0.0, "tolerance_change": 1e-16}
        return _OfTorch(lambda: torch.optim.LBFGS(leaves, **settings, **tolerances))
    if name == "gauss-newton":
        return _GaussNewton(leaves)
    raise ProtocolError(f"optimise: method {name!r} is none of {', '.join(METHODS)}")


class _OfTorch:
    """An optimiser of torch; L-BFGS evaluates several times in a step."""

    def __init__(self, make: Callable[[], torch.optim.Optimizer]) -> None:
        self._make = make
        self.restart()

    def step(self, objective: Objective, rate: float) -> Evaluated:
        first: list[Evaluated] = []

        def closure() -> Tensor:
            self._optimiser.zero_grad()
            found = objective()
            found.total.backward()
            first.append(found)
            return found.total

        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step(closure)
        return first[0]

    def restart(self) -> None:
        self._optimiser = self._make()

    def state(self) -> dict[str, Any]:
        return self._optimiser.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(state)


class _GaussNewton:
    """Levenberg and Marquardt: steps of ``(J^T J + damping diag(J^T J)) d = -J^T r``, damped until the loss falls.

    The Jacobian takes a backward pass for each residual.
    """

    def __init__(self, leaves: list[Tensor]) -> None:
        self._leaves = leaves
        self.restart()

    def step(self, objective: Objective, rate: float) -> Evaluated:
        found = objective()
        jacobian, residuals = self._jacobian(found)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ residuals
        before = [leaf.detach().clone() for leaf in self._leaves]
        for _ in range(_TRIES):
            ridge = self._damping * torch.diag(normal.diagonal() + 1e-12 * normal.diagonal().max().clamp_min(1e-300))
            self._move(before, -rate * torch.linalg.solve(normal + ridge, slope))
            with torch.no_grad():
                lower = bool(objective().total < found.total.detach())
            if lower:
                self._damping = max(self._damping / 3, 1e-12)
                return found
            self._damping = min(self._damping * 4, 1e12)
        self._move(before, torch.zeros_like(slope))
        return found

    def _jacobian(self, found: Evaluated) -> tuple[Tensor, Tensor]:
        residuals = found.residuals
        if residuals is None or residuals.numel() > _MOST_RESIDUALS:
            count = "no" if residuals is None else str(residuals.numel())
            raise ProtocolError(
                f"gauss-newton: the loss has {count} residuals: give 1 to {_MOST_RESIDUALS}, or use adam or lbfgs"
            )
        rows = []
        for one in residuals.flatten():
            parts = torch.autograd.grad(one, self._leaves, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        torch.zeros_like(leaf).flatten() if part is None else part.flatten()
                        for part, leaf in zip(parts, self._leaves, strict=True)
                    ]
                )
            )
        jacobian, values = torch.stack(rows), residuals.detach().flatten()
        for leaf, part in zip(self._leaves, self._parts(2 * jacobian.T @ values), strict=True):
            leaf.grad = part
        return jacobian, values

    def _parts(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split([leaf.numel() for leaf in self._leaves])
        return [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, self._leaves, strict=True)]

    @torch.no_grad()
    def _move(self, before: list[Tensor], step: Tensor) -> None:
        for leaf, start, part in zip(self._leaves, before, self._parts(step), strict=True):
            leaf.copy_(start + part)

    def restart(self) -> None:
        self._damping = _DAMPING

    def state(self) -> dict[str, Any]:
        return {"damping": self._damping}

    def load(self, state: dict[str, Any]) -> None:
        self._damping = float(state["damping"])
