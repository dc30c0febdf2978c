"""Slice-selective pulses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.timing import up, whole


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
        rf.phase_offset = (phase - 2 * math.pi * rf.freq_offset * (self.centre - rf.delay)) % (2 * math.pi)
        return self.events


def slice_pulse(
    flip_angle: float, thickness: float, duration: float, time_bandwidth: float, use: str, scanner: Scanner
) -> SlicePulse:
    """Return a sinc pulse of `flip_angle` [rad] for a slice of `thickness` [m]; `use` is pypulseq's.

    Its duration is the next on the raster of gradients: its own gradient is flat meanwhile.

    Raises
    ------
    ProtocolError
        If it needs more B1 or gradient than there is; the least duration is told.
    """
    duration = max(whole(duration, scanner.gradient_raster), scanner.gradient_raster)
    sinc = partial(
        pp.make_sinc_pulse, flip_angle, duration=duration, apodization=0.5, use=use, time_bw_product=time_bandwidth,
        system=scanner.opts, delay=scanner.rf_dead_time,
    )  # fmt: skip
    strongest = float(np.abs(sinc().signal).max()) / (scanner.gamma * scanner.max_b1)
    steepest = time_bandwidth / duration / thickness / (scanner.gamma * scanner.max_gradient)
    if (short := max(strongest, steepest)) > 1 + 1e-9:
        what = "B1" if strongest > steepest else "gradient"
        raise ProtocolError(
            f"the {use} pulse of {1e3 * duration:g} ms is too short for the {what} there is: "
            f"{1e3 * up(short * duration, scanner.block_raster):.6g} ms is the least that works"
        )
    rf, select, rephase = sinc(slice_thickness=thickness, return_gz=True)
    length = up(max(pp.calc_duration(rf), pp.calc_duration(select)), scanner.block_raster)
    centre = float(rf.delay + pp.calc_rf_center(rf)[0])
    return SlicePulse((rf, select, pp.make_delay(length)), centre, -float(rephase.area), length)


def position(number: int, slices: int, thickness: float, gap: float) -> float:
    """Return the place of a slice's centre along z [m]; the middle of the stack is at 0."""
    return (number - (slices - 1) / 2) * (thickness + gap)


def scaled(rf: Any, factor: float) -> Any:
    """Return a pulse with `factor` times the flip angle, all else as it is."""
    return SimpleNamespace(**{**vars(rf), "signal": rf.signal * factor})
