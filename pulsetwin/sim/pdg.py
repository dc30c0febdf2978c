"""Simulate a timeline by a phase distribution graph (Endres et al. 2024, doi:10.1002/mrm.30055)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.sim.graph import Graph
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.graph_fused import fused_signal
from pulsetwin.sim.graph_tables import graph_tables
from pulsetwin.sim.graph_torch import graph_signal
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations
from pulsetwin.sim.state_selection import select_by_error
from pulsetwin.sim.timeline import Timeline


@dataclass(frozen=True, slots=True, eq=False)
class GraphResult:
    """What a graph's simulation returns.

    Parameters
    ----------
    signal
        Complex ``[coil, sample]``.
    graph
        The graph that was used, to be passed on while the sequence changes in value only.
    states
        States that were simulated.
    states_total
        States of the graph before those of little signal were dropped.
    states_dropped
        States that `max_states` kept out of the graph; their own descendants are not counted.
    error
        Relative error of the signal by the states dropped for `tol`, measured in single precision, on 16384 of the
        voxels if there are more; 0 without, None if `max_states` dropped any, whose signal is not known.
    seconds
        Time taken.
    """

    signal: Tensor
    graph: Graph
    states: int
    states_total: int
    states_dropped: int
    error: float | None
    seconds: float


def simulate_graphs(
    timeline: Timeline, voxels: Voxels, *, dtype: torch.dtype = torch.complex64, tol: float | None = None,
    seed: int = 0, graph: Graph | None = None, max_states: int = 4096, backend: str | None = None,
    rotations: PulseRotations | None = None, progress: Progress = silent,
) -> GraphResult:  # fmt: skip
    """Return the signal of voxels with instantaneous pulses, T2', diffusion, and B1 of any number of channels.

    With `rotations`, pulses that have a shape act as it does on each voxel: profiles of slices, spins off resonance,
    adiabatic pulses.

    Differentiable in the timeline's flip angles, phases, durations, moments and sample phases, in every map of the
    voxels, and in the rotations. Where paths of equal k and tau meet in a state, each keeps its own gradient to
    durations and moments.

    Parameters
    ----------
    timeline
        The sequence; pulse shapes and carrier frequencies act by way of `rotations`.
    voxels
        The object; exchanging pools are refused.
    dtype
        Of the signal; ``torch.complex128`` computes in double precision.
    tol
        Relative error up to which states may be dropped, 1e-5 or more, ranked by random probes; None keeps all of them.
    seed
        Of the random probes and of the voxels that stand for all in choosing states.
    graph
        A graph built before for a timeline with the same order of events; built anew if None.
    max_states
        Most states in one repetition.
    backend
        ``numba``: a fused kernel with analytic gradients, for ``complex64`` on the CPU; ``torch``: batched operations,
        on any device and in both precisions; None chooses ``numba`` where it can.
    rotations
        What `pulse_rotations` returned for this timeline and these voxels, for finite pulses; without, all pulses are
        instantaneous.
    progress
        Called with work done, its total and what is done, by backend ``numba``.

    Raises
    ------
    ProtocolError
        If the voxels hold exchanging pools, `dtype` is not complex, `tol` is out of range, or `backend` is unknown
        or cannot do what is asked.
    MismatchError
        If the graph has another number of pulses, the shim another number of channels, or the rotations another number
        of pulses or voxels.
    """
    begin = time.perf_counter()
    _check(timeline, voxels, dtype, tol)
    if graph is not None and graph.rows != timeline.pulses + 1:
        raise MismatchError(f"graphs: a graph of {graph.rows - 1} pulses for {timeline.pulses}: build it anew")
    if rotations is not None:
        rotations.check(timeline, voxels)
    fused = _fused(backend, dtype, voxels.position.device)
    if graph is None:
        graph = build_graph(timeline, voxels, max_states=max_states, rotations=rotations)
    total, error = graph.states, 0.0
    if tol is not None:
        graph, error = select_by_error(graph, timeline, voxels, tol, rotations, seed=seed)
    if fused:
        signal = fused_signal(graph, timeline, voxels, rotations, progress)
    else:
        tables = graph_tables(graph, timeline, voxels.size, voxels.shape)
        signal = graph_signal(graph, tables, timeline, voxels, dtype, rotations=rotations)
    return GraphResult(
        signal, graph, graph.states, total, graph.dropped, None if graph.dropped else error, time.perf_counter() - begin
    )


def _fused(backend: str | None, dtype: torch.dtype, device: torch.device) -> bool:
    able = dtype == torch.complex64 and device.type == "cpu"
    if backend not in (None, "numba", "torch") or (backend == "numba" and not able):
        raise ProtocolError(
            f"graphs: backend {backend!r} for {dtype} on {device}: give 'numba' (complex64 on the CPU), 'torch' or None"
        )
    return able and backend != "torch"


def _check(timeline: Timeline, voxels: Voxels, dtype: torch.dtype, tol: float | None) -> None:
    if voxels.pools:
        raise ProtocolError(
            f"graphs: {len(voxels.pools)} exchanging pools: simulate them with the Bloch-McConnell engine"
        )
    if dtype not in (torch.complex64, torch.complex128):
        raise ProtocolError(f"graphs: dtype is {dtype}: give torch.complex64 or torch.complex128")
    if tol is not None and not 1e-5 <= tol < 1:
        raise ProtocolError(f"graphs: tol is {tol:g}: give 1e-5 to 1, or None to keep all states")
    channels = len(voxels.b1)
    if timeline.shim is not None and timeline.shim.shape != (timeline.pulses, channels):
        shape = tuple(timeline.shim.shape)
        raise MismatchError(f"graphs: shim is {shape} for {timeline.pulses} pulses and {channels} channels of B1")
