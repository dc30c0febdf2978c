"""What the tables of all experiments share: angles in degrees, and names of values to learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from pulsetwin.errors import ProtocolError


def in_radians(settings: Any) -> dict[str, Any]:
    """Return settings by name, those in degrees as radians."""
    values = {one.name: (getattr(settings, one.name), one.metadata["unit"]) for one in fields(settings)}
    return {name: math.radians(value) if unit == "degrees" else value for name, (value, unit) in values.items()}


def require_free(free: Sequence[str], known: Iterable[str], source: str) -> None:
    """Raise `ProtocolError` unless what is to be learnt are some of the known values; `source` is named."""
    unknown = [name for name in free if name not in known]
    if unknown or not free:
        what = f"holds {', '.join(unknown)}" if unknown else "is empty"
        raise ProtocolError(f"{source}: [learn] free {what}: give some of {', '.join(known)}")
