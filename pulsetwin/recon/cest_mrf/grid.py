"""Which parameters a dictionary is made of: every combination of given values, or a Latin hypercube of ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import qmc

from pulsetwin.errors import ProtocolError


@dataclass(frozen=True)
class Cartesian:
    """Every combination of values; the first parameter varies slowest.

    Parameters
    ----------
    axes
        Name of each parameter, as the engine calls it, to its values, float64 ``[value]``, in rising order.

    Raises
    ------
    ProtocolError
        If there is no parameter, or values are missing, not finite or not in rising order.
    """

    axes: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if not self.axes:
            raise ProtocolError("the grid varies nothing: give it a parameter")
        for name, values in self.axes.items():
            if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
                raise ProtocolError(f"grid: {name} = {values.tolist()}: give finite numbers in rising order")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.axes)

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def table(self, begin: int, end: int) -> np.ndarray:
        """Return entries from `begin` to before `end`, ``[entry, parameter]``; no others are made."""
        return self.rows(np.arange(begin, min(end, len(self))))

    def rows(self, row: np.ndarray) -> np.ndarray:
        """Return the entries of the given numbers, ``[entry, parameter]``."""
        columns = []
        for values in reversed(list(self.axes.values())):
            row, at = np.divmod(row, len(values))
            columns.append(values[at])
        return np.stack(columns[::-1], 1)

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return the least and the greatest value of each parameter."""
        return {name: (float(values[0]), float(values[-1])) for name, values in self.axes.items()}

    def facts(self) -> dict[str, object]:
        """Return what tells this grid from others, as JSON holds it."""
        return {"kind": "cartesian", "axes": [[name, values.tolist()] for name, values in self.axes.items()]}


@dataclass(frozen=True)
class Hypercube:
    """Random entries, of which each of as many equal parts of every range holds one.

    Parameters
    ----------
    ranges
        Name of each parameter to its least and greatest value.
    samples
        Number of entries.
    seed
        Of the random numbers.

    Raises
    ------
    ProtocolError
        If there is no parameter or entry, the seed is negative, or a range is not finite or empty.
    """

    ranges: Mapping[str, tuple[float, float]]
    samples: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.ranges or self.samples < 1:
            raise ProtocolError(f"a hypercube of {len(self.ranges)} parameters and {self.samples} entries: give both")
        if self.seed < 0:
            raise ProtocolError(f"seed = {self.seed}: give a number from 0 on")
        for name, (low, high) in self.ranges.items():
            if not -math.inf < low < high < math.inf:
                raise ProtocolError(f"grid: {name} = {low:g} .. {high:g}: give a finite range, the lower end first")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.ranges)

    def __len__(self) -> int:
        return self.samples

    @cached_property
    def _all(self) -> np.ndarray:
        drawn = qmc.LatinHypercube(len(self.ranges), rng=np.random.default_rng(self.seed)).random(self.samples)
        low, high = np.array(list(self.ranges.values())).T
        return low + drawn * (high - low)

    def table(self, begin: int, end: int) -> np.ndarray:
        """Return entries from `begin` to before `end`, ``[entry, parameter]``."""
        return self._all[begin:end]

    def rows(self, row: np.ndarray) -> np.ndarray:
        """Return the entries of the given numbers, ``[entry, parameter]``."""
        return self._all[row]

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return the least and the greatest value of each parameter."""
        return dict(self.ranges)

    def facts(self) -> dict[str, object]:
        """Return what tells this grid from others, as JSON holds it."""
        ranges = [[name, list(ends)] for name, ends in self.ranges.items()]
        return {"kind": "latin hypercube", "ranges": ranges, "samples": self.samples, "seed": self.seed}


Grid = Cartesian | Hypercube


def spaced(low: float, high: float, step: float) -> np.ndarray:
    """Return values from `low` to `high`, both included, `step` apart.

    Raises
    ------
    ProtocolError
        If no whole number of steps leads from one to the other.
    """
    count = (high - low) / step if step > 0 else math.nan
    if not (math.isfinite(count) and count >= 0 and abs(count - round(count)) < 1e-6 * max(count, 1)):
        raise ProtocolError(f"from {low:g} to {high:g} by {step:g}: give a positive step that leads to the end")
    return low + step * np.arange(round(count) + 1)
