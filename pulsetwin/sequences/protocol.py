"""Settings of a sequence: what a protocol's fields say of themselves, and their checks, values and definitions.

A protocol is a frozen dataclass whose fields are made by `setting` and whose ``__post_init__`` calls `validate`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pulsetwin.errors import ProtocolError
from pulsetwin.settings_file import did_you_mean

Protocol = TypeVar("Protocol")
UNITS = {
    "": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 1.0, "mm": 1e-3, "um": 1e-6, "rad": 1.0, "deg": math.pi / 180,
    "Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "T": 1.0, "mT": 1e-3, "uT": 1e-6, "T/m": 1.0, "mT/m": 1e-3, "%": 1e-2,
    "ppm": 1.0,
}  # fmt: skip
"""What a unit after a number on the command line multiplies it by, to give SI units."""
ACCEPTED = {"s": "s ms us", "m": "m mm um", "rad": "rad deg", "Hz": "Hz kHz MHz", "T": "T mT uT", "T/m": "T/m mT/m"}
"""Units in which values of a kind may be given, by their SI unit, which comes first."""
_LARGEST = 1e300  # whole numbers above it may have no float
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%/]*)")


def setting(
    default: Any, unit: str, meaning: str, *, low: float = -math.inf, high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:  # fmt: skip
    """Return the field of a protocol.

    Parameters
    ----------
    default
        Its value if none is given; None where the sequence then takes the least that is possible.
    unit
        SI unit, or nothing.
    meaning
        A line of help.
    low, high
        Range of the number, or of each number of a tuple.
    choices
        What a text may be.
    """
    about = {"unit": unit, "meaning": meaning, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field says of itself: name, type (int, float, bool, str), numbers in a tuple (0 for none), and more."""

    name: str
    kind: type
    count: int
    optional: bool
    default: Any
    unit: str
    meaning: str
    low: float
    high: float
    choices: tuple[str, ...]


def settings(protocol: Any) -> Iterator[Setting]:
    """Yield the settings of a protocol or of its class."""
    hints = typing.get_type_hints(protocol if isinstance(protocol, type) else type(protocol))
    for field in dataclasses.fields(protocol):
        hint, optional = hints[field.name], False
        if isinstance(hint, types.UnionType):
            options = [one for one in typing.get_args(hint) if one is not type(None)]
            hint, optional = options[0], True
        count = 0
        if typing.get_origin(hint) is tuple:
            inside = typing.get_args(hint)
            hint, count = inside[0], -1 if inside[-1] is Ellipsis else len(inside)
        yield Setting(field.name, hint, count, optional, field.default, **field.metadata)


def validate(protocol: Any) -> None:
    """Check types and ranges of a protocol's settings.

    Raises
    ------
    ProtocolError
        Naming the setting, its value and what it may be.
    """
    for one in settings(protocol):
        _check_value(one, getattr(protocol, one.name))


def _check_value(one: Setting, value: Any) -> None:
    if value is None and one.optional:
        return
    if one.count and (not isinstance(value, tuple) or (one.count > 0 and len(value) != one.count)):
        raise ProtocolError(f"{one.name} = {value!r}: give {one.count if one.count > 0 else 'some'} numbers")
    for part in value if one.count else (value,):
        _check(one, part)


def _check(one: Setting, value: Any) -> None:
    if one.kind is bool or one.kind is str:
        if not isinstance(value, one.kind) or (one.choices and value not in one.choices):
            wanted = ", ".join(one.choices) or ("true or false" if one.kind is bool else "a text")
            raise ProtocolError(f"{one.name} = {value!r}: give {wanted}")
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (one.kind is float and isinstance(value, float) and math.isfinite(value))):
        raise ProtocolError(f"{one.name} = {value!r}: give a {'whole ' if one.kind is int else ''}number")
    if not one.low <= value <= one.high:
        unit = f" {one.unit}" if one.unit else ""
        given = f"{value:g}" if abs(value) < _LARGEST else "that many"
        raise ProtocolError(f"{one.name} = {given}{unit}: give {one.low:g} to {one.high:g}{unit}")


def protocol_from(kind: type[Protocol], values: Mapping[str, Any], source: str) -> Protocol:
    """Return a protocol of a class from values by name: of a TOML file, or texts with units such as ``4.5ms``.

    Raises
    ------
    ProtocolError
        If a name is unknown (the nearest known one is told) or a value is not what it should be; `source` is named.
    """
    chosen = values_from(kind, values, source)
    try:
        return kind(**chosen)
    except ProtocolError as error:
        raise ProtocolError(f"{source}: {error}") from None


def values_from(kind: type[Protocol], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return values in the types of a protocol's settings, each checked by itself.

    Raises
    ------
    ProtocolError
        As `protocol_from`.
    """
    known = {one.name: one for one in settings(kind)}
    chosen = {}
    for name, value in values.items():
        if name not in known:
            raise ProtocolError(
                f"{source}: no setting {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
        chosen[name] = _value(known[name], value, source)
        try:
            _check_value(known[name], chosen[name])
        except ProtocolError as error:
            raise ProtocolError(f"{source}: {error}") from None
    return chosen


def _value(one: Setting, value: Any, source: str) -> Any:
    if isinstance(value, str) and one.kind is not str:
        texts = [part.strip() for part in value.split(",")]
        if one.optional and value.strip().lower() in ("none", "min"):
            return None
        parts = [_parsed(one, text, source) for text in texts]
        return tuple(parts) if one.count else parts[0]
    if isinstance(value, list):
        return tuple(_float(one, part) for part in value)
    return _float(one, value)


def _float(one: Setting, value: Any) -> Any:
    if one.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < _LARGEST else math.inf
    return value


def _parsed(one: Setting, text: str, source: str) -> Any:
    if one.kind is bool:
        if text.lower() not in ("true", "false"):
            raise ProtocolError(f"{source}: {one.name} = {text!r}: give true or false")
        return text.lower() == "true"
    match = _NUMBER.fullmatch(text)
    unit = match[2] if match else ""
    allowed = ACCEPTED.get(one.unit, one.unit).split()
    if match is None or (unit and unit not in allowed):
        units = f", in {' or '.join(allowed)}" if allowed else ""
        raise ProtocolError(f"{source}: {one.name} = {text!r}: give a number{units}")
    value = float(match[1]) * UNITS[unit]
    if one.kind is int:
        return int(value) if value.is_integer() else value
    return value


def definitions(protocol: Any, name: str, version: str) -> dict[str, Any]:
    """Return what a `.seq` says of its protocol in ``[DEFINITIONS]``: ``Protocol_<setting>`` in SI units, and ours."""
    said: dict[str, Any] = {"Name": name, "Designer": f"pulsetwin {version}"}
    for one in settings(protocol):
        value = getattr(protocol, one.name)
        if value is None or (one.count and not value):
            continue
        if one.count:
            said[f"Protocol_{one.name}"] = [float(part) for part in value]
        else:
            said[f"Protocol_{one.name}"] = str(value) if one.kind in (bool, str) else float(value)
    return said
