"""What networks for RASER images are for: the scans they are trained on, and whether another is such a scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.raser.inversion import strips_over
from pulsetwin.recon.raser.scan import Projections, Stated, stated

_ALIKE = 0.03  # relative difference of widths, as they are trained with
_SAME = 1e-3  # rad
_LEAST = 7  # pixels that the loss of a training looks at together


@dataclass(frozen=True, slots=True)
class Purpose:
    """What networks are for.

    Parameters
    ----------
    matrix
        Pixels along an edge of the image.
    angles
        Projections, evenly within half a turn.
    modes
        Pixels of a projection.
    bandwidth
        Of a pixel [Hz].
    t1, t2
        T1 and T2* [s] that features are made with.
    over_threshold
        Inversion in units of the threshold, about.
    """

    matrix: int = 44
    angles: int = 30
    modes: int = 67
    bandwidth: float = 0.1223
    t1: float = 5.0
    t2: float = 0.7
    over_threshold: float = 10.0

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in (self.bandwidth, self.t1, self.t2, self.over_threshold)):
            raise ProtocolError(f"{self}: give T1, T2*, width of a pixel and times the threshold above 0")
        if self.matrix < _LEAST or min(self.angles, self.modes) < 1:
            raise ProtocolError(f"{self}: give at least {_LEAST} pixels along an edge, one angle and one mode")
        if self.t2 > 2 * self.t1:
            raise ProtocolError(f"{self}: T1 and T2* are in s, T2* at most 2 T1")


def purpose_of(definitions: Mapping[str, Any], **sample: float) -> Purpose:
    """Return the purpose that suits the scans of a sequence.

    Parameters
    ----------
    definitions
        Of the `.seq`.
    **sample
        `Purpose.t1`, `Purpose.t2` and `Purpose.over_threshold`, where they are others than usual.

    Raises
    ------
    MismatchError
        If it is no RASER sequence, its image is not square, or its angles are not even.
    ProtocolError
        As of `scan.stated`, or if the sample makes no sense.
    """
    said = stated(definitions)
    rows, columns = said.matrix
    if rows != columns or not _even(said):
        raise MismatchError(
            f"networks are for square images of even angles, the scan has {columns} by {rows} pixels and "
            f"{len(said.angles)} angles: build the sequence anew with order uniform"
        )
    modes = strips_over(np.ones(said.matrix, bool))
    return Purpose(rows, len(said.angles), modes, said.bandwidth, **sample)


def check_suits(purpose: Purpose, scan: Projections, t2: float) -> None:
    """Raise `MismatchError` unless networks of a purpose are for the scan of a sample, whose T2* [s] is given."""
    p, said = purpose, scan.stated
    width = said.bandwidth * t2 / (p.bandwidth * p.t2)
    if (
        said.matrix != (p.matrix, p.matrix)
        or len(said.angles) != p.angles
        or not _even(said)
        or abs(width - 1) > _ALIKE
    ):
        raise MismatchError(
            f"the networks are for {p.matrix} by {p.matrix} pixels of {p.bandwidth:.4g} Hz, {p.angles} even angles and "
            f"T2* {p.t2:.4g} s, the scan has {said.matrix[1]} by {said.matrix[0]} of {said.bandwidth:.4g} Hz, "
            f"{len(said.angles)} and {t2:.4g} s: train some for it by: pulsetwin train raser --seq --t2star"
        )


def _even(said: Stated) -> bool:
    """Return whether angles are in even steps within half a turn, from 0."""
    count = len(said.angles)
    return np.allclose(said.angles, np.pi * np.arange(count) / count, atol=_SAME)
