"""Shapes and uses of RF pulses as Siemens interpreters need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.sequences.rf import envelope, flip_angle, guess_use
from pulsetwin.sequences.shapes import Shape, decode

if TYPE_CHECKING:
    import pypulseq

_FEWEST_TIMED = 4
_SAME = 1e-6


def stored_shape(sequence: pypulseq.Sequence, shape: int) -> Shape:
    """Return a shape in the library by its corners, so that seconds of a constant pulse are not expanded."""
    packed = sequence.shape_library.data[int(shape)]
    return decode(np.asarray(packed[1:], float), int(packed[0]))


def pulse_shapes(sequence: pypulseq.Sequence, event: int) -> list[Any]:
    """Return the stored shapes (number of samples first) of magnitude, phase and, where needed, time of a pulse.

    A constant pulse of two samples with times of their own, as pypulseq's `make_block_pulse` makes it, is sampled on
    the raster: several interpreters play the former with a wrong duration. Other times must be evenly spaced.

    Raises
    ------
    ValueError
        If the times are uneven; the interpreter takes the nearest sample there, which is not what was designed.
    """
    magnitude, phase, time = (int(shape) for shape in sequence.rf_library.data[event][1:4])
    stored = [sequence.shape_library.data[shape] for shape in (magnitude, phase, time) if shape]
    if not phase:
        raise ValueError("it has no phase shape; make it with pypulseq's make functions")
    if not time:
        return stored
    times = stored_shape(sequence, time)
    values = [stored_shape(sequence, shape).value for shape in (magnitude, phase)]
    count = round(times.value[-1])
    if times.value[0] == 0 and abs(times.value[-1] - count) < _SAME and all(np.ptp(part) < _SAME for part in values):
        return [_constant(part[0], count) for part in values]
    uneven = times.num_samples > 1 and np.ptp(np.diff(times.value) / np.diff(times.index)) > _SAME
    if times.num_samples < _FEWEST_TIMED or uneven:
        raise ValueError(
            "its samples are at uneven times, where interpreters play the nearest one; sample it on the RF raster"
        )
    return stored


def _constant(value: float, count: int) -> np.ndarray:
    """Return the stored shape of `count` equal samples: the first derivative, then a run of zeros."""
    run = [value, 0.0, 0.0, count - 3] if value else [0.0, 0.0, count - 2]
    return np.array([count, *(run if len(run) < count else [value] * count)])


def pulse_use(sequence: pypulseq.Sequence, event: int) -> str:
    """Return the initial of a pulse's use; where it has none (read from a file before 1.5), the one readers infer."""
    stated = sequence.rf_library.type.get(event)
    if stated:
        return str(stated)[0]
    amplitude, *ids = sequence.rf_library.data[event][:4]
    magnitude, phase, time = (stored_shape(sequence, shape) if shape else None for shape in ids)
    assert magnitude is not None
    pulse = envelope(magnitude, phase, time, sequence.rf_raster_time)
    frequency = sequence.rf_library.data[event][8]
    return guess_use(flip_angle(pulse, amplitude), pulse.duration, frequency, None)
