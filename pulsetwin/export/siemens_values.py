"""Single values as a `.seq` file states them: whole numbers, nine digits, phases in one turn, definitions."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

_WHOLE = 1e-4
_NEXT_TURN = 2 * math.pi - 1e-8


def number(value: float, what: str) -> str:
    """Return a number with nine digits; raises ValueError if it is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"its {what} is {value}, no finite number; correct it in the design")
    return format(float(value) + 0.0, ".9g")


def on_circle(phase: float) -> str:
    """Return a phase [rad] wrapped into [0, 2 pi) with nine digits, which must not round up to the whole turn."""
    if not math.isfinite(phase):
        raise ValueError(f"its phase is {phase}, no finite number; correct it in the design")
    wrapped = float(np.mod(phase, 2 * math.pi))
    return format(0.0 if wrapped > _NEXT_TURN else wrapped, ".9g")


def whole(value: float, step: float, what: str, unit: str) -> int:
    """Return `value` as a whole number of `step`; raises ValueError unless it is one, not negative and below 2^31."""
    ticks = float(value) / step if math.isfinite(value) else math.nan
    if not 0 <= ticks + _WHOLE < 2**31 or abs(ticks - round(ticks)) > _WHOLE:
        raise ValueError(
            f"its {what} of {ticks:.9g} {unit} is not a whole number from 0 to 2147483647, as the format wants; "
            "choose one that is"
        )
    return round(ticks)


def definition(name: str, value: Any) -> str:
    """Return the text of a definition: a number, numbers, or a line of text; numpy's numbers count as numbers.

    Raises ValueError with reason and remedy for anything else, which pypulseq would find out while writing or not at
    all.
    """
    if not name or name.split() != [name] or name.startswith(("#", "[")):
        raise ValueError(f"definition {name!r}: a name is one word; choose another")
    if isinstance(value, str):
        if "\n" in value or "\r" in value or not value.strip():
            raise ValueError(f"definition {name}: {value!r} is empty or more than one line; give one line of text")
        return value.strip()
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.ndim else value.item()
    if isinstance(value, (list, tuple)) and len(value):
        words = [definition(name, part) for part in value]
        if all(len(word.split()) == 1 for word in words):
            return " ".join(words)
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return str(int(value)) if isinstance(value, numbers.Integral) else format(float(value), ".9g")
    raise ValueError(f"definition {name}: {value!r} is neither a number nor text; give one, several, or a line of text")
