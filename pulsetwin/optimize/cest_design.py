"""CEST-MRF schedules that tell the exchange rate best: amplitude, offset and duration of each continuous wave.

What is made small is the Cramer-Rao bound of a pool's exchange rate in proportion to that of a given schedule, in the
worst of all tissues; the pool's fraction, T1 and T2 of water and the scale of the signals are unknown as
well. Scan time and the root mean square of B1 over it are no larger than those of that schedule.

In the model, gradients spoil transverse magnetisation before each excitation and before each saturation, and
excitations act at once on all pools. Only longitudinal magnetisation is then carried on: a saturation is the block of
the Bloch-McConnell propagator between longitudinal components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pypulseq as pp
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.crlb import jacobian, variances, worst
from pulsetwin.optimize.loop import Learnt, Loss, optimise
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.progress import Progress, silent
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, schedule
from pulsetwin.sequences.cest_saturation import constant_pulse, crusher
from pulsetwin.sequences.snapshot import readout
from pulsetwin.sequences.timing import down
from pulsetwin.sim.bloch_mcconnell.generators import generators
from pulsetwin.sim.bloch_mcconnell.play import with_defaults
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel

_SHARPNESS = 8.0  # of the worst case: a sharper one stays where a single tissue holds it
_INSIDE = 0.05  # of a range, by which starts lie inside: at the bounds nothing would move
_SCATTER = 0.3  # of offsets to start with [ppm]
_RASTER = 1e-3  # of saturation times [s]
_STRENGTH = 1e-9  # raster of B1 [T]
_OFFSET = 1e-3  # raster of offsets [ppm]


@dataclass(frozen=True, slots=True)
class Limits:
    """Between what values are sought.

    Parameters
    ----------
    b1
        Of each saturation [T].
    offset
        Of its frequency from water [ppm].
    least_time
        Of each saturation [s].
    """

    b1: tuple[float, float] = (0.0, 6e-6)
    offset: tuple[float, float] = (1.0, 5.0)
    least_time: float = 0.1


@dataclass(frozen=True, slots=True)
class Frame:
    """What stays the same: pools, and the parts of a measurement besides its saturation.

    Parameters
    ----------
    model
        Pools and field.
    larmor
        Frequency of 1 ppm [Hz].
    gamma
        Nutation frequency per B1 [Hz/T].
    flip_angle
        Of the excitations [rad].
    before, after
        From the end of a saturation to the centre of the excitation, and from there to the next saturation [s].
    """

    model: PoolModel
    larmor: float
    gamma: float
    flip_angle: float
    before: float
    after: float


def frame_of(protocol: Protocol, model: PoolModel, scanner: Scanner) -> Frame:
    """Return what stays the same of a protocol.

    Raises
    ------
    ProtocolError
        If the saturations are no continuous waves, nothing spoils between them and the excitations, an image has
        several excitations, or flip angles or recoveries differ.
    """
    rows = schedule(protocol)
    if protocol.saturation != "cw" or protocol.crushing == 0 or protocol.readout != "epi" or protocol.shots > 1:
        raise ProtocolError(f"saturation = {protocol.saturation}, crushing = {protocol.crushing:g}, readout = "
                            f"{protocol.readout}, shots = {protocol.shots}: give cw, a crusher, epi and 1")  # fmt: skip
    if len({(row.flip_angle, row.recovery) for row in rows}) > 1 or rows[0].recovery is None:
        raise ProtocolError("flip_angle and recovery: give one of each")
    shot = readout(protocol, rows[0].flip_angle, scanner)
    pulse = constant_pulse(1e-9, 1.0, 0.0, 0.0, scanner)
    beside = pp.calc_duration(*pulse) - 1.0 - scanner.rf_dead_time  # of a saturation's block, after it
    before = beside + pp.calc_duration(*crusher(protocol.crushing, protocol, scanner)) + shot.centre
    after = shot.duration - shot.centre + rows[0].recovery + scanner.rf_dead_time
    larmor = 1e-6 * scanner.gamma * scanner.field_strength
    return Frame(model, larmor, scanner.gamma, rows[0].flip_angle, before, after)


def signals(frame: Frame, values: Mapping[str, Tensor], tissue: Mapping[str, Tensor]) -> Tensor:
    """Return the magnitude of transverse magnetisation after each excitation, differentiable in all.

    Parameters
    ----------
    frame
        What stays the same.
    values
        ``b1`` [T], ``offset`` [ppm] and ``saturation_time`` [s] of each measurement, ``[measurement]``.
    tissue
        Parameters of the model by their names, and ``m0``, the scale of the signals, ``[...]``.

    Returns
    -------
    Tensor
        ``[..., measurement]``.
    """
    shape, pools = tissue["m0"].shape, 1 + len(frame.model.free)
    flat = with_defaults(frame.model, {name: value.reshape(-1) for name, value in tissue.items() if name != "m0"})
    played = generators(frame.model, flat, values["offset"] * frame.larmor, values["b1"] * frame.gamma, "physical")
    free = generators(frame.model, flat, *torch.zeros(2, 1, dtype=torch.float64), "physical")[:, 0]

    def longitudinal(generator: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(generator)[..., 2 * pools :, 2 * pools :]

    saturated = longitudinal(played * values["saturation_time"][:, None, None])
    before, after = (longitudinal(free * time) for time in (frame.before, frame.after))
    tipped = torch.ones(before.shape[-1], dtype=torch.float64)
    tipped[:pools] = math.cos(frame.flip_angle)
    on = after * tipped
    pool = [flat[f"{one.name}.fraction"] for one in (*frame.model.free, *frame.model.semisolid)]
    state, seen = torch.stack([torch.ones_like(flat["t1"]), *pool, torch.ones_like(flat["t1"])], -1)[..., None], []
    for number in range(saturated.shape[1]):
        excited = before @ (saturated[:, number] @ state)
        seen.append(excited[:, 0, 0])
        state = on @ excited
    return math.sin(frame.flip_angle) * tissue["m0"][..., None] * torch.stack(seen, -1).unflatten(0, shape).abs()


def tissues(frame: Frame, fractions: tuple[float, ...], rates: tuple[float, ...]) -> dict[str, Tensor]:
    """Return tissues of every fraction and exchange rate [1/s] of the first pool, all else as the model, ``[tissue]``.

    Rates of a fraction follow one another.
    """
    name, own = frame.model.pools[0].name, frame.model
    table = torch.tensor([(rate, fraction, own.t1, own.t2, 1.0) for fraction, rate in product(fractions, rates)],
                         dtype=torch.float64)  # fmt: skip
    return dict(zip((f"{name}.exchange_rate", f"{name}.fraction", "t1", "t2", "m0"), table.unbind(1), strict=True))


def bound(frame: Frame, values: Mapping[str, Tensor], tissue: Mapping[str, Tensor]) -> Tensor:
    """Return the least variance of the exchange rate relative to its square, for noise of 1 % of `m0`, ``[tissue]``.

    Parameters
    ----------
    frame, values
        As of `signals`.
    tissue
        From `tissues`; all of it is unknown.
    """
    rows = jacobian(lambda own: signals(frame, values, own), tissue, tuple(tissue))
    rate = next(iter(tissue.values()))
    return variances(rows, 1, 0.01 * tissue["m0"])[:, 0] / rate**2


def values_of(protocol: Protocol) -> dict[str, Tensor]:
    """Return the schedule of a protocol as `signals` takes it."""
    rows = schedule(protocol)
    return {
        name: torch.tensor([getattr(row, name) for row in rows], dtype=torch.float64)
        for name in ("b1", "offset", "saturation_time")
    }


def within(learnt: Mapping[str, Tensor], total: float, energy: float, least: float) -> dict[str, Tensor]:
    """Return a schedule of the same saturation time and no more energy, differentiable.

    Parameters
    ----------
    learnt
        ``b1``, ``offset``, and ``share``, whose softmax is what each saturation has of the time that is left.
    total
        Time of all saturations [s].
    energy
        The most that the integral of B1 squared may be [T^2 s]; beyond it, all amplitudes are made smaller.
    least
        Time of a saturation [s].
    """
    time = least + torch.softmax(learnt["share"], 0) * (total - least * len(learnt["share"]))
    over = (learnt["b1"] ** 2 * time).sum() / energy
    return {
        "b1": learnt["b1"] * over.clamp_min(1).rsqrt(), "offset": learnt["offset"], "saturation_time": time
    }  # fmt: skip


def protocol_with(protocol: Protocol, values: Mapping[str, Tensor]) -> Protocol:
    """Return the protocol that plays a schedule, which becomes neither longer nor stronger by rounding."""
    return replace(
        protocol, b1=tuple(down(one, _STRENGTH) for one in values["b1"].tolist()),
        offset=tuple(round(one / _OFFSET) * _OFFSET for one in values["offset"].tolist()),
        saturation_time=tuple(down(one, _RASTER) for one in values["saturation_time"].tolist()),
    )  # fmt: skip


def design(
    protocol: Protocol, model: PoolModel, scanner: Scanner, tissue: Mapping[str, Tensor], *,
    limits: Limits | None = None, steps: int = 150, seed: int = 0, checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[Protocol, Learnt]:  # fmt: skip
    """Return the protocol of the same time and energy whose worst bound is least, and how it was learnt.

    Parameters
    ----------
    protocol
        With whose bound each tissue's is compared, and whose time and energy are kept.
    model
        Pools and field.
    scanner
        Whose field and rasters are kept.
    tissue
        Where the bound is taken, from `tissues`.
    limits
        Of what is sought.
    steps, seed, checkpoint, progress
        As of `loop.optimise`.

    Raises
    ------
    ProtocolError
        As `frame_of`.
    """
    limits, frame, start = limits or Limits(), frame_of(protocol, model, scanner), values_of(protocol)
    total, energy = start["saturation_time"].sum(), (start["b1"] ** 2 * start["saturation_time"]).sum()
    reference = bound(frame, start, tissue)

    def loss(learnt: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        ratio = bound(frame, within(learnt, float(total), float(energy), limits.least_time), tissue) / reference
        return Loss(worst(ratio, _SHARPNESS), {"worst": ratio.max(), "mean": ratio.mean()})

    parameters = _scattered(start, limits, torch.Generator().manual_seed(seed))
    learnt = optimise(loss, parameters, steps=steps, rate=0.1, decay=0.05, seed=seed, checkpoint=checkpoint,
                      progress=progress)  # fmt: skip
    best = within(learnt.best, float(total), float(energy), limits.least_time)
    return protocol_with(protocol, best), learnt


def _scattered(start: Mapping[str, Tensor], limits: Limits, generator: torch.Generator) -> dict[str, Parameter]:
    """Return parameters that start with amplitudes spread over their range, in any order, and offsets near the given.

    A published schedule is a poor start: amplitudes that are alike remain so.
    """
    count, like = len(start["b1"]), {"generator": generator, "dtype": torch.float64}
    low, high = limits.b1
    spread = low + (high - low) * torch.linspace(_INSIDE, 1 - _INSIDE, count, dtype=torch.float64)
    offset = start["offset"] + _SCATTER * torch.randn(count, **like)
    edge = _INSIDE * (limits.offset[1] - limits.offset[0])
    return {
        "b1": Parameter(spread[torch.randperm(count, generator=generator)], low, high),
        "offset": Parameter(offset.clamp(limits.offset[0] + edge, limits.offset[1] - edge), *limits.offset),
        "share": Parameter(torch.zeros(count, dtype=torch.float64)),
    }
