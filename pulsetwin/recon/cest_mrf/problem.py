"""What a CEST-MRF scan measured, the signals that parameters would give, and what a method makes of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress
from pulsetwin.recon.cest_mrf.snapshots import program_of
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.bloch_mcconnell.entries import OBSERVED, differentiate_entries, play_entries
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import Program

NORMALISATIONS = ("l2", "first", "none")
_BLOCK = 1 << 14  # entries played between two reports of progress
Bounds = Mapping[str, tuple[float, float]]
"""Least and greatest value of each parameter that is sought."""
Known = Mapping[str, np.ndarray]
"""Values of each parameter that is known, ``[voxel]``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What was measured.

    Parameters
    ----------
    program
        The sequence, from `compile_seq`.
    model
        Pools and field, and the values of parameters that are neither sought nor given.
    observe
        ``transverse``, whose magnitude is the signal, or ``z``, which has a sign.
    normalisation
        ``l2`` for signals of unit length, ``first`` for those divided by the first image (M0), or ``none``.
    """

    program: Program
    model: PoolModel
    observe: str
    normalisation: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a method finds in the voxels of a scan.

    Parameters
    ----------
    values
        Name of each parameter that was sought to its values, float64 ``[voxel]``.
    deviation
        Standard deviations of some of them, ``[voxel]``; empty where the method knows none.
    misfit
        Sum of squares of what the model leaves of the normalised data, ``[voxel]``.
    """

    values: dict[str, np.ndarray]
    deviation: dict[str, np.ndarray]
    misfit: np.ndarray


def check_sought(data: np.ndarray, free: Bounds, given: Known) -> None:
    """Raise unless signals ``[voxel, measurement]`` are finite, bounds in order, and given values one for each voxel.

    Raises
    ------
    ProtocolError
        If nothing is free, bounds are not in order, a parameter is free and given, or signals are not finite.
    ShapeError
        If there are not as many given values as voxels.
    """
    if not free:
        raise ProtocolError("nothing is sought: give the bounds of at least one parameter")
    for name, (low, high) in free.items():
        if not (math.isfinite(low) and low < high < math.inf):
            raise ProtocolError(f"{name} from {low:g} to {high:g}: give two finite bounds, the lower one first")
    if both := set(free) & set(given):
        raise ProtocolError(f"{min(both)} is sought and given: leave out one of them")
    for name, values in given.items():
        if np.shape(values) != (len(data),):
            raise ShapeError(f"{name} is given as {np.shape(values)} for {len(data)} voxels: give one value for each")
    if not np.isfinite(data).all():
        raise ProtocolError("signals are not finite: leave out the voxels where they are not")


def problem_of(seq: SeqFile, model: PoolModel, *, mode: str, observe: str, normalisation: str) -> Problem:
    """Return the problem of a scan.

    There is a measurement for each image, see `snapshots.program_of`.

    Parameters
    ----------
    seq
        What was played.
    model
        Pools and field; it says whether the magnetisation is carried from one measurement to the next.
    mode
        ``physical`` or ``pulseq_cest``, as of `compile_seq`.
    observe, normalisation
        As of `Problem`.

    Raises
    ------
    ProtocolError
        If one of the words is unknown, or the sequence measures nothing.
    MismatchError
        If the model's field is not that of the sequence.
    """
    for name, word, known in (("observe", observe, OBSERVED), ("normalisation", normalisation, NORMALISATIONS)):
        if word not in known:
            raise ProtocolError(f"{name} = {word!r}: give one of {', '.join(known)}")
    return Problem(program_of(seq, model, mode), model, observe, normalisation)


def predicted(problem: Problem, names: Sequence[str], table: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the normalised signals of a table of parameters, float64 ``[entry, measurement]``.

    Parameters
    ----------
    problem
        What was measured.
    names
        Of the columns, as the engine names them: ``t1``, ``<pool>.fraction`` ...
    table
        ``[entry, parameter]``.
    threads
        Number of them.

    Raises
    ------
    ProtocolError, ShapeError
        As `play_entries`.
    """
    played = play_entries(problem.program, problem.model, names, table, observe=problem.observe, threads=threads)
    return normalised(played if problem.observe == "z" else np.abs(played), problem.normalisation)


def predicted_in_blocks(
    problem: Problem, names: Sequence[str], table: np.ndarray, threads: int, progress: Progress, what: str
) -> np.ndarray:
    """Return what `predicted` does; `progress` is called with the entries done, their number and `what`."""
    signals = np.empty((len(table), problem.program.records))
    for begin in range(0, len(table), _BLOCK):
        part = table[begin : begin + _BLOCK]
        signals[begin : begin + len(part)] = predicted(problem, names, part, threads)
        progress(begin + len(part), len(table), what)
    return signals


def slopes(
    problem: Problem, names: Sequence[str], table: np.ndarray, wanted: Sequence[str], threads: int = 1, *,
    shares: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return what `predicted` does, and its exact derivatives by the parameters `wanted`.

    With `shares`, ``[entry, measurement]``, of programs that begin anew, see `play_entries`.

    Returns
    -------
    tuple of ndarray
        ``[entry, measurement]`` and ``[entry, measurement, wanted]``, float64.
    """
    signal, slope = differentiate_entries(
        problem.program, problem.model, names, table, wanted, observe=problem.observe, shares=shares, threads=threads
    )
    if problem.observe != "z":
        size = np.abs(signal)
        # |s| has no derivative where s is 0
        slope = (signal.conj()[..., None] * slope).real / np.where(size > 0, size, np.inf)[..., None]
        signal = size
    values = normalised(signal, problem.normalisation)
    if problem.normalisation == "none":
        return values, slope
    if problem.normalisation == "first":
        return values, (slope - values[..., None] * slope[:, :1]) / signal[:, :1, None]
    along = np.einsum("em,emw->ew", values, slope)[:, None]
    return values, (slope - values[..., None] * along) / np.linalg.norm(signal, axis=1)[:, None, None]


def normalised(data: np.ndarray, normalisation: str) -> np.ndarray:
    """Return signals as they are compared, ``[..., measurement]``; not finite where they cannot be normalised.

    Parameters
    ----------
    data
        ``[..., measurement]``.
    normalisation
        As of `Problem`.

    Raises
    ------
    ProtocolError
        If the word is unknown.
    """
    if normalisation not in NORMALISATIONS:
        raise ProtocolError(f"normalisation = {normalisation!r}: give one of {', '.join(NORMALISATIONS)}")
    if normalisation == "none":
        return data
    size = data[..., :1] if normalisation == "first" else np.linalg.norm(data, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return data / size
