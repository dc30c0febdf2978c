"""Time that a run has taken in all its legs: kept in a file, as a run that is broken off goes on in another process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pulsetwin.export.summary import write_json

SPENT = "spent.json"


@contextmanager
def time_spent(path: Path) -> Iterator[Callable[[], dict[str, float]]]:
    """Give what writes and returns ``seconds`` and ``cpu_seconds`` so far [s], those of earlier legs included.

    Once there is a file, it is written at the end of a leg, too, whatever ends it; a leg that is killed counts up to
    the last writing, and a run that ends before its first one leaves nothing.
    """
    before = json.loads(path.read_text("utf-8")) if path.exists() else {"seconds": 0.0, "cpu_seconds": 0.0}
    began, used = time.monotonic(), time.process_time()

    def spent() -> dict[str, float]:
        own = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used}
        whole = {name: before[name] + value for name, value in own.items()}
        write_json(path, whole, force=True)
        return whole

    try:
        yield spent
    finally:
        if path.exists():
            spent()
