"""QALAS protocols that tell T1 and T2 best: flip angles of the trains, echo time of the T2 preparation, and waits.

What is made small is the Cramer-Rao bound in proportion to that of the protocol from which it starts, in the worst of
all tissues, transmit fields, T1 and T2, with an inversion's efficiency that is unknown and one that is known. Proton
density is unknown as well. All that is learnt fits in the same repetition time: the waits share what preparations and
trains leave of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.crlb import jacobian, variances, worst
from pulsetwin.optimize.loop import Learnt, Loss, optimise
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.progress import Progress, silent
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.qalas import Protocol, build
from pulsetwin.sequences.timing import down, whole
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

BRAIN = {"white matter": (0.85, 0.07), "grey matter": (1.35, 0.085), "fluid": (4.0, 1.8)}
"""T1 and T2 of tissues at 3 T [s]."""
_B1 = (0.8, 1.0, 1.2)
_IE = 0.95
_UNKNOWNS = ("t1", "t2", "pd", "ie")
_SHARPNESS = 60.0  # of the worst case: no more than 7 % above it, of 36 bounds
_TE_RASTER = 1e-4  # s


@dataclass(frozen=True, slots=True)
class Limits:
    """Between what values are sought.

    Parameters
    ----------
    flip_angle
        Of each train [rad]. Small ones leave an image that is nearly noise, large ones blur what is read late.
    t2prep_te
        [s].
    """

    flip_angle: tuple[float, float] = (math.radians(2), math.radians(8))
    t2prep_te: tuple[float, float] = (0.04, 0.2)


def tissues(kinds: Mapping[str, tuple[float, float]] = BRAIN, b1: tuple[float, ...] = _B1) -> dict[str, Tensor]:
    """Return T1, T2 [s], proton density, inversion efficiency and relative B1 of all kinds in all fields, ``[tissue]``.

    Fields of a kind follow one another.
    """
    table = torch.tensor([(*kind, 1.0, _IE, field) for kind, field in product(kinds.values(), b1)], dtype=torch.float64)
    return dict(zip((*_UNKNOWNS, "b1"), table.unbind(1), strict=True))


def bound(timing: QalasTiming, tissue: Mapping[str, Tensor]) -> Tensor:
    """Return the least variances of T1 and T2, relative to their squares, for noise of 1 % of the proton density.

    Parameters
    ----------
    timing
        Times and flip angles, numbers or tensors; differentiable in the latter.
    tissue
        From `tissues`.

    Returns
    -------
    Tensor
        ``[tissue, 2, 2]``: of T1 and T2; with an efficiency of the inversion that is unknown, as for ideal pulses, and
        with one that is known, as from the simulation of real ones.
    """

    def signal(own: dict[str, Tensor]) -> Tensor:
        return signals(timing, own["t1"], own["t2"], pd=own["pd"], ie=own["ie"], b1=own["b1"])

    rows = jacobian(signal, tissue, _UNKNOWNS)
    found = torch.stack((variances(rows, 2, 0.01), variances(rows[..., :-1], 2, 0.01)), -1)
    return found / torch.stack((tissue["t1"], tissue["t2"]), 1)[..., None] ** 2


def few_lines(protocol: Protocol) -> Protocol:
    """Return the protocol with as few lines of the same resolution as fill a train: a TR after a dummy."""
    lines = 2 * math.ceil(math.sqrt(protocol.train) / 2 + 1)
    few = protocol.matrix[0], lines, lines
    fov = tuple(size * new / old for size, new, old in zip(protocol.fov, few, protocol.matrix, strict=True))
    return replace(protocol, matrix=few, fov=fov, acceleration=None, calibration=0, dummies=1, noise_samples=0)


def timing_of(protocol: Protocol, scanner: Scanner) -> QalasTiming:
    """Return the times of a repetition of a protocol."""
    return QalasTiming.from_definitions(build(few_lines(protocol), scanner).definitions)


def tightest(protocol: Protocol, scanner: Scanner) -> QalasTiming:
    """Return the times without any wait but that from the T2 preparation to the first train."""
    return timing_of(replace(protocol, inversion_gap=None, ti=None, gap=None, tr=None), scanner)


def with_waits(least: QalasTiming, tr: float, values: Mapping[str, Tensor]) -> QalasTiming:
    """Return the times with what is learnt, which are tensors, differentiable in `values`.

    Parameters
    ----------
    least
        From `tightest`.
    tr
        Repetition time [s].
    values
        ``flip_angle`` [rad], ``[5]``; ``t2prep_te`` [s]; and ``share`` ``[4]``, whose softmax is what the waits before
        and after the inversion, between the last trains (each the same) and at the end have of the time that is left.
    """
    longer = values["t2prep_te"] - least.t2prep_te
    before, after, between, _ = torch.softmax(values["share"], 0) * (tr - least.repetition_time - longer)
    later = [longer, before + after, between / 3, between / 3, between / 3]
    starts = torch.tensor(least.train_starts, dtype=torch.float64) + torch.stack(later).cumsum(0)
    return replace(
        least, t2prep_te=values["t2prep_te"], inversion_start=least.inversion_start + longer + before,
        train_starts=tuple(starts), flip_angles=tuple(values["flip_angle"]), repetition_time=tr,
    )  # fmt: skip


def protocol_with(protocol: Protocol, least: QalasTiming, timing: QalasTiming, scanner: Scanner) -> Protocol:
    """Return the protocol that plays what was learnt, its times on the rasters: no wait becomes longer."""
    raster, start, tightest_start = scanner.block_raster, timing.train_starts, least.train_starts

    def waited(number: int, begin: float, shortest: float) -> float:
        return down(float(start[number]) - float(begin) - shortest, raster) + shortest

    inversion = float(timing.inversion_start) + timing.inversion_duration / 2
    shortest_ti = tightest_start[1] - least.inversion_start - least.inversion_duration / 2
    return replace(
        protocol, flip_angle=tuple(float(angle) for angle in timing.flip_angles),
        t2prep_te=whole(float(timing.t2prep_te), _TE_RASTER),
        inversion_gap=waited(1, start[0], tightest_start[1] - tightest_start[0]), ti=waited(1, inversion, shortest_ti),
        gap=waited(2, start[1], tightest_start[2] - tightest_start[1]), tr=timing.repetition_time,
    )  # fmt: skip


def design(
    protocol: Protocol, scanner: Scanner, *, tissue: Mapping[str, Tensor] | None = None, limits: Limits | None = None,
    steps: int = 200, seed: int = 0, checkpoint: Path | None = None, progress: Progress = silent,
) -> tuple[Protocol, Learnt]:  # fmt: skip
    """Return the protocol of the same repetition time whose worst bound is least, and how it was learnt.

    Parameters
    ----------
    protocol
        Where it starts, and with whose bound each tissue's is compared.
    scanner
        Whose limits and rasters are kept.
    tissue
        Where the bound is taken, from `tissues`; by default white and grey matter and fluid with B1 of 0.8, 1 and 1.2.
    limits
        Of what is sought.
    steps, seed, checkpoint, progress
        As of `loop.optimise`.

    Raises
    ------
    ProtocolError
        If the protocol gives no repetition time, or starts outside of the limits.
    """
    if protocol.tr is None:
        raise ProtocolError("tr: give the repetition time that the waits are to share")
    tissue, limits = tissue or tissues(), limits or Limits()
    least, tr = tightest(protocol, scanner), timing_of(protocol, scanner).repetition_time
    reference = bound(timing_of(protocol, scanner), tissue)

    def loss(values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        ratio = bound(with_waits(least, tr, values), tissue) / reference
        return Loss(worst(ratio, _SHARPNESS), {"worst": ratio.max()})

    angles = torch.tensor(timing_of(protocol, scanner).flip_angles, dtype=torch.float64)
    parameters = {
        "flip_angle": Parameter(angles, *limits.flip_angle),
        "t2prep_te": Parameter(torch.tensor(protocol.t2prep_te, dtype=torch.float64), *limits.t2prep_te),
        "share": Parameter(torch.zeros(4, dtype=torch.float64)),
    }
    learnt = optimise(loss, parameters, steps=steps, rate=0.2, decay=0.02, seed=seed, checkpoint=checkpoint,
                      progress=progress)  # fmt: skip
    return protocol_with(protocol, least, with_waits(least, tr, learnt.best), scanner), learnt
