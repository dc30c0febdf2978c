"""What a `.seq` says of its scan in ``[DEFINITIONS]``, so that readers need nothing else."""

from __future__ import annotations

from typing import Any

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.slice_pulse import position

_EQUAL = 1e-9  # [s]
_DEEPEST = 1.0  # stack of slices [m]


def describe(
    seq: pp.Sequence, protocol: Any, te: float | list[float], tr: float | list[float], **more: Any
) -> pp.Sequence:
    """Set the definitions of an imaging scan; return the sequence.

    Parameters
    ----------
    seq
        The sequence.
    protocol
        Settings `fov` [m] and `matrix`, and where there are several slices `slices` and `slice_gap` [m].
    te, tr
        Echo times and repetition time [s]. Where measurements last differently long, their times are the definition
        MeasurementTimes, and there is no TR: readers take it for one number.
    more
        Further definitions.

    Raises
    ------
    ProtocolError
        If the slices cover more than a metre.
    """
    p = protocol
    slices, gap = getattr(p, "slices", 1), getattr(p, "slice_gap", 0.0)
    deep = slices * p.fov[2] + (slices - 1) * gap
    if deep > _DEEPEST:
        raise ProtocolError(f"the {slices} slices are {deep:g} m deep: give fewer or thinner ones, to {_DEEPEST:g} m")
    said: dict[str, Any] = {
        "FOV": [p.fov[0], p.fov[1], deep],
        "Matrix": [float(count) for count in (*p.matrix, 1)[:3]],  # k-space alone shows it only to a voxel
        "TE": te,
        "SliceThickness": p.fov[2],
        "SlicePositions": [position(n, slices, p.fov[2], gap) for n in range(slices)],
    }
    times = tr if isinstance(tr, list) else [tr]
    said |= {"TR": times[0]} if max(times) - min(times) < _EQUAL else {"MeasurementTimes": times}
    for name, value in (said | more).items():
        seq.set_definition(name, value)
    return seq
