"""Leave out the states of a phase distribution graph that matter least to the signal, up to a relative error."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.graph import Z0, Graph, select_states
from pulsetwin.sim.graph_build import sampled_rows
from pulsetwin.sim.graph_fused import fused_signal, state_gradients
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations
from pulsetwin.sim.timeline import Timeline

_PROBES, _RANKED, _MEASURED, _TRIALS = 4, 1024, 16384, 8
_ROUNDING = 2e-6  # of the fused kernel
_NEAR, _NEXT = 0.4, 0.7  # of the tolerance: an error that is near enough, and what the next trial aims at


def state_signals(
    graph: Graph, timeline: Timeline, voxels: Voxels, rotations: PulseRotations | None = None, *, seed: int = 0,
    probes: int = _PROBES,
) -> NDArray[np.float64]:  # fmt: skip
    """Estimate what the signal would lose with each state, relative to its norm, ``[state]``.

    Without state s the signal changes by ``d_s = J_s m_s``, with ``J_s`` linear over the reals. For a random vector w
    of unit complex variance, the mean of ``Re(w^H d_s)^2`` is ``|d_s|^2 / 2``, and one backward pass gives it for all
    states together. First order: states left out together are taken as adding up incoherently.

    Parameters
    ----------
    graph, timeline, voxels, rotations
        As for `simulate_graphs`; all voxels count.
    seed
        Of the random vectors.
    probes
        Number of random vectors.
    """
    random = torch.Generator().manual_seed(seed)
    vectors = torch.randn(probes, len(voxels.coils), timeline.samples, generator=random, dtype=torch.complex64)
    along = state_gradients(graph, timeline, voxels, rotations, vectors)
    signal = fused_signal(graph, _constant(timeline), voxels, rotations)
    return np.sqrt(2 / probes * np.square(along).sum(0)) / max(float(signal.norm()), 1e-30)


def select_by_error(
    graph: Graph, timeline: Timeline, voxels: Voxels, tol: float, rotations: PulseRotations | None = None, *,
    seed: int = 0,
) -> tuple[Graph, float]:  # fmt: skip
    """Return the graph without the states of least signal, and the relative error, at most `tol`, that this makes.

    States are dropped as `state_signals` ranks them on at most 1024 voxels. The error is then measured on all voxels,
    or 16384 of them if there are more; fewer are dropped if it exceeds `tol`, and more if it is far below. Voxels are
    picked evenly along their T2, so that the few of fluid count too, in which many states live on.

    Parameters
    ----------
    graph, timeline, voxels, rotations
        As for `simulate_graphs`.
    tol
        Largest error relative to the norm of the signal.
    seed
        Of the random vectors and voxels.
    """
    line = _constant(timeline)
    change = state_signals(graph, line, *_sampled(voxels, rotations, seed, _RANKED), seed=seed)
    change[graph.kind == Z0] = np.inf
    order = np.argsort(change)
    lost = np.sqrt(np.cumsum(change[order] ** 2))
    some = _sampled(voxels, rotations, seed, _MEASURED)
    signal = fused_signal(graph, line, *some)
    norm, budget = float(signal.norm()), tol
    best, least, good, bad = graph, 0.0, 0.0, np.inf
    for _ in range(_TRIALS if norm > 0 else 0):
        keep = np.ones(graph.states, dtype=bool)
        keep[order[: int(np.searchsorted(lost, budget, "right"))]] = False
        less = select_states(graph, keep, sampled_rows(timeline))
        error = float((fused_signal(less, line, *some) - signal).norm()) / norm
        if error <= tol - _ROUNDING:
            best, least, good = less, error, budget
            if error > _NEAR * tol:
                break
        else:
            bad = budget
        budget *= _NEXT * (tol - _ROUNDING) / max(error, tol / 10)
        if good and not good < budget < bad:
            budget = np.sqrt(good * bad) if bad < np.inf else 2 * good
    return best, least


def _sampled(
    voxels: Voxels, rotations: PulseRotations | None, seed: int, count: int
) -> tuple[Voxels, PulseRotations | None]:
    """Return voxels spread evenly over the values of T2, on the CPU and without gradients, and their rotations."""
    index = torch.arange(len(voxels))
    if count < len(voxels):
        shift = torch.rand(1, generator=torch.Generator().manual_seed(seed))
        places = ((torch.arange(count) + shift) * (len(voxels) / count)).long().clamp_max(len(voxels) - 1)
        index = torch.argsort(voxels.t2.detach().cpu())[places]

    if rotations is not None:
        alpha, beta = (turn.detach().cpu()[:, index] for turn in (rotations.alpha, rotations.beta))
        rotations = PulseRotations(rotations.table.cpu(), alpha, beta)
    return voxels.at(index), rotations


def _constant(timeline: Timeline) -> Timeline:
    return replace(timeline, **{f.name: _detached(getattr(timeline, f.name)) for f in fields(Timeline)})


def _detached(value: object) -> object:
    return value.detach().cpu() if isinstance(value, Tensor) else value
