"""A dictionary: parameters of entries and the signals they give, in memory or in a file."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.grid import Grid
from pulsetwin.recon.cest_mrf.problem import Problem, predicted_in_blocks
from pulsetwin.recon.cest_mrf.shards import facts_of, generate, opened
from pulsetwin.sequences.seqfile import SeqFile


@dataclass(frozen=True)
class Dictionary:
    """Entries and their signals.

    Parameters
    ----------
    grid
        Parameters.
    signals
        Normalised, ``[entry, measurement]``, float32 or float64.
    """

    grid: Grid
    signals: np.ndarray


def computed(problem: Problem, grid: Grid, threads: int = 1, progress: Progress = silent) -> Dictionary:
    """Return the dictionary of a grid, in memory."""
    played = predicted_in_blocks(problem, grid.names, grid.table(0, len(grid)), threads, progress, "dictionary")
    return Dictionary(grid, played)


def kept(
    path: str | Path,
    problem: Problem,
    grid: Grid,
    seq: SeqFile,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    dtype: str = "float64",
    progress: Progress = silent,
) -> Dictionary:
    """Return the dictionary of a grid from its file, which is made or completed where it is not whole.

    Signals stay in the file until they are read. Parameters and errors are those of `shards.generate`.
    """
    generate(path, problem, grid, seq, executor=executor, workers=workers, dtype=dtype, progress=progress)
    with opened(Path(path), facts_of(problem, grid, seq)) as file:
        held = file["signals"]
        return Dictionary(grid, np.memmap(path, held.dtype, "r", held.id.get_offset(), held.shape))
