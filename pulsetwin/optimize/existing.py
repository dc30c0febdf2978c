"""Any `.seq`, its pulses freed to be learnt and patched back: what was not freed stays byte for byte."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.export.patch import Changes
from pulsetwin.export.rf_power import pulse_energy
from pulsetwin.optimize.loop import Loss, optimise
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.progress import Progress, silent
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, SeqFile, read_seq
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

USES = {"all": "erispou", "excitation": "eu", "refocusing": "r", "inversion": "i", "saturation": "s",
        "preparation": "p", "other": "o"}  # fmt: skip
_EXCITATION_LIMIT, _MARGIN = math.radians(90.01), math.radians(1e-3)
_STATES, _TOLERANCE, _EXPECTED = 256, 1e-3, 0.8  # states of a pulse, kept to a signal's share, at a share of the angles
_STRICT = 10.0  # weight of the energy above what is wanted against the squared change of the signal


@dataclass(frozen=True, slots=True, eq=False)
class Existing:
    """A sequence that was read, and what the twin sees of it.

    Parameters
    ----------
    seq
        The file.
    timeline
        What it plays, see `timeline_from_seq`.
    block
        Row of each pulse's block, `NONE` for a pulse that only the timeline has, int64 ``[pulse]``.
    energy
        Integral of ``(gamma B1 / 2 pi)^2`` of each pulse as stored [Hz], float64 ``[pulse]``.
    """

    seq: SeqFile
    timeline: Timeline
    block: Tensor
    energy: Tensor

    def played(self, *, flip_angle: Tensor | None = None, phase: Tensor | None = None) -> Timeline:
        """Return the timeline with other flip angles and phases [rad] ``[pulse]``, differentiable in them."""
        flip_angle = self.timeline.flip_angle if flip_angle is None else flip_angle
        return replace(self.timeline, flip_angle=flip_angle, phase=self.timeline.phase if phase is None else phase)

    def relative_energy(self, flip_angle: Tensor) -> Tensor:
        """Return the RF energy with other flip angles [rad] ``[pulse]`` over that of the file; differentiable."""
        return (self.energy * self._scale(flip_angle).square()).sum() / self.energy.sum()

    def changes(self, *, flip_angle: Tensor | None = None, phase: Tensor | None = None) -> Changes:
        """Return what `export.patch` is to change for flip angles and phases of the timeline [rad] ``[pulse]``.

        A `.seq` counts phases the other way round.
        """
        return Changes(
            rf_scale=None if flip_angle is None else self._by_block(self._scale(flip_angle), 1.0),
            rf_phase=None if phase is None else self._by_block(self.timeline.phase - phase, 0.0),
        )

    def _scale(self, flip_angle: Tensor) -> Tensor:
        """Return the factor of each pulse's amplitude; a stored angle of 0 stays."""
        stored = self.timeline.flip_angle
        if bool(((stored == 0) & (flip_angle != 0)).any()):
            raise ProtocolError(f"{self.seq.path.name}: a pulse of 0 degrees cannot be scaled to another angle")
        return torch.where(stored == 0, 1.0, flip_angle / torch.where(stored == 0, 1.0, stored))

    def _by_block(self, value: Tensor, otherwise: float) -> np.ndarray:
        spread = np.full(len(self.seq), otherwise)
        played = self.block != NONE
        spread[self.block[played].numpy()] = value.detach()[played].numpy()
        return spread


@dataclass(frozen=True, slots=True, eq=False)
class FreePulses:
    """Pulses that may change, and which parameter each follows.

    Parameters
    ----------
    pulse
        Numbers in the timeline, int64 ``[freed]``.
    owner
        Parameter of each, int64 ``[freed]``.
    low, high
        Flip angles [rad] between which a file of this version says of the pulses what they are for.
    """

    pulse: Tensor
    owner: Tensor
    low: float
    high: float

    def start(self, stored: Tensor) -> Tensor:
        """Return the parameters of `stored` values ``[pulse]``, ``[parameter]``: those of each one's first pulse."""
        first = np.unique(self.owner.numpy(), return_index=True)[1]
        return stored[self.pulse[torch.from_numpy(first)]]

    def put(self, values: Tensor, stored: Tensor) -> Tensor:
        """Return `stored` ``[pulse]`` with the `values` ``[parameter]`` of the pulses that are free."""
        return stored.index_copy(0, self.pulse, values[self.owner])


def existing(seq: SeqFile | str | Path, *, field_strength: float | None = None) -> Existing:
    """Return a sequence whose pulses may be freed.

    Parameters
    ----------
    seq
        What `read_seq` returned, or the path of a `.seq`.
    field_strength
        Main field [T] for offsets in ppm; by default `B0` of the file's `[DEFINITIONS]`.

    Raises
    ------
    SeqError, ProtocolError
        As `read_seq` and `timeline_from_seq`.
    """
    seq = seq if isinstance(seq, SeqFile) else read_seq(seq)
    timeline = timeline_from_seq(seq, field_strength=field_strength)
    block = np.nonzero(seq.events[:, RF] != NONE)[0]
    row, event = np.unique(seq.events[block, RF], return_inverse=True)
    energy = np.array([pulse_energy(seq, int(one))[1][-1] for one in row])[event]
    alone = timeline.pulses - len(block)  # a pulse of 0 rad where samples precede the first
    return Existing(
        seq, timeline, torch.from_numpy(np.append(np.full(alone, NONE), block)),
        torch.from_numpy(np.append(np.zeros(alone), energy)),
    )  # fmt: skip


def free_pulses(
    sequence: Existing, use: str = "all", *, blocks: tuple[int, int] | None = None, tied: bool = False
) -> FreePulses:
    """Free pulses of a sequence.

    Files before 1.5 do not state uses: their readers take pulses up to 90 degrees for excitations and stronger ones
    for refocusings or saturations. The bounds keep flip angles on the side where the file has them.

    Parameters
    ----------
    sequence
        The sequence.
    use
        One of `USES`; ``excitation`` includes pulses of undefined use.
    blocks
        First and last number of the blocks that may change, as in the file; all by default.
    tied
        Whether pulses that share an event in the file share a parameter; else each has its own.

    Raises
    ------
    ProtocolError
        If the use is unknown, or no such pulse is there.
    """
    if use not in USES:
        raise ProtocolError(f"use {use!r} is unknown: choose one of {', '.join(USES)}")
    seq, block = sequence.seq, sequence.block.numpy()
    row = np.where(block == NONE, NONE, seq.events[block, RF])
    first, last = blocks if blocks is not None else (seq.number.min(), seq.number.max())
    chosen = np.isin(np.append(seq.rf.use, "")[row], list(USES[use]))
    chosen &= (block != NONE) & (seq.number[block] >= first) & (seq.number[block] <= last)
    pulse = np.nonzero(chosen)[0]
    if not len(pulse):
        raise ProtocolError(f"{seq.path.name}: no pulse of use {use} in blocks {first} to {last}: choose others")
    owner = np.unique(row[pulse], return_inverse=True)[1] if tied else np.arange(len(pulse))
    return FreePulses(torch.from_numpy(pulse), torch.from_numpy(owner), *_bounds(seq, use, row[pulse]))


def _bounds(seq: SeqFile, use: str, row: np.ndarray) -> tuple[float, float]:
    uses = set(seq.rf.use[row].tolist())
    if seq.version >= (1, 5, 0):
        return 0.0, math.inf
    if uses == {"e"}:
        return 0.0, _EXCITATION_LIMIT - _MARGIN
    if "e" not in uses:
        return _EXCITATION_LIMIT + _MARGIN, math.inf
    raise ProtocolError(
        f"{seq.path.name}: {use} includes excitations and others, which files before 1.5 tell apart by their flip "
        "angles alone: free them one by one"
    )


def cut_energy(
    sequence: Existing, free: Mapping[str, FreePulses], voxels: Voxels, share: float, *, steps: int = 40,
    checkpoint: Path | None = None, progress: Progress = silent,
) -> tuple[Tensor, list[dict[str, float]]]:  # fmt: skip
    """Lower the RF energy of a sequence to a share of it, with as little change of the signal as possible.

    The loss is ``|s - s0|^2 / |s0|^2 + 10 max(0, E / E0 - share)^2``, made small by L-BFGS through graphs of
    instantaneous pulses, from 0.8 times the angles on. In a fully sampled Cartesian scan the relative change of the
    signal is that of its images.

    Parameters
    ----------
    sequence
        The sequence.
    free
        Pulses whose flip angles may change, by name. No angle grows beyond the largest of its group.
    voxels
        The object along the gradients, see `acquire.along_gradients`.
    share
        Energy to reach over that of the file.
    steps, checkpoint, progress
        See `loop.optimise`.

    Returns
    -------
    Tensor
        Flip angles [rad] ``[pulse]``, at the lowest loss.
    list
        For each step ``loss``, ``change`` and ``energy``.

    Raises
    ------
    ProtocolError
        If the share is not between 0 and 1.
    DivergedError
        As `loop.optimise`.
    """
    if not 0 < share < 1:
        raise ProtocolError(f"share = {share:g} of the RF energy: give more than 0 and less than 1")
    stored = sequence.timeline.flip_angle
    starts = {name: one.start(stored) for name, one in free.items()}
    begun = {name: (start * _EXPECTED).clamp_min(free[name].low) for name, start in starts.items()}
    lower = _put(free, begun, stored)
    with torch.no_grad():
        # states that matter once the angles are lower, where pathways are more
        graph = simulate_graphs(
            sequence.played(flip_angle=lower), voxels, tol=_TOLERANCE, max_states=_STATES, progress=progress
        ).graph
        target = simulate_graphs(sequence.timeline, voxels, graph=graph).signal
        power = torch.view_as_real(target).square().sum().double()

    def loss(values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        flip_angle = _put(free, values, stored)
        signal = simulate_graphs(sequence.played(flip_angle=flip_angle), voxels, graph=graph).signal
        change = torch.view_as_real(signal - target).square().sum().double() / power
        energy = sequence.relative_energy(flip_angle)
        total = change + _STRICT * torch.relu(energy - share).square()
        return Loss(total, {"change": change.detach().sqrt(), "energy": energy})

    parameters = {
        name: Parameter(begun[name], free[name].low, min(free[name].high, float(start.max()) * (1 + 1e-3)))
        for name, start in starts.items()
    }
    learnt = optimise(loss, parameters, method="lbfgs", steps=steps, rate=1.0, checkpoint=checkpoint, progress=progress)
    return _put(free, learnt.best, stored), learnt.history


def _put(free: Mapping[str, FreePulses], values: Mapping[str, Tensor], stored: Tensor) -> Tensor:
    for name, one in free.items():
        stored = one.put(values[name], stored)
    return stored
