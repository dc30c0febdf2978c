"""What radial, UTE and spiral scans share: checks, the phase of a repetition, and what the `.seq` says of them."""

from __future__ import annotations

import math
from typing import Any

import pypulseq as pp

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.slice_pulse import position


def check_square(fov: tuple[float, float, float], matrix: tuple[int, int, int]) -> None:
    """Check that x and y are alike, and the matrix even there.

    Raises
    ------
    ProtocolError
        If not.
    """
    if fov[0] != fov[1] or matrix[0] != matrix[1]:
        raise ProtocolError(f"fov = {fov}, matrix = {matrix}: give the same numbers along x and y")
    if matrix[0] % 2:
        raise ProtocolError(f"matrix = {matrix}: give even numbers along x and y")


def check_cube(fov: tuple[float, float, float], matrix: tuple[int, int, int]) -> None:
    """Check that all three axes are alike, and the matrix even.

    Raises
    ------
    ProtocolError
        If not.
    """
    check_square(fov, matrix)
    if fov[2] != fov[0] or matrix[2] != matrix[0]:
        raise ProtocolError(f"fov = {fov}, matrix = {matrix}: give a volume the same numbers along x, y and z")


def spoiled_phase(increment: float, repetition: int) -> float:
    """Return the RF phase of a repetition [rad]; its increment grows by `increment` [rad] each time."""
    return increment * repetition * (repetition + 1) / 2 % (2 * math.pi)


def describe(seq: pp.Sequence, protocol: Any, te: float, tr: float) -> pp.Sequence:
    """Set the definitions of a scan with echo and repetition times [s]; return the sequence."""
    p = protocol
    slices, gap = getattr(p, "slices", 1), getattr(p, "slice_gap", 0.0)
    seq.set_definition("FOV", [p.fov[0], p.fov[1], slices * p.fov[2] + (slices - 1) * gap])
    seq.set_definition("Matrix", [float(count) for count in p.matrix])  # k-space alone shows it only to a voxel
    seq.set_definition("TE", te)
    seq.set_definition("TR", tr)
    seq.set_definition("SliceThickness", p.fov[2])
    seq.set_definition("SlicePositions", [position(n, slices, p.fov[2], gap) for n in range(slices)])
    return seq
