"""What the pulses of a QALAS `.seq` do: tables by Bloch simulation of the preparations, and of what spoiling leaves.

Real pulses take time: relaxation goes on during adiabatic pulses, which shortens the T2 preparation's echo time and
makes the inversion incomplete, both depending on B1. What comes out is linear in what goes in, ``M -> a M + b``, since
transverse magnetisation is spoiled before and after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.rotations import pulse_maps
from pulsetwin.sim.signal_models.qalas import Affine, signals
from pulsetwin.sim.signal_models.qalas_spoiling import spoiling_table
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.sim.signal_models.spline_table import SplineTable
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import as_seq_file, timeline_from_seq

if TYPE_CHECKING:
    from pypulseq import Sequence

R1_RANGE = (0.1, 25.0)
"""Slowest and fastest R1 [1/s] that tables know."""
# First and last knot, and their number, of ln T2 [s] and B1; number of nodes of R1.
_T2 = (math.log(0.003), math.log(6.0), 42)
_B1 = (0.45, 1.55, 37)
_NODES = 6
_TOLERANCE = 1e-4  # of magnetisation, of each pulse
_NAMES = ("T2 preparation", "inversion")


@dataclass(frozen=True, slots=True)
class QalasPulses:
    """Maps of both preparations over T1, T2, B1 and off-resonance.

    Parameters
    ----------
    t2prep_start, t2prep_end, inversion_start, inversion_end
        What the maps span, since the start of a repetition [s].
    table
        Over ln T2, B1 and, where there are several offsets, these [Hz]: for each of some Chebyshev nodes of R1,
        ``a`` and ``b`` of the T2 preparation, then of the inversion.
    spoiling
        What perfectly spoiled trains leave of the signals, over ln T1, ln T2 and B1; None to take them as perfect.
    """

    t2prep_start: float
    t2prep_end: float
    inversion_start: float
    inversion_end: float
    table: SplineTable
    spoiling: SplineTable | None = None

    def inversion(self, t1: Tensor, t2: Tensor, b1: Tensor, offset: Tensor) -> Affine:
        """Return the map of the inversion."""
        return self.both(t1, t2, b1, offset)[1]

    def both(self, t1: Tensor, t2: Tensor, b1: Tensor, offset: Tensor) -> tuple[Affine, Affine]:
        """Return the maps of both, read from the table at once."""
        found = self.table(*(t2.log(), b1, offset)[: len(self.table.count)])
        found = (found.unflatten(-1, (-1, 4)) * _node_weights(1 / t1)[..., None]).sum(-2)
        return (found[..., 0], found[..., 1]), (found[..., 2], found[..., 3])

    def left(self, t1: Tensor, t2: Tensor, b1: Tensor) -> Tensor:
        """Return what to add to the signals of perfectly spoiled trains, for a density of 1, ``[..., 5]``."""
        if self.spoiling is None:
            return t1.new_zeros((*t1.shape, CONTRASTS))
        return self.spoiling(t1.log(), t2.log(), b1)


def calibrate(
    seq: SeqFile | str | Path | Sequence,
    timing: QalasTiming | None = None,
    *,
    offsets: tuple[float, float, int] | None = None,
    diffusion: float | None = None,
) -> QalasPulses:
    """Return what the pulses of a QALAS sequence do, from simulations of these very pulses.

    Preparations by Bloch's equations, and what imperfect spoiling adds by phase graphs with diffusion.

    Parameters
    ----------
    seq
        The sequence, whose first pulse is the first of a T2 preparation.
    timing
        Its times; by default those that it states.
    offsets
        Lowest and highest off-resonance [Hz] and the number of knots; on resonance only if None. Where B1 is more than
        a quarter off, refocusing is incomplete and what a T2 preparation keeps oscillates with the offset: 50 Hz from
        knot to knot, enough for all else (3e-3), are then off by 0.1.
    diffusion
        Coefficient [m^2/s] that spoiling depends on; by default that of tissue or fluid, told by T2. A phantom of
        aqueous spheres at 20 C has 2e-9.

    Raises
    ------
    ProtocolError
        If the sequence plays no pulses where the timing says.
    """
    seq = as_seq_file(seq)
    timing = QalasTiming.from_definitions(seq.definitions) if timing is None else timing
    axes = (_T2, _B1) if offsets is None else (_T2, _B1, offsets)
    lines = [torch.linspace(low, high, count, dtype=torch.float64) for low, high, count in axes]
    t2, b1, *more, r1 = torch.meshgrid(*lines, r1_nodes(), indexing="ij")
    spins = 1 / r1, t2.exp(), b1, more[0] if more else torch.zeros_like(b1)
    timeline = timeline_from_seq(seq)
    windows, maps = preparation_maps(timeline, timing, *(x.flatten() for x in spins))
    values = torch.stack([part.reshape(r1.shape) for one in maps for part in one], -1).flatten(-2)
    first, step = zip(*((low, (high - low) / (count - 1)) for low, high, count in axes), strict=True)
    pulses = QalasPulses(*windows[0], *windows[1], SplineTable.of(values, first, step))

    def closed_form(t1: Tensor, t2: Tensor, b1: Tensor) -> Tensor:
        return signals(timing, t1, t2, b1=b1, pulses=pulses)

    return replace(pulses, spoiling=spoiling_table(timeline, _times(timeline, timing), timing, closed_form, diffusion))


def preparation_maps(
    timeline: Timeline, timing: QalasTiming, t1: Tensor, t2: Tensor, b1: Tensor, offset: Tensor
) -> tuple[list[tuple[float, float]], list[Affine]]:
    """Return when T2 preparation and inversion begin and end [s], and their maps of some spins.

    Parameters
    ----------
    timeline
        The sequence, whose first pulse is the first of a T2 preparation.
    timing
        Its times.
    t1, t2, b1, offset
        Relaxation times [s], relative transmit field and off-resonance [Hz] of each spin, ``[spin]``.
    """
    at = _times(timeline, timing)
    spans = (
        (timing.t2prep_start, timing.train_starts[0]),
        (timing.train_starts[0] + timing.train_duration, timing.train_starts[1]),
    )
    windows, maps = [], []
    for name, (begin, end) in zip(_NAMES, spans, strict=True):
        played = torch.nonzero((at >= begin - 1e-6) & (at < end - 1e-6))[:, 0].tolist()
        if not played:
            raise ProtocolError(
                f"{name}: no pulse between {1e3 * begin:.2f} and {1e3 * end:.2f} ms: pass the timing of this sequence"
            )
        window, result = _played(timeline, at, played, (t1, t2, b1, offset))
        windows.append(window)
        maps.append(result)
    return windows, maps


def _times(timeline: Timeline, timing: QalasTiming) -> Tensor:
    """Return when each pulse is, since the start of the first repetition [s]."""
    ends = timeline.duration.cumsum(0)
    at = torch.cat((ends.new_zeros(1), ends))[timeline.interval_start[:-1]]
    return at - at[timeline.flip_angle != 0][0] + timing.t2prep_start  # a noise scan may come first


def r1_nodes() -> Tensor:
    """Return the Chebyshev nodes of R1 [1/s]: what pulses do is all but a polynomial of it."""
    low, high = R1_RANGE
    turn = math.pi * (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
    return low + (high - low) / 2 * (1 - torch.cos(turn))


def _node_weights(r1: Tensor) -> Tensor:
    """Return what each node counts for, by the polynomial through all of them, ``[..., node]``."""
    nodes = r1_nodes().to(r1.dtype)
    r1 = r1.clamp(*R1_RANGE)
    others = torch.stack([nodes[torch.arange(len(nodes)) != k] for k in range(len(nodes))])
    return ((r1[..., None, None] - others) / (nodes[:, None] - others)).prod(-1)


def _played(
    timeline: Timeline, at: Tensor, pulses: list[int], spins: tuple[Tensor, ...]
) -> tuple[tuple[float, float], Affine]:
    """Return begin and end of some pulses [s], and the map of longitudinal magnetisation by them."""
    t1, t2, b1, offset = spins
    swung, made = torch.zeros(len(t1), 3, dtype=torch.float64), torch.zeros(len(t1), 3, dtype=torch.float64)
    swung[:, 2] = 1
    now = begin = None
    known: dict[tuple[float, ...], Affine] = {}
    for pulse in pulses:
        shape = timeline.shapes[int(timeline.shape[pulse])]
        kind = (int(timeline.shape[pulse]), float(timeline.flip_angle[pulse]), float(timeline.frequency[pulse]))
        if kind not in known:
            known[kind] = pulse_maps(
                shape, offset=offset, b1=b1.to(torch.complex128), t1=t1, t2=t2, flip_angle=kind[1], frequency=kind[2],
                tolerance=_TOLERANCE,
            )  # fmt: skip
        turn = _about_z(float(timeline.phase[pulse]))
        matrix, shift = turn @ known[kind][0] @ turn.T, known[kind][1] @ turn.T
        start = float(at[pulse]) - shape.center
        if now is not None:
            swung, made = _free(swung, start - now, spins, 0.0), _free(made, start - now, spins, 1.0)
        swung = (matrix @ swung[..., None])[..., 0]
        made = (matrix @ made[..., None])[..., 0] + shift
        begin = start if begin is None else begin
        now = start + float(shape.duration.sum())
    return (begin, now), (swung[:, 2], made[:, 2])


def _about_z(angle: float) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)


def _free(m: Tensor, time: float, spins: tuple[Tensor, ...], equilibrium: float) -> Tensor:
    """Return magnetisation ``[spin, 3]`` after free precession and relaxation [s]."""
    t1, t2, _, offset = spins
    transverse = torch.complex(m[:, 0], m[:, 1]) * torch.exp(-2j * math.pi * offset * time - time / t2)
    kept = torch.exp(-time / t1)
    return torch.stack((transverse.real, transverse.imag, m[:, 2] * kept + equilibrium * (1 - kept)), -1)
