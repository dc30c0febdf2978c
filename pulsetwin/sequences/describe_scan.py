"""What a `.seq` says of its scan in ``[DEFINITIONS]``, so that readers need nothing else."""

from __future__ import annotations

from typing import Any

import pypulseq as pp

from pulsetwin.sequences.slice_pulse import position


def describe(seq: pp.Sequence, protocol: Any, te: float | list[float], tr: float, **more: Any) -> pp.Sequence:
    """Set the definitions of an imaging scan; return the sequence.

    Parameters
    ----------
    seq
        The sequence.
    protocol
        Settings `fov` [m] and `matrix`, and where there are several slices `slices` and `slice_gap` [m].
    te, tr
        Echo times and repetition time [s].
    more
        Further definitions.
    """
    p = protocol
    slices, gap = getattr(p, "slices", 1), getattr(p, "slice_gap", 0.0)
    said = {
        "FOV": [p.fov[0], p.fov[1], slices * p.fov[2] + (slices - 1) * gap],
        "Matrix": [float(count) for count in (*p.matrix, 1)[:3]],  # k-space alone shows it only to a voxel
        "TE": te,
        "TR": tr,
        "SliceThickness": p.fov[2],
        "SlicePositions": [position(n, slices, p.fov[2], gap) for n in range(slices)],
    }
    for name, value in (said | more).items():
        seq.set_definition(name, value)
    return seq
