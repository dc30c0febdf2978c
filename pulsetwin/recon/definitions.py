"""Numbers that the definitions of a `.seq` state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsetwin.errors import ProtocolError


def stated_numbers(definitions: Mapping[str, Any], name: str) -> np.ndarray | None:
    """Return the numbers of a definition, float64 ``[number]``, or None where there is none of the name.

    Raises
    ------
    ProtocolError
        If it holds anything but finite numbers.
    """
    stated = definitions.get(name)
    if stated is None:
        return None
    numbers = np.full(1, np.nan) if isinstance(stated, str) else np.atleast_1d(np.asarray(stated, np.float64))
    if not np.isfinite(numbers).all():
        raise ProtocolError(f"the .seq defines {name} as {stated!r}: give finite numbers")
    return numbers
