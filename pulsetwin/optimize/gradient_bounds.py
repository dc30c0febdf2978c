"""Bounds of freed gradient moments, within which a scanner's gradients can play any of them between instant pulses."""

from __future__ import annotations

import math

import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.experiment import GradientEchoes
from pulsetwin.scanner import PROTON, Scanner

_STRAIGHT = 0.5  # share of the amplitude for a readout's way; its bends have the rest


def gradient_bounds(sequence: GradientEchoes, bends: int, scanner: Scanner) -> dict[str, float | torch.Tensor]:
    """Return the largest moments [1/m] of the values of `schemes.gradient_echoes`, along each axis, by name.

    Whatever lies within them keeps amplitude and slew rate: the samples of a readout are taken on a straight gradient
    and the sines of its bends, whose slew rates are shared alike; a lobe before it rises from 0, one after it falls to
    0, and both have the ramp to the readout's gradient. Pulses are thought of as instants: with
    those of a `.seq`, a repetition at its bounds lasts longer.

    Parameters
    ----------
    sequence
        Its times count.
    bends
        Number of sines of a readout.
    scanner
        Its limits count.

    Raises
    ------
    ProtocolError
        If the time before or after the readout does not suffice for a ramp.
    """
    strongest, steepest = scanner.max_gradient * PROTON, scanner.max_slew * PROTON
    half = sequence.matrix // 2
    before = sequence.te - half * sequence.dwell
    after = sequence.tr - sequence.te - (sequence.matrix - 1 - half) * sequence.dwell
    lead, tail = (_largest_lobe(time, strongest, steepest) for time in (before, after))
    if min(lead, tail) <= 0:
        raise ProtocolError(
            f"gradient echoes: {1e3 * min(before, after):.3g} ms beside the readout are too short for ramps of "
            f"{scanner.name}: give another TE or TR"
        )
    readout = min(_STRAIGHT * strongest * sequence.matrix * sequence.dwell, lead)
    rate = torch.arange(1, bends + 1, dtype=torch.float64)[:, None] * math.pi / ((sequence.matrix - 1) * sequence.dwell)
    bend = torch.minimum((1 - _STRAIGHT) * strongest / rate, steepest / rate**2) / bends
    return {"centre": lead - readout / 2, "readout": readout, "bend": bend, "spoil": tail}


def _largest_lobe(time: float, strongest: float, steepest: float) -> float:
    """Return the moment that is always within reach in a time [s], whatever gradient it begins or ends with [1/m].

    Where the gradient at one end is the strongest, of either sign, its ramp is lost and may take half its area back.
    """
    ramp = strongest / steepest
    left = time - ramp
    if left <= 0:
        return 0.0
    lobe = steepest * left**2 / 4 if left < 2 * ramp else strongest * (left - ramp)
    return lobe - strongest * ramp / 2


def require_within(name: str, start: torch.Tensor, largest: float | torch.Tensor) -> None:
    """Raise `ProtocolError` if moments of the target are beyond the largest that are allowed [1/m]."""
    high = torch.as_tensor(largest, dtype=start.dtype).expand(start.shape)
    beyond = start.abs() > high
    if bool(beyond.any()):
        raise ProtocolError(
            f"{name}: the target has {float(start.abs()[beyond].max()):.4g} 1/m, and [limits] gradients allows "
            f'{float(high[beyond].min()):.4g} 1/m: give [learn] start = "zero", longer times or less spoiling in '
            "[sequence], or leave [limits] gradients out"
        )
