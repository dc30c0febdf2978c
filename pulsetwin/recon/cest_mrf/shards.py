"""Signals of a grid, made in shards by any `concurrent.futures.Executor` and streamed to an HDF5 file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pulsetwin import __version__
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.grid import Grid
from pulsetwin.recon.cest_mrf.problem import Problem, predicted
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim import shards

FORMAT = "pulsetwin CEST-MRF dictionary 1"
_WHAT = "dictionary"
_SHARD = 4096  # entries


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
    layout = {"signals": ((problem.program.records,), dtype)}

    def job(row: int) -> tuple[Any, ...]:
        return _signals, problem, grid.names, grid.table(row, row + _SHARD)

    shards.fill(
        Path(path), layout, len(grid), _SHARD, job, kind=FORMAT, what=_WHAT, facts=facts_of(problem, grid, seq),
        executor=executor, workers=workers, progress=progress,
    )  # fmt: skip


def _signals(problem: Problem, names: Sequence[str], table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows of a shard."""
    return {"signals": predicted(problem, names, table)}


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
    return shards.opened(path, FORMAT, _WHAT, facts, mode)
