"""The library's sequences as functions of their settings: timelines that are differentiable in times and angles."""

from __future__ import annotations

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
_STEPS = {"s": 1e-3, "rad": 1e-2}  # to both sides: many rasters of time, far above the digits of a `.seq`
_SHARE = 1e-2  # step of other settings


def from_builder(
    build: Callable[[Any, Scanner], Any], protocol: Any, free: Sequence[str], scanner: Scanner
) -> Callable[[Mapping[str, Tensor]], Timeline]:
    """Return the function from freed settings of a protocol to the timeline that the sequence plays.

    The timeline is that of the sequence as built, its times on the scanner's rasters; slopes are differences of
    sequences that are built with a setting 1 ms, 0.01 rad or 1 % higher and lower, or on one side where the other
    cannot be built or has other events. So they see through rasters, at the cost of two more builds for each number.

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
    ends = []
    for step in (size, -size):
        there = values[name].clone()
        there.view(-1)[number] += step
        try:
            found = built(values | {name: there})
        except ProtocolError:
            continue
        if _alike(found, here):
            ends.append((step, found))
    if not ends:
        raise ProtocolError(f"{name}: no sequence {size:g} beside {values[name].tolist()} has the same events")
    (high, above), (low, below) = ends[0], ends[1] if len(ends) > 1 else (0.0, here)
    return {one: (getattr(above, one) - getattr(below, one)) / (high - low) for one in _FREED}


def _alike(one: Timeline, other: Timeline) -> bool:
    same = ("interval_start", "sample_interval", "readout_start")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in same) and torch.equal(
        one.in_pulse, other.in_pulse
    )
