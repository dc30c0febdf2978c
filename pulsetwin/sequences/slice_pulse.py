"""Slice-selective pulses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.timing import up


@dataclass(frozen=True, slots=True)
class SlicePulse:
    """A pulse with its gradient along z.

    Parameters
    ----------
    events
        Of its block: the pulse, the gradient, and a delay that fills the raster.
    centre
        From the start of its block to the pulse's centre [s].
    after
        Area of the gradient from there on [1/m].
    duration
        Of its block [s].
    """

    events: tuple[Any, Any, Any]
    centre: float
    after: float
    duration: float

    def tuned(self, position: float, phase: float) -> tuple[Any, Any, Any]:
        """Return the events for a slice at `position` along z [m], with `phase` [rad] at the pulse's centre."""
        rf, select, _ = self.events
        rf.freq_offset = select.amplitude * position
        rf.phase_offset = (phase - 2 * math.pi * rf.freq_offset * pp.calc_rf_center(rf)[0]) % (2 * math.pi)
        return self.events


def slice_pulse(
    flip_angle: float, thickness: float, duration: float, time_bandwidth: float, use: str, scanner: Scanner
) -> SlicePulse:
    """Return a sinc pulse of `flip_angle` [rad] for a slice of `thickness` [m]; `use` is pypulseq's."""
    rf, select, rephase = pp.make_sinc_pulse(
        flip_angle, duration=duration, slice_thickness=thickness, apodization=0.5, use=use,
        time_bw_product=time_bandwidth, return_gz=True, system=scanner.opts, delay=scanner.rf_dead_time,
    )  # fmt: skip
    whole = up(max(pp.calc_duration(rf), pp.calc_duration(select)), scanner.block_raster)
    centre = float(rf.delay + pp.calc_rf_center(rf)[0])
    return SlicePulse((rf, select, pp.make_delay(whole)), centre, -float(rephase.area), whole)


def position(number: int, slices: int, thickness: float, gap: float) -> float:
    """Return the place of a slice's centre along z [m]; the middle of the stack is at 0."""
    return (number - (slices - 1) / 2) * (thickness + gap)


def scaled(rf: Any, factor: float) -> Any:
    """Return a pulse with `factor` times the flip angle, all else as it is."""
    return SimpleNamespace(**{**vars(rf), "signal": rf.signal * factor})
