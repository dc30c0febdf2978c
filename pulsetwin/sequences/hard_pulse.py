"""Hard pulses: constant, without a gradient, sampled on the RF raster."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.timing import whole


def hard_pulse(flip_angle: float, duration: float, use: str, scanner: Scanner) -> Any:
    """Return a constant pulse of `flip_angle` [rad] and `duration` [s]; `use` is pypulseq's.

    Its duration is the next on the raster of RF. It has a sample in each raster interval: some interpreters play
    constant pulses of two samples with a wrong length.

    Raises
    ------
    ProtocolError
        If it needs more B1 than there is; the least duration is told.
    """
    least = flip_angle / (2 * math.pi * scanner.max_b1 * scanner.gamma)
    length = max(whole(duration, scanner.rf_raster), scanner.rf_raster)
    if length < least:
        raise ProtocolError(f"rf_duration = {1e6 * duration:g} us is too short: {1e6 * least:.6g} us is the least")
    signal = np.ones(round(length / scanner.rf_raster))
    return pp.make_arbitrary_rf(
        signal, flip_angle, dwell=scanner.rf_raster, delay=scanner.rf_dead_time, use=use, center=length / 2,
        system=scanner.opts,
    )  # fmt: skip
