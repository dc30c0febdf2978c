"""Parameters that are learnt: free numbers behind them, and bounds that no step can leave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError

_EDGE = 1e-6  # of the range, by which a start at a bound is moved inside: at the bound itself nothing could move


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A tensor to learn, ``value = f(free)``, where `free` may be any number and the value keeps its bounds.

    With two bounds, ``f(u) = middle + half tanh(scale u / half)`` with the middle and half of the range; with one,
    ``f(u) = low + scale softplus(u)`` or ``high - scale softplus(u)``; without, ``f(u) = scale u``.

    Parameters
    ----------
    start
        Value to begin with, real; taken as float64. A start at a bound begins 1e-6 of the scale inside.
    low, high
        Bounds, numbers or tensors that broadcast to the start; infinite for none.
    scale
        What a step of 1 of the free numbers is to change; by default half the range, or 1.

    Raises
    ------
    ProtocolError
        If the start is not finite or out of bounds, the bounds are not ascending, or the scale not positive.
    """

    start: Tensor
    low: float | Tensor = -math.inf
    high: float | Tensor = math.inf
    scale: float | Tensor | None = None

    def __post_init__(self) -> None:
        start = torch.as_tensor(self.start).detach().to(torch.float64)
        object.__setattr__(self, "start", start)
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        if self.scale is None:
            half = (self.high - self.low) / 2
            object.__setattr__(self, "scale", half if _finite(half) else 1.0)
        if not bool((low < high).all()) or not _finite(self.scale) or not bool((torch.as_tensor(self.scale) > 0).all()):
            raise ProtocolError(
                f"parameter: bounds {self.low} to {self.high}, scale {self.scale}: "
                "give ascending bounds and a positive scale"
            )
        if not _finite(start) or bool((start < low).any() or (start > high).any()):
            raise ProtocolError(f"parameter: it starts outside of its bounds {self.low} to {self.high}")

    def free(self) -> Tensor:
        """Return the free numbers of `start`, float64 of its shape."""
        low, high = _finite(self.low), _finite(self.high)
        if low and high:
            middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
            part = ((self.start - middle) / half).clamp(-1 + _EDGE, 1 - _EDGE)
            return torch.atanh(part) * half / self.scale
        if low or high:
            beyond = (self.start - self.low if low else self.high - self.start) / self.scale
            beyond = beyond.clamp_min(_EDGE)
            return beyond + torch.log(-torch.expm1(-beyond))
        return self.start / self.scale

    def value(self, free: Tensor) -> Tensor:
        """Return the value of free numbers, differentiable."""
        low, high = _finite(self.low), _finite(self.high)
        if low and high:
            middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
            return middle + half * torch.tanh(self.scale * free / half)
        if low:
            return self.low + self.scale * torch.nn.functional.softplus(free)
        if high:
            return self.high - self.scale * torch.nn.functional.softplus(free)
        return self.scale * free


def _finite(value: float | Tensor) -> bool:
    return bool(torch.isfinite(torch.as_tensor(value)).all())


def starts(parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """Return the free numbers that each parameter starts with."""
    return {name: parameter.free() for name, parameter in parameters.items()}


def values_of(parameters: Mapping[str, Parameter], free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the value of each parameter, differentiable in the free numbers."""
    return {name: parameter.value(free[name]) for name, parameter in parameters.items()}
