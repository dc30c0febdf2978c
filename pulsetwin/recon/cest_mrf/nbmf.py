"""Neural Bloch-McConnell fitting: a network learns from a subject's own images, through the exact model.

What the network tells of a voxel is played by the engine, and must give the signals that were measured (Finkelstein et
al. 2025). Signals and derivatives of a batch serve several updates of the weights, along the tangent: playing costs far
more than the network does.

Pools are told in steps: with ``mt.fraction`` and ``mt.exchange_rate`` of a first estimate among the known parameters, a
second one tells those of the amide. A network of another subject maps a new one as it is, or is trained further.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.problem import Bounds, Estimate, Known, Problem, check_sought, slopes
from pulsetwin.recon.cest_mrf.reconstructor import (
    Reconstructor,
    check_purpose,
    estimated,
    features,
    new_reconstructor,
)
from pulsetwin.recon.cest_mrf.training import Learner, Training, noise_of, with_noise
from pulsetwin.sim.bloch_mcconnell.restarts import restarted

USUAL = Training(steps=600, batch=512)
"""From random weights."""
FURTHER = Training(steps=50, batch=512, rate=1e-3)
"""From those of another subject."""
_UPDATES = 4  # of the weights with the signals of a step


def nbmf(
    data: np.ndarray,
    problem: Problem,
    free: Bounds,
    given: Known,
    *,
    training: Training | None = None,
    reconstructor: Reconstructor | None = None,
    parallel: bool = False,
    threads: int = 1,
    progress: Progress = silent,
) -> Estimate:
    """Return exchange parameters by a network of this subject, by one of another, or by one that is trained further.

    Parameters
    ----------
    data, problem, free, given, parallel, threads, progress
        As of `learn`.
    training
        How the network is trained on these data; if None, as `USUAL`, or not at all where there is a `reconstructor`.
    reconstructor
        That was trained before.

    Raises
    ------
    MismatchError
        If the reconstructor was trained for another measurement, other bounds or other known parameters.
    ProtocolError, ShapeError
        As of `check_sought`, or if voxels are too few to tell their noise, or if `parallel` is not defined, see
        `restarts.restarted`.
    """
    if reconstructor is None or training is not None:
        reconstructor = learn(
            data, problem, free, given, training=training or USUAL, reconstructor=reconstructor, parallel=parallel,
            threads=threads, progress=progress,
        )  # fmt: skip
    elif parallel:
        raise ProtocolError("parallel is how a network is trained, but this one is used as it is: leave it out")
    else:
        check_purpose(reconstructor, problem, free, given)
    return estimated(reconstructor, data, problem, given, threads=threads, progress=progress)


def learn(
    data: np.ndarray,
    problem: Problem,
    free: Bounds,
    given: Known,
    *,
    training: Training = USUAL,
    reconstructor: Reconstructor | None = None,
    parallel: bool = False,
    threads: int = 1,
    progress: Progress = silent,
) -> Reconstructor:
    """Return a network that was trained on one subject.

    The loss is the logarithm of ``|played - measured|^2`` of the normalised signals, averaged over a batch; noise is
    added to what the network sees.

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
        How; a step is a batch that is played.
    reconstructor
        Where to begin (fine-tuning); it is left as it is.
    parallel
        Whether in training each measurement is played from what the one before it measured, see `restarts`.
    threads
        Of the simulation.
    progress
        Called with steps done, their number and what is done.

    Raises
    ------
    MismatchError, ProtocolError, ShapeError
        As `nbmf`.
    """
    check_sought(data, free, given)
    reconstructor = _begun(data, problem, free, given, training.seed, reconstructor)
    given = {name: given[name] for name in reconstructor.given}
    played = _restarted(problem) if parallel else problem
    seen, measured = features(data, given), torch.from_numpy(np.asarray(data, np.float64))
    known = np.column_stack([np.empty((len(data), 0)), *given.values()])
    noise = noise_of(data) if training.noise is None else training.noise
    generator = torch.Generator().manual_seed(training.seed)
    learner = Learner(reconstructor, training.rate, _UPDATES * training.steps)
    names = [*reconstructor.free, *given]
    for step in range(training.steps):
        rows = torch.randperm(len(data), generator=generator)[: training.batch]
        for update in range(_UPDATES):
            told = reconstructor.tell(with_noise(seen[rows], data.shape[1], noise, generator))
            if update == 0:
                shares = data[rows.numpy()] if parallel else None
                tangent = _tangent(played, names, told, known[rows.numpy()], shares, threads)
            learner.step((_along(tangent, told) - measured[rows]).square().sum(1).mean().log())
        progress(step + 1, training.steps, "training")
    return reconstructor


def _begun(
    data: np.ndarray, problem: Problem, free: Bounds, given: Known, seed: int, other: Reconstructor | None
) -> Reconstructor:
    """Return a network to train: a new one, or a copy of `other`."""
    if other is None:
        return new_reconstructor(problem, free, features(data, given), tuple(given), seed=seed)
    check_purpose(other, problem, free, given)
    return replace(other, module=copy.deepcopy(other.module))


def _restarted(problem: Problem) -> Problem:
    """Return the problem whose measurements are played each from the one before it."""
    if problem.normalisation != "first":
        raise ProtocolError(f"parallel: normalisation = {problem.normalisation!r} tells no shares of M0: begin the "
                            "schedule with M0, and give normalisation: first")  # fmt: skip
    return replace(problem, program=restarted(problem.program))


def _tangent(
    problem: Problem, names: list[str], told: Tensor, known: np.ndarray, shares: np.ndarray | None, threads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return parameters ``[voxel, free]``, their signals ``[voxel, measurement]`` and derivatives ``[..., free]``.

    `shares` are those of programs that begin anew, as of `slopes`.
    """
    at = told.detach()
    table = np.column_stack((at.numpy(), known))
    signals, derivatives = slopes(problem, names, table, names[: at.shape[1]], threads, shares=shares)
    return at, torch.from_numpy(signals), torch.from_numpy(derivatives)


def _along(tangent: tuple[Tensor, Tensor, Tensor], told: Tensor) -> Tensor:
    """Return the signals of parameters near those of a tangent."""
    at, signals, derivatives = tangent
    return signals + torch.einsum("vmp,vp->vm", derivatives, told - at)
