"""What an image would be, were the magnetisation the same in all readouts: what is left is artefact of its changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.voxel_transform import voxel_transform

Play = Callable[[Timeline, Voxels], Tensor]
"""Returns the signal of a sequence, complex ``[coil, sample]``."""


def mean_magnetisation(timeline: Timeline, voxels: Voxels, kspace: Tensor, play: Play) -> Tensor:
    """Return the transverse magnetisation of each voxel, mean over the readouts at their samples nearest to k = 0.

    Parameters
    ----------
    timeline, voxels
        The sequence and the object; each voxel is heard by a coil of its own.
    kspace
        Position of each sample [1/m], ``[sample, 3]``.
    play
        What simulates.

    Returns
    -------
    Tensor
        Complex128 ``[voxel]``.
    """
    starts = timeline.readout_start.tolist()
    centre = torch.stack([a + kspace[a:b].norm(dim=1).argmin() for a, b in pairwise(starts)])
    alone = replace(voxels, coils=torch.eye(len(voxels), dtype=torch.complex128))
    few = replace(
        timeline, sample_interval=timeline.sample_interval[centre], sample_phase=timeline.sample_phase[centre],
        readout_start=torch.arange(len(centre) + 1), readout_shape=torch.arange(len(centre)),
    )  # fmt: skip
    with torch.no_grad():
        heard = play(few, alone).to(torch.complex128)
    k = kspace[centre]
    phase = torch.exp(2j * math.pi * (voxels.position @ k.T))
    return (heard * phase / voxel_transform(k, voxels.size, voxels.shape)).mean(1)


def steady_signal(magnetisation: Tensor, voxels: Voxels, kspace: Tensor) -> Tensor:
    """Return the signal of a constant magnetisation ``[voxel]`` at positions `kspace` [1/m], complex ``[sample]``."""
    weight = voxel_transform(kspace, voxels.size, voxels.shape)
    return weight * (torch.exp(-2j * math.pi * (kspace @ voxels.position.T)) @ magnetisation)
