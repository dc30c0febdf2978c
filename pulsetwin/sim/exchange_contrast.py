"""Magnetisation of water that exchanges with the pools of a phantom, just after each excitation of a sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from pulsetwin.progress import Progress, silent
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.seqfile import RF, SeqFile
from pulsetwin.sim.bloch_mcconnell import pool_model
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import play_entries
from pulsetwin.sim.bloch_mcconnell.pool_model import GAMMA, PoolModel
from pulsetwin.sim.phantom import Pool, Voxels

_PART = 4096  # tissues of a piece of work


def contrast(seq: SeqFile, voxels: Voxels, b0: float, progress: Progress = silent) -> tuple[Array, Array, Array]:
    """Return the transverse magnetisation of distinct tissues at the centre of each excitation, in the twin's signs.

    It is what is there at the pulse's end without the relaxation and precession since its centre, from which readouts
    count; the magnetisation is carried through the whole scan, and that of pools is not seen itself.

    Parameters
    ----------
    seq
        The sequence.
    voxels
        The object; each with its relaxation times, fields, and pools.
    b0
        Field strength [T].
    progress
        Called with tissues done, their number and what is done.

    Returns
    -------
    magnetisation
        Relative to water in equilibrium, complex128 ``[excitation, tissue]``.
    pulse
        Number of each excitation among the pulses of `seq`, ``[excitation]``.
    tissue
        That each voxel is made of, ``[voxel]``.

    Raises
    ------
    MismatchError
        If `b0` is not the field of the sequence.
    """
    model, names, table = _tissues(voxels, b0)
    distinct, tissue = np.unique(table, axis=0, return_inverse=True)
    program = compile_seq(seq, model, reset=False, at_excitations=True)
    values = np.empty((program.records, len(distinct)), np.complex128)
    for first in range(0, len(distinct), _PART):
        some = slice(first, first + _PART)
        played = play_entries(
            program, model, names, distinct[some], observe="transverse", threads=torch.get_num_threads()
        )
        values[:, some] = played.T.conj()
        progress(min(first + _PART, len(distinct)), len(distinct), "exchange")
    row = seq.events[program.record_block, RF]
    late = seq.rf.duration[row] - seq.rf.center[row]
    ppm = 1e-6 * model.gamma * b0
    rate = 1 / distinct[:, names.index("t2")] + 1j * ppm * distinct[:, names.index("b0_shift")]
    pulse = np.cumsum(seq.events[:, RF] != NONE)[program.record_block] - 1
    return values * np.exp(np.outer(late, rate)), pulse, tissue.ravel()


def _tissues(voxels: Voxels, b0: float) -> tuple[PoolModel, list[str], Array]:
    """Return the model of the first voxel, the names of what varies, and its values ``[voxel, parameter]``."""
    columns = {
        "t1": voxels.t1, "t2": voxels.t2, "b0_shift": voxels.b0 / (1e-6 * GAMMA * b0 / (2 * math.pi)),
        "b1": voxels.b1[0].abs(),
    }  # fmt: skip
    pools = []
    for number, pool in enumerate(voxels.pools):
        maps = dict(_maps(pool, len(voxels)))
        pools.append(pool_model.Pool(f"pool{number}", shift=pool.shift, **{k: float(v[0]) for k, v in maps.items()}))
        columns |= {f"pool{number}.{name}": values for name, values in maps.items()}
    model = PoolModel(float(voxels.t1[0]), float(voxels.t2[0]), tuple(pools), b0, reset=False)
    return model, list(columns), np.stack([one.detach().cpu().double().numpy() for one in columns.values()], 1)


def _maps(pool: Pool, count: int) -> Iterator[tuple[str, Tensor]]:
    for field in fields(Pool):
        if field.name != "shift":
            yield field.name, getattr(pool, field.name).expand(count)
