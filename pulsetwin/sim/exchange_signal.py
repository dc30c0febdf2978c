"""The signal of a phantom with exchanging pools: contrast by Bloch-McConnell equations, and the real readouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sim.exchange_contrast import contrast
from pulsetwin.sim.grid_encoding import grid_of
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.table import encode
from pulsetwin.sim.table_encoding import grouped_readouts
from pulsetwin.sim.table_tissues import Basis
from pulsetwin.sim.timeline import Timeline

_ALIKE = 1e-6  # singular values of the tissues' magnetisation, relative to the largest, that are left out


def simulate_exchange(
    seq: SeqFile, timeline: Timeline, voxels: Voxels, b0: float | None, progress: Progress = silent
) -> tuple[Tensor, dict[str, Any]]:
    """Return the signal, complex64 ``[coil, sample]``, and facts of the simulation.

    Each readout encodes what the excitation before it leaves of water: with T2 and T2', off-resonance and coils.
    Transverse magnetisation that gradients have dephased by a cycle in 2 cm is gone at the next pulse, so there are no
    stimulated echoes. Left out: gradients during pulses, which act as in the middle of their slice; diffusion; exchange
    during readouts.

    Parameters
    ----------
    seq, timeline
        The sequence, twice.
    voxels
        The object, on a grid.
    b0
        Field strength [T].
    progress
        Called with work done, its total and what is done.

    Raises
    ------
    ProtocolError
        If the field is not known, voxels are not on a grid, or transmission is parallel.
    MismatchError
        If `b0` is not the field of the sequence.
    """
    if b0 is None:
        raise ProtocolError("pools are in ppm, and the field is not known: give a scanner, or define B0 in the .seq")
    if timeline.shim is not None or len(voxels.b1) > 1:
        raise ProtocolError("transmission is parallel, which exchange with pools is not simulated with: give one field")
    if grid_of(voxels.position.detach().double().numpy()) is None:
        raise ProtocolError("voxels lie on no grid, as exchange with pools needs them to: give a phantom")
    values, pulse, tissue = contrast(seq, voxels, b0, progress)
    excitations, tissues = values.shape
    # a sequence that samples before its first pulse has one more on its timeline, of 0 rad
    column = np.full(timeline.pulses, excitations)
    column[pulse + timeline.pulses - np.count_nonzero(seq.events[:, RF] != NONE)] = np.arange(excitations)
    readouts = [one for one in grouped_readouts(timeline) if (column[one.pulse] < excitations).any()]
    course, weight = _factors(np.concatenate((values, np.zeros((1, tissues)))))
    basis = Basis(course, weight[:, tissue], tissues, _ALIKE)
    signal = np.zeros((len(voxels.coils), timeline.samples), np.complex64)
    still = np.zeros((1, 4), np.int64)
    encode(signal, timeline, voxels, readouts, basis, [column[one.pulse] for one in readouts], still, _ALIKE)
    return torch.from_numpy(signal), {"tissues": tissues, "pools": len(voxels.pools), "images": course.shape[1]}


def _factors(values: Array) -> tuple[Array, Array]:
    """Return ``values ~ course @ weight`` of as low a rank as will do, complex64."""
    course, size, weight = np.linalg.svd(values, full_matrices=False)
    kept = size > _ALIKE * size[0]
    return (course[:, kept] * size[kept]).astype(np.complex64), weight[kept].astype(np.complex64)
