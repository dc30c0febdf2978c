"""Large tables in an HDF5 file, made in shards by any `concurrent.futures.Executor`, which go on after an interrupt."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError, MismatchError
from pulsetwin.progress import Progress, silent

Layout = Mapping[str, tuple[tuple[int, ...], str]]
"""Name of each table, the shape of a row, and its type."""
_AHEAD = 3  # shards that each worker finds waiting, at least


def fill(
    path: Path,
    layout: Layout,
    rows: int,
    shard: int,
    job: Callable[[int], tuple[Any, ...]],
    *,
    kind: str,
    what: str,
    facts: dict[str, Any],
    executor: Executor | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> None:
    """Write tables of `rows` each to a file, or go on where an interrupt ended an earlier call.

    A shard is complete or absent: it is marked once it is on its way to the disk, and one without its mark is made
    again.

    Parameters
    ----------
    path
        The file; it has a table ``complete`` ``[shard]`` besides.
    layout
        Of the tables.
    rows
        Of each table.
    shard
        Rows that are made at a time.
    job
        Returns, of the number of the first row, a function and its arguments, for an executor: what it returns holds
        the rows of each table.
    kind
        What sort of file it is, for the attribute ``format``.
    what
        What it is in a word, for messages.
    facts
        What tells its contents from others', as JSON holds it.
    executor
        Where shards are made; processes of this machine if None.
    workers
        Processes, or shards under way in the `executor`.
    progress
        Called with shards done, their number and `what`.

    Raises
    ------
    MismatchError
        If the file holds something else.
    FileError
        If it is of another kind, or cannot be opened.
    """
    if not path.exists():
        with atomic_file(path) as temporary:
            _lay_out(temporary, {**layout, "complete": ((), "?")}, rows, shard, {"format": kind, "facts": facts})
    with opened(path, kind, what, facts, "r+") as file:
        for name, (_, dtype) in layout.items():
            if file[name].dtype != dtype:
                raise MismatchError(f"{path} holds {file[name].dtype}, not {dtype}: write to another file")
        missing = np.nonzero(~file["complete"][:])[0]
        total = len(file["complete"])
        done = total - len(missing)
        progress(done, total, what)
        if not len(missing):
            return
        used = executor or ProcessPoolExecutor(workers, get_context("spawn"))
        try:
            for number, made in _made(used, job, missing * shard, _AHEAD * workers):
                for name in layout:
                    file[name][number : number + len(made[name])] = made[name]
                file.flush()
                file["complete"][number // shard] = True
                file.flush()
                done += 1
                progress(done, total, what)
        finally:
            if used is not executor:
                used.shutdown(cancel_futures=True)


def opened(path: Path, kind: str, what: str, facts: Mapping[str, Any], mode: str = "r") -> h5py.File:
    """Return the open file of a kind whose contents are told by `facts`, as far as these go.

    Raises
    ------
    FileError
        If it is of another kind, or cannot be opened.
    MismatchError
        If it holds something else.
    """
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        raise FileError(path, f"cannot be opened as HDF5 ({error})", f"give a {what}, or a new name") from None
    try:
        if file.attrs.get("format") != kind:
            raise FileError(path, f"is no {what}", f"give a {what}, or a new name")
        held = json.loads(file.attrs["facts"])
        for key, value in facts.items():
            if held.get(key) != value:
                told = f": {held.get(key)}, not {value}" if isinstance(value, str | int) else ""
                raise MismatchError(f"{path} is a {what} of another {key}{told}: give a new name, or remove it")
    except BaseException:
        file.close()
        raise
    return file


def _lay_out(path: Path, layout: Layout, rows: int, shard: int, attributes: dict[str, Any]) -> None:
    """Reserve all space, so that what follows changes no structure of the file that an interrupt could break."""
    layout_of_file = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout_of_file.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    with h5py.File(path, "w") as file:
        for name, (shape, kind) in layout.items():
            count = -(-rows // shard) if name == "complete" else rows
            space = h5py.h5s.create_simple((count, *shape))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind), logical=True), space,
                            layout_of_file)  # fmt: skip
        file["complete"][:] = False
        file.attrs["format"] = attributes["format"]
        file.attrs["facts"] = json.dumps(attributes["facts"])


def _made(
    executor: Executor, job: Callable[[int], tuple[Any, ...]], rows: np.ndarray, ahead: int
) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    """Yield the first rows of shards and their tables in order; no more than `ahead` are under way."""
    running: deque[tuple[int, Any]] = deque()
    for row in rows.tolist():
        running.append((row, executor.submit(*job(row))))
        if len(running) >= ahead:
            first, future = running.popleft()
            yield first, future.result()
    for first, future in running:
        yield first, future.result()
