"""Sampling patterns of the phase-encoding plane: lattice, calibration block, partial Fourier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.orderings import on_lattice
from pulsetwin.sequences.orderings import regular_mask as regular_mask

LARGEST_ACCELERATION = 16

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Undersampling:
    """What a sampling mask ``[z, y]`` leaves out.

    Outside the calibration block a regular scan samples the lattice
    ``{(z, y): y = y0 (mod Ry), z = z0 + shift (y - y0) / Ry (mod Rz)}``; every lattice has exactly one such form with
    ``0 <= shift < Rz`` (its Hermite normal form), so that CAIPI shifts along y appear with larger Rz.

    Parameters
    ----------
    acceleration
        ``(Rz, Ry)``, their product is the net acceleration; ``(1, 1)`` where the pattern is not regular.
    caipi_shift
        Shift along z from one sampled y to the next, in grid points.
    origin
        One sampled lattice point ``(z0, y0)`` with ``z0 < Rz``, ``y0 < Ry``.
    calibration
        Half-open bounds ``((z0, z1), (y0, y1))`` of the fully sampled block around the centre, None without one.
    support
        Half-open bounds of what was scanned; reaches the grid's edge unless lines are left out beyond the acceleration.
    partial_fourier
        Scanned fraction along z and y; 1 where both sides of the centre reach equally far.
    complete
        True if every point is sampled.
    regular
        True if the samples are one lattice without gaps, plus at most one convex calibration region.
    """

    acceleration: tuple[int, int]
    caipi_shift: int
    origin: tuple[int, int]
    calibration: tuple[Span, Span] | None
    support: tuple[Span, Span]
    partial_fourier: tuple[float, float]
    complete: bool
    regular: bool


def analyse(mask: np.ndarray | Tensor) -> Undersampling:
    """Find acceleration, CAIPI shift, calibration block and partial Fourier of a sampling mask.

    Parameters
    ----------
    mask
        True where k-space was sampled, bool ``[z, y]`` or ``[y]``; the readout is taken as fully sampled.

    Raises
    ------
    ShapeError
        If `mask` has another number of axes.
    ProtocolError
        If `mask` is empty.

    References
    ----------
    2D CAIPIRINHA: Breuer et al. 2006, doi:10.1002/mrm.20787.
    """
    plane = _plane(mask)
    lattice = _find_lattice(plane)
    rz, shift, ry, z0, y0 = lattice or (1, 0, 1, 0, 0)
    steps = gcd(rz, shift), ry
    support = _support(plane.any(1), steps[0]), _support(plane.any(0), steps[1])
    return Undersampling(
        acceleration=(rz, ry),
        caipi_shift=shift,
        origin=(z0, y0),
        calibration=_calibration(plane),
        support=support,
        partial_fourier=(
            _fraction(support[0], plane.shape[0], steps[0]),
            _fraction(support[1], plane.shape[1], steps[1]),
        ),
        complete=bool(plane.all()),
        regular=lattice is not None,
    )


def sampled_span(sampled: np.ndarray | Tensor) -> Span:
    """Return the half-open range of one undersampled side along one axis.

    Parameters
    ----------
    sampled
        True where the axis was sampled, bool ``[n]``; one contiguous run that holds the centre ``n // 2`` and reaches
        at least one end.

    Raises
    ------
    ProtocolError
        If the samples are not one such run, or leave no symmetric centre.
    """
    line = np.asarray(sampled, bool)
    indices = np.nonzero(line)[0]
    if line.ndim != 1 or len(indices) == 0:
        raise ShapeError(f"sampled is {line.shape} with {len(indices)} samples: give one axis with samples")
    start, stop, n = int(indices[0]), int(indices[-1]) + 1, len(line)
    if stop - start != len(indices):
        raise ProtocolError("partial Fourier with gaps between samples: fill them first with recon.grappa")
    if start > 0 and stop < n:
        raise ProtocolError(
            f"samples {start}..{stop - 1} of {n} miss both sides: zero-fill the shorter and mark it sampled"
        )
    if start >= n // 2 or stop <= n // 2 + 1:
        raise ProtocolError(
            f"samples {start}..{stop - 1} of {n} have no lines beyond the centre {n // 2} on both sides"
        )
    return start, stop


def _plane(mask: np.ndarray | Tensor) -> np.ndarray:
    plane = np.asarray(mask, bool)
    if plane.ndim not in (1, 2):
        raise ShapeError(f"mask is {plane.shape}: give [z, y] or [y]")
    if not plane.any():
        raise ProtocolError(f"mask {plane.shape} holds no sample: check the line and partition labels")
    return plane.reshape(-1, plane.shape[-1])


def _lattices() -> Iterator[tuple[int, int, int]]:
    """Yield ``(Rz, shift, Ry)`` of every lattice, lowest net acceleration first."""
    for net in range(1, LARGEST_ACCELERATION + 1):
        for ry in range(1, net + 1):
            if net % ry == 0:
                yield from ((net // ry, shift, ry) for shift in range(net // ry))


def _find_lattice(plane: np.ndarray) -> tuple[int, int, int, int, int] | None:
    """Return ``(Rz, shift, Ry, z0, y0)`` of the densest lattice that explains the samples, None if none does."""
    z, y = np.nonzero(plane)
    for rz, shift, ry in _lattices():
        if rz > plane.shape[0] or ry > plane.shape[1]:
            continue
        classes = (y % ry) * rz + (z - shift * (y // ry)) % rz
        chosen = int(np.bincount(classes).argmax())
        z0, y0 = chosen % rz, chosen // rz
        extras = np.zeros_like(plane)
        extras[z[classes != chosen], y[classes != chosen]] = True
        if not (_between(extras) & ~plane).any() and _gapless(plane, (rz, shift, ry), (z0, y0)):
            return rz, shift, ry, z0, y0
    return None


def _gapless(plane: np.ndarray, lattice: tuple[int, int, int], origin: tuple[int, int]) -> bool:
    """Return whether no lattice point without sample lies between two with, along either lattice vector."""
    (rz, shift, ry), (z0, y0) = lattice, origin
    grid_z, grid_y = np.ogrid[: plane.shape[0], : plane.shape[1]]
    z, y = np.nonzero(on_lattice(grid_z - z0, grid_y - y0, (rz, ry), shift))
    u, v = (y - y0) // ry, (z - z0 - shift * ((y - y0) // ry)) // rz
    v = v - v.min()
    sampled = np.zeros((v.max() + 1, u.max() + 1), bool)
    wanted = sampled.copy()
    sampled[v, u], wanted[v, u] = plane[z, y], True
    return not (_between(sampled) & wanted & ~sampled).any()


def _between(points: np.ndarray) -> np.ndarray:
    """Return what lies on or between points of the same row or column."""
    between = np.zeros_like(points)
    for axis in (0, 1):
        before = np.logical_or.accumulate(points, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(points, axis), axis), axis)
        between |= before & after
    return between


def _support(sampled: np.ndarray, step: int) -> Span:
    """Return the scanned range of an axis, extended to an end that the lattice cannot reach."""
    indices, n = np.nonzero(sampled)[0], len(sampled)
    start, stop = int(indices[0]), int(indices[-1]) + 1
    return (0 if start < step else start), (n if n - stop < step else stop)


def _fraction(support: Span, n: int, step: int) -> float:
    """Return the scanned fraction of the symmetric range that the longer side would need."""
    (start, stop), centre = support, n // 2
    if abs((centre - start) - (stop - centre)) <= step:
        return 1.0
    full = n if start == 0 or stop == n else 2 * max(centre - start, stop - centre)
    return (stop - start) / full


def _calibration(plane: np.ndarray) -> tuple[Span, Span] | None:
    """Return the largest sampled rectangle around the centre, None if it is a mere line of a lattice."""
    cz, cy = plane.shape[0] // 2, plane.shape[1] // 2
    left, right = _largest(_reach(plane[:, cy::-1]), cz), _largest(_reach(plane[:, cy:]), cz)
    heights = np.add.outer(np.arange(1, cz + 2), np.arange(plane.shape[0] - cz))
    area = heights * (left + right - 1) * (np.minimum(left, right) > 0)
    up, down = divmod(int(area.argmax()), area.shape[1])
    bounds = (cz - up, cz + down + 1), (cy + 1 - int(left[up, down]), cy + int(right[up, down]))
    enough = all(stop - start >= min(2, n) for (start, stop), n in zip(bounds, plane.shape, strict=True))
    return bounds if enough and area[up, down] > 0 else None


def _reach(rows: np.ndarray) -> np.ndarray:
    """Return how many samples each row has before its first gap."""
    return np.logical_and.accumulate(rows, 1).sum(1)


def _largest(reach: np.ndarray, centre: int) -> np.ndarray:
    """Return the reach common to the rows from ``centre - i`` to ``centre + j``, ``[i, j]``."""
    above, below = np.minimum.accumulate(reach[centre::-1]), np.minimum.accumulate(reach[centre:])
    return np.minimum.outer(above, below)
