"""Progress of long jobs: a job calls `progress(done, total, what)`, the command line draws the bar."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """Ignore progress: the default of every long job."""


def bar(stream: TextIO = sys.stderr, width: int = 30) -> Progress:
    """Return a `Progress` that draws one self-updating line, on a terminal only.

    What a job says after a colon may change from call to call, such as its loss.

    Parameters
    ----------
    stream
        Where to draw; nothing is drawn when it is not a terminal.
    width
        Width of the bar in characters.
    """
    if not stream.isatty():
        return silent
    started: dict[str, float] = {}

    def draw(done: int, total: int, what: str) -> None:
        job, _, told = what.partition(": ")
        began = started.setdefault(job, time.monotonic())
        filled = width * done // max(total, 1)
        left = (time.monotonic() - began) * (total - done) / done if done else 0.0
        line = f"{job:<28} {'█' * filled}{'·' * (width - filled)} {done}/{total} {left:4.0f} s left {told}"
        room = shutil.get_terminal_size().columns - 1
        stream.write(f"\r{line[:room]:<{room}}" + "\n" * (done >= total))
        stream.flush()
        if done >= total:
            del started[job]

    return draw
