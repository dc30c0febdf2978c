"""Which engine plays a sequence on a phantom, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.sim.graph import Graph
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Phantom, Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations, instant_rotation, pulse_rotations
from pulsetwin.sim.table import simulate_table, table_obstacle
from pulsetwin.sim.timeline import Timeline

ENGINES = ("auto", "graphs", "isochromats", "table", "exchange")
_LONG = 1000  # pulses, above which a table of tissues is taken if it applies
_STATES, _FEWEST, _MOST = 2_000_000, 64, 4096  # of all repetitions, and least and most of one
_LOST = 0.05  # share of the magnetisation in states beyond these, above which spins are better
_CYCLES = 0.5  # by which a pulse's gradient may turn a voxel's faces against each other
_ANGLE, _COMPARED = 0.05, 512  # between a pulse and an instant [rad], on how many voxels


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """An engine, the reason for it, and what it has computed so far: rotations by finite pulses and the graph."""

    engine: str
    why: str
    rotations: PulseRotations | None = None
    graph: Graph | None = None


def choose_engine(
    timeline: Timeline, phantom: Phantom, voxels: Voxels, engine: str = "auto", most: int = _MOST
) -> Choice:
    """Return the engine for a sequence and a phantom.

    Voxels with pools are played by Bloch-McConnell equations, see `exchange_signal.simulate_exchange`.

    A sequence of more than 1000 pulses is played by a table of tissues if that applies: where every repetition rewinds
    its phase encoding and no pulse plays a gradient, see `table.table_obstacle`. Otherwise:

    Pulses are instants where each turns the voxels as an instant of its flip angle would, to 0.05 rad. Others rotate
    each voxel in the graphs, as long as a slice is many voxels thick: the gradient of none may turn the faces of a
    voxel by more than half a cycle against each other while it lasts (on a phantom of one voxel along the gradient, a
    slice at its centre is taken to cover it). Isochromats take over from there, and where graphs would have to leave
    out more than 5 % of the magnetisation.

    Parameters
    ----------
    timeline, phantom, voxels
        The sequence, the phantom, and its voxels along the gradients.
    engine
        One of `ENGINES`; other than ``auto``, it is taken in any case.
    most
        Most states of a repetition; fewer for sequences of more than 488 pulses.

    Raises
    ------
    ProtocolError
        If a table is asked for and does not apply.
    """
    if engine in ("isochromats", "exchange"):
        return Choice(engine, "asked for")
    if engine == "auto" and voxels.pools:
        return Choice("exchange", f"voxels have {len(voxels.pools)} exchanging pools")
    if engine == "table" or (engine == "auto" and timeline.pulses > _LONG):
        obstacle = table_obstacle(timeline, voxels)
        if obstacle is None:
            why = f"{timeline.pulses} pulses find each voxel as its tissue alone says"
            return Choice("table", "asked for" if engine == "table" else why)
        if engine == "table":
            raise ProtocolError(f"the tissue table does not apply: {obstacle}; use engine graphs or isochromats")
    otherwise = _angle_from_instants(timeline, voxels)
    finite = otherwise > _ANGLE
    cycles = _cycles(timeline, phantom, voxels)
    if engine == "auto" and finite and cycles > _CYCLES:
        return Choice("isochromats", f"a pulse's gradient turns the faces of a voxel by {cycles:.2g} cycles")
    rotations = pulse_rotations(timeline, voxels) if finite else None
    most = min(most, max(_FEWEST, _STATES // timeline.pulses))
    graph = build_graph(timeline, voxels, max_states=most, rotations=rotations)
    if engine == "auto" and graph.lost > _LOST:
        return Choice("isochromats", f"graphs of {most} states a pulse miss {100 * graph.lost:.0f} % of the signal")
    why = "asked for" if engine == "graphs" else "states are few"
    pulses = f"rotate each voxel, {otherwise:.2g} rad from instants" if finite else "are as good as instants"
    return Choice("graphs", f"{why}; pulses {pulses}", rotations, graph)


def play(
    timeline: Timeline, voxels: Voxels, choice: Choice, *, tol: float | None = None, spins: int = 256, seed: int = 0,
    progress: Progress = silent,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Return the signal, complex ``[coil, sample]``, and facts of the simulation for its record.

    Parameters
    ----------
    timeline, voxels, choice
        What `choose_engine` was given, and what it returned.
    tol
        Relative error allowed to the graphs, all states are kept if None; and to the table, 1e-3 if None.
    spins
        Spins per voxel of the isochromats.
    seed
        Of random numbers.
    progress
        Called with work done, its total and what is done.
    """
    with torch.no_grad():
        if choice.engine == "isochromats":
            signal = simulate_isochromats(timeline, voxels, spins=spins, seed=seed, progress=progress)
            return signal, {"spins": spins}
        if choice.engine == "table":
            return simulate_table(timeline, voxels, tol=tol, seed=seed, progress=progress)
        result = simulate_graphs(
            timeline, voxels, tol=tol, seed=seed, graph=choice.graph, rotations=choice.rotations, progress=progress
        )
    facts = {
        "states": result.states, "states_total": result.states_total, "states_dropped": result.states_dropped,
        "estimated_error": result.error, "magnetisation_left_out": result.graph.lost,
    }  # fmt: skip
    return result.signal.cpu(), facts


def _angle_from_instants(timeline: Timeline, voxels: Voxels) -> float:
    """Return by what angle [rad] pulses turn voxels otherwise than instants, as the largest of their mean squares."""
    some = voxels.at(torch.arange(0, len(voxels), max(1, len(voxels) // _COMPARED)))
    rotations = pulse_rotations(timeline, some)
    largest = 0.0
    for number, (alpha, beta) in enumerate(zip(rotations.alpha, rotations.beta, strict=True)):
        pulse = int((rotations.table == number).nonzero()[0])
        shim = some.b1.new_ones(len(some.b1)) if timeline.shim is None else timeline.shim[pulse].to(some.b1.dtype)
        instant = instant_rotation(timeline.flip_angle[pulse], shim @ some.b1)
        along = (alpha.conj() * instant[0] + beta.conj() * instant[1]).real.abs().clamp(max=1)
        largest = max(largest, float((2 * torch.acos(along)).square().mean().sqrt()))
    return largest


def _cycles(timeline: Timeline, phantom: Phantom, voxels: Voxels) -> float:
    """Return the most cycles that a pulse's gradient turns the faces of a voxel against each other.

    Along an axis of one voxel, only pulses off resonance count, whose slice lies elsewhere.
    """
    size, deep = torch.tensor(voxels.size, dtype=torch.float64), torch.tensor(phantom.grid[::-1]) > 1
    turns = [(shape.duration[:, None] * shape.gradient.abs()).sum(0) * size for shape in timeline.shapes]
    pairs = set(zip(timeline.shape.tolist(), (timeline.frequency != 0).tolist(), strict=True))
    counted = [turns[shape] * (deep | away) for shape, away in pairs if shape >= 0]
    return max((float(turn.max()) for turn in counted), default=0.0)
