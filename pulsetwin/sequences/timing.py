"""Times on a scanner's raster, and what is left of a time that was asked for."""

from __future__ import annotations

import math

import pypulseq as pp

from pulsetwin.errors import ProtocolError

_SLACK = 1e-9  # times closer than this to the raster are on it [s]


def up(time: float, raster: float) -> float:
    """Return the least multiple of `raster` that is not below `time` [s]."""
    return math.ceil((time - _SLACK) / raster) * raster


def down(time: float, raster: float) -> float:
    """Return the largest multiple of `raster` that is not above `time` [s]."""
    return math.floor((time + _SLACK) / raster) * raster


def whole(time: float, raster: float) -> float:
    """Return the multiple of `raster` that is next to `time` [s]."""
    return round(time / raster) * raster


def rest(name: str, wanted: float | None, least: float, raster: float) -> float:
    """Return how much longer than its least time an interval shall last [s], on the raster; 0 if `wanted` is None.

    Raises
    ------
    ProtocolError
        If less is wanted than is possible: `name` and the least time that works are told.
    """
    if wanted is None:
        return 0.0
    if wanted < least - _SLACK:
        raise ProtocolError(
            f"{name} = {1e3 * wanted:.6g} ms is too short: {1e3 * least:.6g} ms is the least that works"
        )
    return whole(wanted - least, raster)


def after_each(tr: float | None, one: float, slices: int, raster: float) -> float:
    """Return the pause after each slice [s] that makes a repetition of `slices`, `one` [s] each, last `tr` [s].

    Raises
    ------
    ProtocolError
        If the repetition time is too short; the least that works is told.
    """
    return down(rest("tr", tr, slices * one, raster) / slices, raster)


def pause(seq: pp.Sequence, time: float) -> None:
    """Add a delay of `time` [s], if any."""
    if time > _SLACK:
        seq.add_block(pp.make_delay(time))
