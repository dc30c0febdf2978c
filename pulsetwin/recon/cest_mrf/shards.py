"""Signals of a grid, made in shards by any `concurrent.futures.Executor` and streamed to an HDF5 file."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pulsetwin import __version__
from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError, MismatchError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.grid import Grid
from pulsetwin.recon.cest_mrf.problem import Problem, predicted
from pulsetwin.sequences.seqfile import SeqFile

FORMAT = "pulsetwin CEST-MRF dictionary 1"
_SHARD = 4096  # entries
_AHEAD = 3  # shards that each worker finds waiting, at least


def generate(
    path: str | Path,
    problem: Problem,
    grid: Grid,
    seq: SeqFile,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    dtype: str = "float64",
    progress: Progress = silent,
) -> None:
    """Write the normalised signals of a grid to a file, or go on where an interrupt ended an earlier call.

    A shard is complete or absent: it is marked once it is on its way to the disk, and one without its mark is made
    again. The file tells grid, model, sequence and version.

    Parameters
    ----------
    path
        The file, HDF5: ``signals`` ``[entry, measurement]``, and ``complete`` ``[shard]``.
    problem
        What was measured.
    grid
        Parameters of the entries.
    seq
        What `problem` was made of, of which the file keeps a hash.
    executor
        Where shards are made, such as ``dask.distributed.Client.get_executor()`` or ``submitit.AutoExecutor``;
        processes of this machine if None.
    workers
        Processes, or shards under way in the `executor`.
    dtype
        ``float64`` or ``float32`` of what is kept; computed is in float64.
    progress
        Called with shards done, their number and what is done.

    Raises
    ------
    MismatchError
        If the file is of another grid, model, sequence or version.
    FileError
        If it is no such file, or cannot be written.
    """
    path, facts = Path(path), facts_of(problem, grid, seq)
    if not path.exists():
        with atomic_file(path) as temporary:
            _lay_out(temporary, facts, len(grid), problem.program.records, dtype)
    with opened(path, facts, "r+") as file:
        if file["signals"].dtype != dtype:
            raise MismatchError(f"{path} holds {file['signals'].dtype}, not {dtype}: write to another file")
        missing = np.nonzero(~file["complete"][:])[0]
        done, total = len(file["complete"]) - len(missing), len(file["complete"])
        progress(done, total, "dictionary")
        if not len(missing):
            return
        used = executor or ProcessPoolExecutor(workers, get_context("spawn"))
        try:
            for shard, signals in _made(used, problem, grid, missing, _AHEAD * workers):
                file["signals"][shard * _SHARD : shard * _SHARD + len(signals)] = signals
                file.flush()
                file["complete"][shard] = True
                file.flush()
                done += 1
                progress(done, total, "dictionary")
        finally:
            if used is not executor:
                used.shutdown(cancel_futures=True)


def facts_of(problem: Problem, grid: Grid, seq: SeqFile) -> dict[str, Any]:
    """Return what tells a dictionary from others, as JSON holds it."""
    told = {
        "pulsetwin": __version__, "seq": hashlib.sha256(seq.path.read_bytes()).hexdigest(),
        "model": asdict(problem.model), "mode": problem.program.mode, "observe": problem.observe,
        "normalisation": problem.normalisation, "grid": grid.facts(),
    }  # fmt: skip
    return dict(json.loads(json.dumps(told)))


def opened(path: Path, facts: dict[str, Any], mode: str = "r") -> h5py.File:
    """Return the open file of the dictionary that `facts` tell.

    Raises
    ------
    FileError
        If it is no dictionary, or cannot be opened.
    MismatchError
        If it is made of something else.
    """
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        raise FileError(path, f"cannot be opened as HDF5 ({error})", "give a dictionary, or a new name") from None
    try:
        if file.attrs.get("format") != FORMAT:
            raise FileError(path, "is no dictionary of CEST-MRF", "give a dictionary, or a new name")
        held = json.loads(file.attrs["facts"])
        for key, value in facts.items():
            if held.get(key) != value:
                told = f": {held.get(key)}, not {value}" if isinstance(value, str) else ""
                raise MismatchError(f"{path} is a dictionary of another {key}{told}: give a new name, or remove it")
    except BaseException:
        file.close()
        raise
    return file


def _lay_out(path: Path, facts: dict[str, Any], entries: int, records: int, dtype: str) -> None:
    """Reserve all space, so that what follows changes no structure of the file that an interrupt could break."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    with h5py.File(path, "w") as file:
        for name, shape, kind in (("signals", (entries, records), dtype), ("complete", (-(-entries // _SHARD),), "?")):
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind), logical=True), space, layout)
        file["complete"][:] = False
        file.attrs["format"] = FORMAT
        file.attrs["facts"] = json.dumps(facts)


def _made(
    executor: Executor, problem: Problem, grid: Grid, shards: np.ndarray, ahead: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield shards and their signals in order; no more than `ahead` are under way."""
    running: deque[tuple[int, Any]] = deque()
    for shard in shards.tolist():
        table = grid.table(shard * _SHARD, (shard + 1) * _SHARD)
        running.append((shard, executor.submit(predicted, problem, grid.names, table)))
        if len(running) >= ahead:
            first, future = running.popleft()
            yield first, future.result()
    for first, future in running:
        yield first, future.result()
