"""Libraries on one thread, where projections are worked on side by side: their threads wait busily for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from threadpoolctl import threadpool_limits

_ONE_AT_A_TIME = RLock()  # the limit is of the whole process: two that overlapped would leave it behind


@contextmanager
def alone() -> Iterator[None]:
    """Keep BLAS to one thread, in one thread of ours at a time: a context or a decorator."""
    with _ONE_AT_A_TIME, threadpool_limits(1, "blas"):
        yield
