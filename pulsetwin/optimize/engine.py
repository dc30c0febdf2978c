"""Which engine plays the sequences of an experiment: chosen once, by the sequence that learning starts with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.isochromat_torch import differentiable_isochromats
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

_SPINS_IN_ALL, _MOST, _FEWEST = 10**9, 4096, 256  # times intervals, and those of a voxel, in the reference
_OTHER_SEED = 1  # of the reference, so that its errors are its own


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, how fine it is, and why it was chosen.

    Parameters
    ----------
    name
        ``graphs`` or ``isochromats``.
    states
        Most states of the graph in a repetition.
    spins
        Isochromats in a voxel.
    why
        The reason, in words.
    """

    name: str
    states: int
    spins: int
    why: str = "asked for"

    def signal(self, timeline: Timeline, voxels: Voxels) -> Tensor:
        """Return the signal, complex ``[coil, sample]``, differentiable in the timeline."""
        if self.name == "graphs":
            return simulate_graphs(timeline, voxels, max_states=self.states).signal
        return differentiable_isochromats(timeline, voxels, spins=self.spins)

    def dropped(self, timeline: Timeline, voxels: Voxels) -> int:
        """Return how many states of a sequence its graph leaves out, 0 of isochromats."""
        if self.name != "graphs":
            return 0
        with torch.no_grad():
            return build_graph(timeline, voxels, max_states=self.states).dropped


def choose_engine(name: str, timeline: Timeline, voxels: Voxels, states: int, spins: int) -> Engine:
    """Return the engine of a name; of ``auto``, the one that is nearer to the truth.

    Graphs play a sequence all of whose states they may keep. Where they may not, as the sequence has too little
    structure for them to meet, both engines play it, and the one is taken whose signal differs less from that of many
    isochromats at other points.

    Parameters
    ----------
    name
        ``auto``, ``graphs`` or ``isochromats``.
    timeline
        The sequence that learning starts with.
    voxels
        What it images.
    states, spins
        As of `Engine`.
    """
    if name != "auto":
        return Engine(name, states, spins)
    graphs = Engine("graphs", states, spins, "all states of the first sequence are kept")
    if graphs.dropped(timeline, voxels) == 0:
        return graphs
    with torch.no_grad():
        intervals = len(voxels) * len(timeline.duration)
        many = min(_MOST, max(_FEWEST, 4 * spins, 2 ** ((_SPINS_IN_ALL // intervals).bit_length() - 1)))
        truth = simulate_isochromats(timeline, voxels, spins=many, seed=_OTHER_SEED)
        tried = [Engine(one, states, spins) for one in ("graphs", "isochromats")]
        errors = [float((one.signal(timeline, voxels) - truth).norm() / truth.norm()) for one in tried]
    name = "graphs" if errors[0] <= errors[1] else "isochromats"
    why = (
        f"graphs of {states} states differ by {100 * errors[0]:.2g} %, {spins} isochromats by {100 * errors[1]:.2g} % "
        f"from {many}"
    )
    return Engine(name, states, spins, why)
