"""How long the steps of a verb take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Record how long a step takes [s]."""
    began = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - began
