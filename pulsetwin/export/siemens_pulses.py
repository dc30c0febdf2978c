"""Shapes and uses of RF pulses as Siemens interpreters need them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.sequences.rf import envelope, flip_angle, guess_use
from pulsetwin.sequences.shapes import plain

if TYPE_CHECKING:
    import pypulseq

_FEWEST_TIMED = 4
_SAME = 1e-6


def samples(sequence: pypulseq.Sequence, shape: int) -> np.ndarray:
    """Return the samples of a shape in the library, float64 ``[sample]``."""
    from pypulseq.decompress_shape import decompress_shape

    packed = sequence.shape_library.data[int(shape)]
    return np.asarray(decompress_shape(SimpleNamespace(num_samples=int(packed[0]), data=packed[1:])), float)


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
    times = samples(sequence, time)
    values = samples(sequence, magnitude), samples(sequence, phase)
    count = round(times[-1])
    if times[0] == 0 and abs(times[-1] - count) < _SAME and all(np.ptp(part) < _SAME for part in values):
        return [_constant(part[0], count) for part in values]
    if len(times) < _FEWEST_TIMED or np.ptp(np.diff(times)) > _SAME:
        raise ValueError(
            "its samples are at uneven times, where interpreters play the nearest one; sample it on the RF raster"
        )
    return stored


def _constant(value: float, count: int) -> np.ndarray:
    from pypulseq.compress_shape import compress_shape

    packed = compress_shape(np.full(count, value))
    return np.concatenate(([packed.num_samples], packed.data))


def pulse_use(sequence: pypulseq.Sequence, event: int) -> str:
    """Return the initial of a pulse's use; where it has none (read from a file before 1.5), the one readers infer."""
    stated = sequence.rf_library.type.get(event)
    if stated:
        return str(stated)[0]
    amplitude, *ids = sequence.rf_library.data[event][:4]
    magnitude, phase, time = (plain(samples(sequence, shape)) if shape else None for shape in ids)
    assert magnitude is not None
    pulse = envelope(magnitude, phase, time, sequence.rf_raster_time)
    frequency = sequence.rf_library.data[event][8]
    return guess_use(flip_angle(pulse, amplitude), pulse.duration, frequency, None)
