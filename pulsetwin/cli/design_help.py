"""What the verb `design` tells of a sequence: its settings, and an example that works."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from pulsetwin.sequences.protocol import Setting

_SHOWN = 4  # numbers of a default that are told one by one
_WIDTH = 110
_LONGEST = 24  # letters of a default or a range that do not push the other columns aside


def sequence_help(name: str, module: ModuleType) -> str:
    """Return the table of a sequence's settings, the units that they may have, and an example."""
    from pulsetwin.sequences.protocol import ACCEPTED, settings

    known = list(settings(module.Protocol))
    about = textwrap.fill(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}", _WIDTH)
    units = "; ".join(ACCEPTED.get(unit, unit) for unit in dict.fromkeys(one.unit for one in known if one.unit))
    return (
        f"usage: pulsetwin design {name} [--scanner NAME] [--protocol TOML] [--set NAME=VALUE] -o out.seq\n\n"
        f"{about}\n\n{_table(known)}\n\n"
        f"units: {units}; the first of each is meant where none is given\n"
        f"several numbers: with commas between them, as in {known[0].name}={value_text(known[0], known[0].default)}\n"
        f"example: pulsetwin design {name} --set {example(known)} -o {name}.seq\n"
    )


def example(known: list[Setting]) -> str:
    """Return the assignment of a setting to what it is by default: the first number with a unit that has one."""
    one = next(one for one in known if one.kind is float and one.unit and not one.count and one.default)
    return f"{one.name}={value_text(one, one.default)}"


def _table(known: list[Setting]) -> str:
    """Return a row for each setting: name, default, what it may be, and its meaning."""
    rows = [("setting", "default", "may be", "meaning")]
    rows += [(one.name, value_text(one, one.default), allowed(one), one.meaning) for one in known]
    widths = [min(max(len(row[column]) for row in rows), _LONGEST) for column in range(3)]
    lines = []
    for *cells, meaning in rows:
        start = "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)) + "  "
        rest = " " * (sum(widths) + 8)
        lines.append(textwrap.fill(meaning, _WIDTH, initial_indent=start, subsequent_indent=rest))
    return "\n".join(lines)


def allowed(one: Setting) -> str:
    """Return what a setting may be, such as ``0.1-20ms`` or ``up|down``."""
    if one.kind is bool:
        return "true|false"
    if one.choices:
        return "|".join(one.choices)
    return f"{_amount(one.low, one.unit, 3)}-{_amount(one.high, one.unit, 3)}" + "|none" * one.optional


def value_text(one: Setting, value: Any) -> str:
    """Return a value as `--set` takes it, in a unit that suits its size; long lists are cut short."""
    if value is None:
        return "none"
    if one.kind in (bool, str):
        return str(value).lower()
    shown = [_amount(part, one.unit) for part in (value if one.count else (value,))]
    return ",".join(shown if len(shown) <= _SHOWN else [*shown[:2], "...", f"{shown[-1]} ({len(shown)})"])


def _amount(value: float, unit: str, digits: int = 6) -> str:
    """Return a number with the unit in which it is short: angles in degrees, others between 1 and 1000."""
    from pulsetwin.sequences.protocol import ACCEPTED, UNITS

    known = sorted(ACCEPTED.get(unit, unit).split(), key=UNITS.__getitem__, reverse=True)
    if unit == "rad":
        known = ["deg"]
    fitting = [name for name in known if abs(value) >= (1 - 1e-9) * UNITS[name]]
    name = fitting[0] if fitting else known[-1] if known else ""
    return f"{value / UNITS[name]:.{digits}g}{name}" if value else "0"
