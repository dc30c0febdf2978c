"""Leave out the states of a phase distribution graph that matter least to the signal, up to a relative error."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.graph import Z0, Graph, select_states
from pulsetwin.sim.graph_build import sampled_rows
from pulsetwin.sim.graph_tables import graph_tables
from pulsetwin.sim.graph_torch import graph_signal
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

_PROBES, _VOXELS, _TRIALS = 8, 256, 6


def state_signals(
    graph: Graph, timeline: Timeline, voxels: Voxels, *, seed: int = 0, probes: int = _PROBES, sampled: int = _VOXELS
) -> tuple[NDArray[np.float64], Tensor]:
    """Estimate what the signal would lose with each state.

    Without state s the signal changes by ``d_s = J_s m_s``, with ``J_s`` linear over the reals. For a random vector w
    of unit complex variance, the mean of ``Re(w^H d_s)^2`` is ``|d_s|^2 / 2``, and one backward pass gives it for all
    states together. First order: states left out together are taken as adding up incoherently.

    Parameters
    ----------
    graph, timeline, voxels
        As for `simulate_graphs`.
    seed
        Of the random vectors and voxels.
    probes
        Number of random vectors.
    sampled
        Number of random voxels that stand for all.

    Returns
    -------
    tuple
        Norm of the change by each state relative to that of the signal, ``[state]``, and the signal of the voxels
        sampled.
    """
    random = torch.Generator().manual_seed(seed)
    some, line = _sampled(voxels, seed, sampled), _constant(timeline)
    amplitudes: list[Tensor] = []
    with torch.enable_grad():
        tables = graph_tables(graph, line, some.size, some.shape)
        signal = graph_signal(graph, tables, line, some, probes=amplitudes)
        changes = [np.zeros(int(graph.row_start[1]))] + [np.zeros(len(m)) for m in amplitudes]
        for _ in range(probes if signal.requires_grad else 0):
            vector = torch.randn(signal.shape, generator=random, dtype=signal.dtype).to(signal.device)
            along = (vector.conj() * signal).real.sum()
            slopes = torch.autograd.grad(along, amplitudes, retain_graph=True, allow_unused=True)
            for change, slope, m in zip(changes[1:], slopes, amplitudes, strict=True):
                if slope is not None:
                    change += (
                        2 / probes * (slope.conj() * m).real.double().flatten(1).sum(1).square().detach().cpu().numpy()
                    )
    signal = signal.detach()
    return np.sqrt(np.concatenate(changes)) / max(float(signal.norm()), 1e-30), signal


def select_by_error(
    graph: Graph, timeline: Timeline, voxels: Voxels, tol: float, *, seed: int = 0
) -> tuple[Graph, float]:
    """Return the graph without the states of least signal, and the relative error, at most `tol`, that this makes.

    States are dropped as `state_signals` ranks them. The error is then measured on the voxels sampled, and fewer are
    dropped if it exceeds `tol`; in the other voxels it may be larger.

    Parameters
    ----------
    graph, timeline, voxels
        As for `simulate_graphs`.
    tol
        Largest error relative to the norm of the signal.
    seed
        Of the random probes and voxels.
    """
    change, signal = state_signals(graph, timeline, voxels, seed=seed)
    norm = float(signal.norm())
    change[graph.kind == Z0] = np.inf
    order = np.argsort(change)
    lost = np.sqrt(np.cumsum(change[order] ** 2))
    some, line, budget = _sampled(voxels, seed, _VOXELS), _constant(timeline), tol
    for _ in range(_TRIALS if norm > 0 else 0):
        keep = np.ones(graph.states, dtype=bool)
        keep[order[: int(np.searchsorted(lost, budget, "right"))]] = False
        less = select_states(graph, keep, sampled_rows(timeline))
        with torch.no_grad():
            found = graph_signal(less, graph_tables(less, line, some.size, some.shape), line, some)
        error = float((found - signal).norm()) / norm
        if error <= tol:
            return less, error
        budget *= 0.7 * tol / error
    return graph, 0.0


def _sampled(voxels: Voxels, seed: int, count: int) -> Voxels:
    """Return random voxels, without gradients."""
    index = torch.randperm(len(voxels), generator=torch.Generator().manual_seed(seed))[:count]
    index = index.to(voxels.position.device)
    maps = ("position", "proton_density", "t1", "t2", "t2_prime", "diffusion", "b0")
    picked = {name: getattr(voxels, name).detach()[index] for name in maps}
    return replace(voxels, **picked, b1=voxels.b1.detach()[:, index], coils=voxels.coils.detach()[:, index])


def _constant(timeline: Timeline) -> Timeline:
    return replace(timeline, **{f.name: _detached(getattr(timeline, f.name)) for f in fields(Timeline)})


def _detached(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value
