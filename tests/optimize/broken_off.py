"""Learning that is broken off."""

from __future__ import annotations

from collections.abc import Callable


class Broken(Exception):
    """What breaks it off."""


def broken_off(at: int) -> Callable[..., None]:
    """Return a progress that raises `Broken` at a step."""

    def progress(done: int, total: int, what: str) -> None:
        if done == at:
            raise Broken

    return progress
