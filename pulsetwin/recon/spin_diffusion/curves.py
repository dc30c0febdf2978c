"""Build-up curves of a solid and of the frozen solution around it, from a table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from pulsetwin.errors import FileError, ProtocolError, ShapeError

UNITS = {"time_s": 1.0, "time_ms": 1e-3, "time_min": 60.0, "time_h": 3600.0}
"""Name of the column of times to its unit [s]."""
LARGEST = 1e50
"""Of what is measured, in any unit: squares of it and of its inverse are numbers."""
_SHOWN = 30  # characters of a cell that an error shows
_RISE = 5.0  # standard deviations, of a median or of one value if that is less, by which a curve must rise


@dataclass(frozen=True, slots=True)
class Curves:
    """Mean polarisations after saturation.

    Parameters
    ----------
    times
        Since saturation [s], positive, not decreasing, ``[time]``.
    solid, liquid
        In one unit for both, as relative to thermal equilibrium, ``[time]``.

    Raises
    ------
    ShapeError
        If lengths differ.
    ProtocolError
        If something is not finite or of no size that squares have, a time is not positive, or times decrease.
    """

    times: np.ndarray
    solid: np.ndarray
    liquid: np.ndarray

    def __post_init__(self) -> None:
        if not self.times.ndim == 1 == self.solid.ndim == self.liquid.ndim:
            raise ShapeError("times, solid and liquid are one number for each time")
        if not len(self.times) == len(self.solid) == len(self.liquid):
            raise ShapeError(f"{len(self.times)} times, {len(self.solid)} of solid, {len(self.liquid)} of liquid")
        for name in ("times", "solid", "liquid"):
            bad = np.nonzero(~np.isfinite(getattr(self, name)))[0]
            if len(bad):
                raise ProtocolError(f"{name}: number {bad[0] + 1} is not finite: leave this time out")
            largest = np.abs(getattr(self, name)).max(initial=0)
            if largest and not 1 / LARGEST < largest < LARGEST:
                raise ProtocolError(f"{name}: up to {largest:g}, which nothing is: give them in another unit")
        bad = np.nonzero(self.times < 1 / LARGEST)[0]
        if len(bad):
            raise ProtocolError(f"time number {bad[0] + 1} is {self.times[bad[0]]:g} s: give times after saturation")
        if (np.diff(self.times) < 0).any():
            raise ProtocolError("times decrease: sort them")


def read_curves(path: str | Path) -> Curves:
    """Read a table with the columns ``time_s`` (or ``time_ms``, ``time_min``, ``time_h``), ``solid`` and ``liquid``.

    Parameters
    ----------
    path
        CSV with one line of names; rows in any order, repeats of a time in the order of the measurement. Lines that
        begin with ``#`` are comments.

    Raises
    ------
    FileError
        If the file cannot be read, a column is missing or unknown, or a cell is not a finite number (with its line).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from None
    except UnicodeDecodeError:
        raise FileError(path, "is no text", "give a CSV file") from None
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if len(rows) < 2:
        raise FileError(path, "has no rows of numbers", "give a line of names and one row for each time")
    names = [name.strip() for name in _cells(path, *rows[0])]
    time = _time_column(path, names)
    numbers = (_numbers(path, number, line, names) for number, line in rows[1:])
    table = np.array(sorted(numbers, key=itemgetter(0)))  # not by value: repeats would then correlate
    columns = dict(zip((time, "solid", "liquid"), table.T, strict=True))
    return Curves(columns[time] * UNITS[time], columns["solid"], columns["liquid"])


def check_rise(curves: Curves, sign: float = 1.0) -> None:
    """Raise unless both curves build up after the first times, towards the sign of what they reach.

    Raises
    ------
    ProtocolError
        Where the median of the later half of a curve is not above that of its first time, nor of its first 2, 4, 8, ...
        in the earlier half, by what their scatter is worth.
    """
    for name in ("solid", "liquid"):
        values = sign * getattr(curves, name)
        early, late = values[: max(len(values) // 2, 1)], values[len(values) // 2 :]
        scatter = np.median(np.abs(np.diff(late, 2))) / (0.6745 * np.sqrt(6)) if len(late) > 2 else 0.0
        if not any(_rises(early[: 1 << number], late, scatter) for number in range(len(early).bit_length())):
            raise ProtocolError(
                f"{name}: the curve never rises ({values[0]:.4g} at first, {np.median(late):.4g} later): give the "
                "build-up after saturation, from times when it has just begun"
            )


def _rises(early: np.ndarray, late: np.ndarray, scatter: float) -> bool:
    """Return whether the median of late values is above that of early ones, with `scatter` of each value."""
    rise = np.median(late) - np.median(early)
    uncertain = scatter * min(np.sqrt(np.pi / 2 * (1 / len(early) + 1 / len(late))), 1.0)
    return bool(rise > max(_RISE * uncertain, 0.0))


def _time_column(path: str | Path, names: list[str]) -> str:
    """Return the name of the column of times, or raise unless the columns are those that are known."""
    times = [name for name in names if name in UNITS]
    if len(times) != 1 or sorted(names) != sorted([times[0], "solid", "liquid"]):
        known = f"one of {', '.join(UNITS)}, and solid and liquid"
        raise FileError(path, f"has the columns {', '.join(names)}", f"name them {known}: the name tells the unit")
    return times[0]


def _numbers(path: str | Path, line: int, text: str, names: list[str]) -> tuple[float, float, float]:
    """Return time, solid and liquid of a row."""
    cells = _cells(path, line, text)
    if len(cells) != len(names):
        raise FileError(path, f"{len(cells)} cells for {len(names)} columns", "correct the row", f"line {line}")
    found = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            raise FileError(path, f"{name} is {cell[:_SHOWN]!r}", "give a number", f"line {line}") from None
        if not np.isfinite(value):
            raise FileError(path, f"{name} is {cell.strip()}", "leave the row out", f"line {line}")
        if abs(value) > LARGEST:
            raise FileError(path, f"{name} is {value:g}, which nothing is", "give it in another unit", f"line {line}")
        if name in UNITS and value <= 0:
            raise FileError(path, f"{name} is {value:g}", "give times after saturation", f"line {line}")
        found["time" if name in UNITS else name] = value
    return found["time"], found["solid"], found["liquid"]


def _cells(path: str | Path, line: int, text: str) -> list[str]:
    """Return the cells of a row."""
    try:
        return next(csv.reader([text]))
    except csv.Error as error:
        raise FileError(path, f"is no CSV ({error})", "correct the row", f"line {line}") from None
