"""Facts as text: nested names and values in aligned lines, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def to_text(facts: Mapping[str, Any]) -> str:
    """Return nested facts as lines, names aligned and deeper facts indented."""
    return "\n".join(_lines(facts, 0)) + "\n"


def _lines(facts: Mapping[str, Any], indent: int) -> list[str]:
    """Write nested facts as indented lines, names aligned."""
    width = max((len(name) for name, value in facts.items() if not _nested(value)), default=0)
    lines = []
    for name, value in facts.items():
        if not _nested(value):
            lines.append(f"{' ' * indent}{name:<{width}}  {_text(value)}")
            continue
        lines.append(f"{' ' * indent}{name}")
        lines += _lines(value, indent + 2) if isinstance(value, Mapping) else _items(value, indent + 2)
    return lines


def _items(values: Sequence[Any], indent: int) -> list[str]:
    """Write a list, each item behind a dash."""
    lines = []
    for value in values:
        below = _lines(value, indent + 2) if isinstance(value, Mapping) else [" " * (indent + 2) + str(value)]
        lines += [f"{' ' * indent}- {below[0].lstrip()}", *below[1:]] if below else []
    return lines


def _nested(value: Any) -> bool:
    """Whether a fact takes lines of its own."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping | str) for item in value)


def _text(value: Any) -> str:
    """Write one fact."""
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return "none"
    if value is None or value == "":
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
