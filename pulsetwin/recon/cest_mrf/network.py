"""A network that learns from played signals of known parameters (supervised), for all subjects of a protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pulsetwin.errors import ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.grid import Hypercube
from pulsetwin.recon.cest_mrf.problem import Bounds, Estimate, Known, Problem, check_sought, predicted_in_blocks
from pulsetwin.recon.cest_mrf.reconstructor import (
    Reconstructor,
    check_purpose,
    estimated,
    features,
    new_reconstructor,
)
from pulsetwin.recon.cest_mrf.training import Learner, Training, noise_of, with_noise

USUAL = Training(steps=4000, batch=512)
_DRAWS = 50_000


def network(
    data: np.ndarray,
    problem: Problem,
    free: Bounds,
    given: Known,
    *,
    training: Training = USUAL,
    reconstructor: Reconstructor | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Estimate:
    """Return exchange parameters by a network that learnt from played signals.

    It learns from a Latin hypercube of the bounds and of the ranges of what is given.

    Parameters
    ----------
    data
        Normalised signals, ``[voxel, measurement]``.
    problem
        What was measured.
    free
        Bounds of the parameters that are sought.
    given
        Known parameters of each voxel.
    training
        How the network is trained.
    reconstructor
        That `learn` trained before; it is used as it is.
    threads
        Of the simulation.
    progress
        Called with what is done, its number and its name.

    Raises
    ------
    MismatchError
        If the reconstructor was trained for another measurement, other bounds or other known parameters.
    ProtocolError, ShapeError
        As of `check_sought`, or if voxels are too few to tell their noise.
    """
    if reconstructor is None:
        check_sought(data, free, given)
        noise = noise_of(data) if training.noise is None else training.noise
        names, table = _drawn(free, given, training.seed)
        signals = predicted_in_blocks(problem, names, table, threads, progress, "signals")
        reconstructor = learn(signals, names, table, problem, free, noise=noise, training=training, progress=progress)
    else:
        check_purpose(reconstructor, problem, free, given)
    return estimated(reconstructor, data, problem, given, threads=threads, progress=progress)


def learn(
    signals: np.ndarray,
    names: Sequence[str],
    table: np.ndarray,
    problem: Problem,
    free: Bounds,
    *,
    noise: float,
    training: Training = USUAL,
    progress: Progress = silent,
) -> Reconstructor:
    """Return a network that was trained on the entries of a dictionary.

    The loss is the square of the error of each parameter, relative to its range.

    Parameters
    ----------
    signals
        Normalised, ``[entry, measurement]``.
    names
        Of the columns of `table`; those that are not free are inputs.
    table
        Parameters, ``[entry, parameter]``.
    problem
        What the dictionary is of.
    free
        Bounds of the parameters that are sought.
    noise
        Standard deviation of what is added to the signals, anew each time.
    training
        How; its noise is not used.
    progress
        Called with steps done, their number and what is done.

    Raises
    ------
    ShapeError
        If a free parameter has no column.
    """
    missing = set(free) - set(names)
    if missing:
        raise ShapeError(f"the dictionary has no {min(missing)}, only {', '.join(names)}: seek what it varies")
    columns = dict(zip(names, table.T, strict=True))
    given = {name: values for name, values in columns.items() if name not in free}
    seen = features(signals, given)
    truth = torch.from_numpy(np.stack([columns[name] for name in free], 1))
    result = new_reconstructor(problem, free, seen, tuple(given), seed=training.seed)
    span = torch.tensor([high - low for low, high in result.free.values()], dtype=torch.float64)
    learner, generator = Learner(result, training.rate, training.steps), torch.Generator().manual_seed(training.seed)
    for step in range(training.steps):
        rows = torch.randint(len(seen), (training.batch,), generator=generator)
        told = result.tell(with_noise(seen[rows], signals.shape[1], noise, generator))
        learner.step(((told - truth[rows]) / span).square().sum(1).mean())
        progress(step + 1, training.steps, "training")
    return result


def _drawn(free: Bounds, given: Known, seed: int) -> tuple[list[str], np.ndarray]:
    """Return names and values, ``[entry, parameter]``, of a Latin hypercube; what is given as one value stays it."""
    ranges = {**free, **{name: (float(np.min(values)), float(np.max(values))) for name, values in given.items()}}
    varied = {name: ends for name, ends in ranges.items() if ends[0] < ends[1]}
    columns = dict(zip(varied, Hypercube(varied, _DRAWS, seed).table(0, _DRAWS).T, strict=True))
    return list(ranges), np.stack([columns.get(name, np.full(_DRAWS, ends[0])) for name, ends in ranges.items()], 1)
