"""The library's sequences as functions of their settings: timelines that are differentiable in times and angles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.protocol import settings
from pulsetwin.sim.timeline import Timeline
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

_FREED = ("flip_angle", "phase", "frequency", "duration", "moment", "sample_phase")
_PHASES = ("phase", "sample_phase")  # known but for whole turns
_STEPS = {"s": 1e-3, "rad": 1e-2}  # to both sides: many rasters of time, far above the digits of a `.seq`
_SHARE = 1e-2  # step of other settings
_STILL = 1e-5  # rad, which is less than a phase that a setting changes
_FINER = 1e4  # steps that tell whole turns apart: a `.seq` has phases to some 1e-6 rad


def from_builder(
    build: Callable[[Any, Scanner], Any], protocol: Any, free: Sequence[str], scanner: Scanner
) -> Callable[[Mapping[str, Tensor]], Timeline]:
    """Return the function from freed settings of a protocol to the timeline that the sequence plays.

    The timeline is that of the sequence as built, its times on the scanner's rasters; slopes are differences of
    sequences that are built with a setting 1 ms, 0.01 rad or 1 % higher and lower, or on one side where the other
    cannot be built or has other events. So they see through rasters, at the cost of two more builds for each number.
    Where phases change, even finer steps tell whole turns apart, as RF spoiling turns the phase by the square of the
    pulse's number: for up to 1000 pulses one more build.

    Parameters
    ----------
    build
        Of a module of `pulsetwin.sequences`, or like it.
    protocol
        The settings that are not freed.
    free
        Names of settings that are numbers or tuples of numbers; the returned function takes a float64 tensor for each.
    scanner
        Whose limits and rasters are kept.

    Raises
    ------
    ProtocolError
        If a name is no setting that a number was given for. The returned function raises what `build` does, and where
        no neighbour has the same events.
    """
    units = _units(protocol, free)

    def built(values: Mapping[str, Tensor]) -> Timeline:
        plain = {name: value.tolist() for name, value in values.items()}
        chosen = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
        return timeline_from_seq(build(replace(protocol, **chosen), scanner))

    def played(values: Mapping[str, Tensor]) -> Timeline:
        still = {name: values[name].detach() for name in free}
        here = built(still)
        changed = {name: getattr(here, name) for name in _FREED}
        for name in free:
            moved = values[name] - still[name]
            for number, part in enumerate(moved.reshape(-1) if moved.requires_grad else ()):
                slopes = _slopes(built, still, name, number, units[name], here)
                changed = {one: changed[one] + slope * part for one, slope in slopes.items()}
        return replace(here, **changed)

    return played


def protocol_parameters(protocol: Any, free: Sequence[str]) -> dict[str, Parameter]:
    """Return freed settings of a protocol as parameters, from their values, within their ranges.

    Raises
    ------
    ProtocolError
        If a name is no setting that a number was given for.
    """
    _units(protocol, free)
    ranges = {one.name: (one.low, one.high) for one in settings(protocol)}
    return {name: Parameter(torch.tensor(getattr(protocol, name), dtype=torch.float64), *ranges[name]) for name in free}


def _units(protocol: Any, free: Sequence[str]) -> dict[str, str]:
    known = {one.name: one.unit for one in settings(protocol) if one.kind is float}
    for name in free:
        if name not in known or getattr(protocol, name) is None:
            raise ProtocolError(f"{name!r} is no setting with a number in it: give it one, or free {', '.join(known)}")
    return {name: known[name] for name in free}


def _slopes(
    built: Callable[[Mapping[str, Tensor]], Timeline], values: dict[str, Tensor], name: str, number: int, unit: str,
    here: Timeline,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the change of a timeline's tensors with one number of one setting, by name."""
    size = _STEPS.get(unit, _SHARE * max(abs(float(values[name].reshape(-1)[number])), _SHARE))

    def beside(step: float) -> Timeline | None:
        there = values[name].clone()
        there.view(-1)[number] += step
        try:
            found = built(values | {name: there})
        except ProtocolError:
            return None
        return found if _alike(found, here) else None

    ends = [(step, found) for step in (size, -size) if (found := beside(step)) is not None]
    if not ends:
        raise ProtocolError(f"{name}: no sequence {size:g} beside {values[name].tolist()} has the same events")
    (high, above), (low, below) = ends[0], ends[1] if len(ends) > 1 else (0.0, here)
    change = {one: getattr(above, one) - getattr(below, one) for one in _FREED}
    nothing = dict.fromkeys(_PHASES, 0.0)
    turned = max(float(one.abs().max()) for one in _nearest(change, nothing).values())
    expected = _phase_slopes(beside, high, here) if turned > _STILL else nothing
    change |= _nearest(change, {one: slope * (high - low) for one, slope in expected.items()})
    return {one: value / (high - low) for one, value in change.items()}


def _phase_slopes(beside: Callable[[float], Timeline | None], size: float, here: Timeline) -> dict[str, Any]:
    """Return slopes of phases, by name, from steps so much finer than `size` that no pulse turns by half a turn."""
    finest = 1 / len(here.phase) ** 2
    count = max(0, math.ceil(math.log(abs(size) / finest, _FINER)))
    slopes: dict[str, Any] = dict.fromkeys(_PHASES, 0.0)
    for step in (size / _FINER**power for power in range(count, 0, -1)):
        found = beside(step)
        if found is not None:
            change = {one: getattr(found, one) - getattr(here, one) for one in _PHASES}
            near = _nearest(change, {one: slope * step for one, slope in slopes.items()})
            slopes = {one: value / step for one, value in near.items()}
    return slopes


def _nearest(change: Mapping[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return changes of phases, less the whole turns that they are away from what is expected [rad]."""
    turn = 2 * math.pi
    return {one: change[one] - turn * ((change[one] - near) / turn).round() for one, near in expected.items()}


def _alike(one: Timeline, other: Timeline) -> bool:
    same = ("interval_start", "sample_interval", "readout_start")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in same) and torch.equal(
        one.in_pulse, other.in_pulse
    )
