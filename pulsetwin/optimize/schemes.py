"""Sequences as functions of named values: what an experiment frees, and where it starts from zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.timeline import Timeline

Values = Mapping[str, Tensor]
_BENDS = 4  # sines of a curved readout


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Range and scale of a value, as of `parameters.Parameter`, and its usual size."""

    low: float = -math.inf
    high: float = math.inf
    scale: float | None = None
    unit: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Scheme:
    """A sequence that values fill in.

    Parameters
    ----------
    values
        Those of the conventional sequence, by name, float64.
    bounds
        Of each value.
    build
        Returns the timeline of values, differentiable.
    refocusing
        Whether a pulse refocuses rather than excites, bool ``[pulse]``.
    matrix
        Voxels along y and x.
    fov
        Along x, y, z [m].
    """

    values: dict[str, Tensor]
    bounds: dict[str, Bounds]
    build: Callable[[Values], Timeline]
    refocusing: Tensor
    matrix: tuple[int, int]
    fov: tuple[float, float, float]

    def timeline(self, values: Values | None = None) -> Timeline:
        """Return the timeline of some values, the others as in `values`."""
        return self.build(self.values | dict(values or {}))


def gradient_echoes(
    *, matrix: int = 48, fov: float = 0.2, thickness: float = 8e-3, flip_angle: float = math.radians(5),
    tr: float = 20e-3, te: float = 3e-3, dwell: float = 40e-6, trajectory: str = "cartesian",
    spoiling: float = 2.0, rf_spoiling: float = math.radians(84), readouts: int | None = None,
    largest_moment: float = math.inf,
) -> Scheme:  # fmt: skip
    """Return a gradient-echo sequence from equilibrium: a readout of `matrix` samples after each pulse.

    Its values: ``flip_angle`` and ``phase`` [rad] ``[pulse]``, which the receiver's phase follows; k at the echo,
    ``centre``, its way over the readout, ``readout``, and the moment after it, ``spoil`` [1/m], ``[pulse, 2]`` along
    x and y; and how the readout bends, ``bend`` [1/m], ``[pulse, mode, 2]``: sines of half a period and its multiples,
    0 at both ends.

    Parameters
    ----------
    matrix
        Samples, lines, and voxels along x and y.
    fov, thickness
        Field of view in the plane, and thickness of the slice [m].
    flip_angle
        Of all pulses [rad].
    tr, te, dwell
        Repetition, echo and dwell time [s].
    trajectory
        ``cartesian``, lines in ascending order, or ``radial``, spokes over half a turn in ascending order.
    spoiling
        Cycles across a voxel that the gradients leave along the readout after each repetition.
    rf_spoiling
        Increment of the phase's increment [rad].
    readouts
        How many are played: of the `matrix` lines those about the centre of k-space, or so many spokes, evenly spaced
        over half a turn; None for as many as `matrix`.
    largest_moment
        Bound of all moments [1/m].

    Raises
    ------
    ProtocolError
        If the readout does not fit, there are more readouts than lines, or the trajectory is not known.
    """
    count = matrix if readouts is None else readouts
    if not 1 <= count <= matrix:
        raise ProtocolError(f"gradient echoes: {count} readouts of {matrix} lines: give 1 to {matrix}")
    before, after = te - (matrix // 2) * dwell, tr - te - (matrix - 1 - matrix // 2) * dwell
    if before <= 0 or after <= 0:
        raise ProtocolError(f"gradient echoes: {matrix} samples of {dwell:g} s do not fit TE {te:g} s, TR {tr:g} s")
    centre, readout = _lines(matrix, count, fov, trajectory)
    number = torch.arange(count, dtype=torch.float64)
    direction = readout / readout.norm(dim=1, keepdim=True)
    values = {
        "flip_angle": torch.full((count,), flip_angle, dtype=torch.float64),
        "phase": torch.remainder(rf_spoiling * number * (number + 1) / 2, 2 * math.pi), "centre": centre,
        "readout": readout, "bend": torch.zeros(count, _BENDS, 2, dtype=torch.float64),
        "spoil": spoiling * matrix / fov * direction - centre - readout * ((matrix - 1 - matrix // 2) / matrix),
    }  # fmt: skip
    lengths = torch.tensor([before] + [dwell] * (matrix - 1) + [after], dtype=torch.float64).repeat(count)
    sampled = torch.tensor(([True] * matrix + [False]) * count)
    empty = Timeline.zeros(lengths, torch.full((count,), matrix + 1), sampled)
    place = torch.linspace(0, math.pi, matrix, dtype=torch.float64)
    modes = torch.sin(torch.arange(1, _BENDS + 1)[:, None] * place).diff(dim=1)

    def build(values: Values) -> Timeline:
        step = values["readout"] / matrix
        first = values["centre"] - step * (matrix // 2)
        inner = step[:, None] + torch.einsum("pmd,ms->psd", values["bend"], modes)
        moment = torch.cat((first[:, None], inner, values["spoil"][:, None]), 1).reshape(-1, 2)
        return replace(
            empty, flip_angle=values["flip_angle"], phase=values["phase"], moment=_in_space(moment),
            sample_phase=(math.pi / 2 - values["phase"]).repeat_interleave(matrix),
        )  # fmt: skip

    width = matrix / fov
    moments = Bounds(-largest_moment, largest_moment, scale=width / 10, unit=width)
    bounds = {"flip_angle": Bounds(scale=0.05, unit=0.05), "phase": Bounds(unit=math.pi)}
    bounds |= dict.fromkeys(("centre", "readout", "bend"), moments)
    bounds["spoil"] = replace(moments, scale=width, unit=10 * width)  # less than a turn across a voxel spoils nothing
    refocusing = torch.zeros(count, dtype=torch.bool)
    return Scheme(values, bounds, build, refocusing, (matrix, matrix), (fov, fov, thickness))


def _lines(matrix: int, count: int, fov: float, trajectory: str) -> tuple[Tensor, Tensor]:
    """Return k at the echo and its way over the readout [1/m], each ``[line, 2]``."""
    width, number = matrix / fov, torch.arange(count, dtype=torch.float64)
    zero = torch.zeros_like(number)
    if trajectory == "cartesian":
        place = (number + (matrix - count) // 2 - matrix // 2) / fov
        return torch.stack((zero, place), 1), torch.stack((zero + width, zero), 1)
    if trajectory == "radial":
        angle = number * math.pi / count
        return torch.stack((zero, zero), 1), width * torch.stack((angle.cos(), angle.sin()), 1)
    raise ProtocolError(f"gradient echoes: trajectory {trajectory!r} is neither cartesian nor radial")


def spin_echoes(
    *, matrix: int = 96, fov: float = 0.2, thickness: float = 8e-3, refocusing: float = math.pi,
    echo_spacing: float = 6e-3, dwell: float = 40e-6, crushing: float = 1.0, order: str = "centric",
) -> Scheme:  # fmt: skip
    """Return a single-shot RARE: a 90 degree pulse and a refocusing pulse for each line.

    Its values: ``refocusing`` [rad] ``[line]``, flip angles of the refocusing pulses.

    Parameters
    ----------
    matrix
        Samples, lines, and voxels along x and y.
    fov, thickness
        Field of view in the plane, and thickness of the slice [m].
    refocusing
        Flip angle of all refocusing pulses [rad].
    echo_spacing, dwell
        [s].
    crushing
        Cycles across a voxel, beyond those of the readout, from one refocusing pulse to the next.
    order
        ``centric`` or ``linear`` order of the lines.

    Raises
    ------
    ProtocolError
        If the readout does not fit, or the order is not known.
    """
    half = matrix // 2
    before, after = echo_spacing / 2 - half * dwell, echo_spacing / 2 - (matrix - 1 - half) * dwell
    if before <= 0 or after <= 0 or order not in ("centric", "linear"):
        raise ProtocolError(f"spin echoes: {matrix} samples of {dwell:g} s in {echo_spacing:g} s, order {order!r}: "
                            "they must fit, centric or linear")  # fmt: skip
    lengths = [echo_spacing / 2] + ([before] + [dwell] * (matrix - 1) + [after]) * matrix
    sampled = torch.tensor([False] + ([True] * matrix + [False]) * matrix)
    intervals = torch.tensor([1] + [matrix + 1] * matrix)
    empty = Timeline.zeros(torch.tensor(lengths, dtype=torch.float64), intervals, sampled)
    filled = replace(
        empty, moment=_in_space(_echo_moments(matrix, fov, crushing, order)),
        phase=torch.tensor([0.0] + [math.pi / 2] * matrix, dtype=torch.float64),
        sample_phase=torch.full((matrix * matrix,), math.pi / 2, dtype=torch.float64),
    )  # fmt: skip

    def build(values: Values) -> Timeline:
        excitation = torch.full((1,), math.pi / 2, dtype=torch.float64)
        return replace(filled, flip_angle=torch.cat((excitation, values["refocusing"])))

    return Scheme(
        {"refocusing": torch.full((matrix,), refocusing, dtype=torch.float64)},
        {"refocusing": Bounds(scale=1.0)}, build, torch.arange(matrix + 1) > 0, (matrix, matrix), (fov, fov, thickness),
    )  # fmt: skip


def _echo_moments(matrix: int, fov: float, crushing: float, order: str) -> Tensor:
    """Return the moments of a RARE [1/m], ``[interval, 2]``."""
    step, half = 1 / fov, matrix // 2
    whole = (1 + crushing) * matrix * step
    line = centric_lines(matrix) if order == "centric" else torch.arange(matrix) - half
    moment = torch.zeros(matrix, matrix + 1, 2, dtype=torch.float64)
    moment[:, 1:-1, 0] = step
    moment[:, 0, 0], moment[:, -1, 0] = whole / 2 - half * step, whole / 2 - (matrix - 1 - half) * step
    moment[:, 0, 1], moment[:, -1, 1] = line * step, -line * step
    return torch.cat((torch.tensor([[whole / 2, 0.0]], dtype=torch.float64), moment.reshape(-1, 2)))


def centric_lines(matrix: int) -> Tensor:
    """Return the lines from the centre of k-space, which is 0, outwards, int64 ``[line]``."""
    line = torch.arange(matrix) - matrix // 2
    return line[torch.argsort(line.abs(), stable=True)]


def _in_space(moment: Tensor) -> Tensor:
    """Return moments along x and y, ``[interval, 2]``, as moments along x, y, z."""
    return torch.cat((moment, torch.zeros_like(moment[:, :1])), 1)
