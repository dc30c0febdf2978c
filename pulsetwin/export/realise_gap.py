"""The reality gap: a realised sequence simulated with its finite pulses across the slice, beside what was learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pulsetwin.errors import MismatchError
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import pulse_rotations
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

_WIDTH = 2.0  # of the slice, within which layers lie: beyond it, profiles of pulses have ended


@dataclass(frozen=True, slots=True, eq=False)
class RealityGap:
    """How far a realised sequence is from what was learnt.

    Parameters
    ----------
    gap
        ``|x - x0| / |x0|`` of its image x and the learnt one x0.
    scale
        Factor ``c`` of the learnt image that comes closest: the slice profile's integral is not quite its thickness.
    shape_gap
        ``|x - c x0| / |c x0|``: what remains beyond brightness.
    learnt, realised
        The images x0 and x.
    """

    gap: float
    scale: complex
    shape_gap: float
    learnt: Tensor
    realised: Tensor


def reality_gap(
    timeline: Timeline, seq: SeqFile | str | Path, voxels: Voxels, image_of: Callable[[Tensor], Tensor], *,
    max_states: int = 1000, layers: int = 17,
) -> RealityGap:  # fmt: skip
    """Return how the image of a realised sequence differs from that of the timeline with its instantaneous pulses.

    The object is extended evenly along z to twice the slice, in layers that each see the pulses' profile at their
    place, with B0, B1 and the carrier, see `pulse_rotations`.

    Parameters
    ----------
    timeline
        What was learnt.
    seq
        What it was realised as, or its path.
    voxels
        The object along the gradients, a single layer as thick as the slice.
    image_of
        From a signal, complex ``[sample]``, to the image.
    max_states
        Most states in a repetition, of both simulations.
    layers
        Of the slice and what lies around it.

    Raises
    ------
    MismatchError
        If the sequence has another number of samples.
    """
    played = timeline_from_seq(seq)
    if played.samples != timeline.samples:
        raise MismatchError(f"reality gap: {played.samples} samples are played, {timeline.samples} were learnt")
    with torch.no_grad():
        slab = across_slice(voxels, layers)
        rotations = pulse_rotations(played, slab)
        signal = simulate_graphs(played, slab, max_states=max_states, rotations=rotations).signal[0]
        target = simulate_graphs(timeline, voxels, max_states=max_states).signal[0]
        found, wanted = image_of(signal), image_of(target)
        scale = torch.vdot(wanted.flatten(), found.flatten()) / torch.vdot(wanted.flatten(), wanted.flatten())
        gap, shape_gap = (float((found - c * wanted).norm() / (c * wanted).norm()) for c in (1.0, scale))
    return RealityGap(gap, complex(scale), shape_gap, wanted, found)


def across_slice(voxels: Voxels, layers: int) -> Voxels:
    """Return the voxels of a slice as `layers` along z over twice its thickness, of the same density."""
    thickness = voxels.size[2]
    step = _WIDTH * thickness / layers
    place = (torch.arange(layers, dtype=torch.float64) - (layers - 1) / 2) * step
    index = torch.arange(len(voxels)).repeat(layers)
    slab = voxels.at(index)
    position = slab.position.clone()
    position[:, 2] += place.repeat_interleave(len(voxels)).to(position)
    density = slab.proton_density * (step / thickness)
    return replace(slab, position=position, proton_density=density, size=(*voxels.size[:2], step))
