"""Which lines and partitions are sampled, and in which order.

Patterns are masks, bool ``[partition, line]``; orders are the numbers of line and partition, int64 ``[n, 2]``, of a
mask's samples. Both count from 0, with the centre of k-space at ``n // 2``.
"""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sequences.events import Array

Shape = tuple[int, int]


def radius(shape: Shape) -> Array:
    """Return the distance of each cell from the centre, 1 where an axis ends, float64 ``[partition, line]``."""
    z, y = ((np.arange(count) - count // 2) / (count / 2) for count in shape)
    return np.hypot(z[:, None], y[None])


def centred_block(shape: Shape, size: Shape) -> Array:
    """Return the mask of `size` cells around the centre; the whole axis where larger than it."""
    z, y = (np.arange(count) - count // 2 + length // 2 for count, length in zip(shape, size, strict=True))
    return ((z >= 0) & (z < size[0]))[:, None] & ((y >= 0) & (y < size[1]))[None]


def on_lattice(z: Array, y: Array, acceleration: Shape, caipi_shift: int) -> Array:
    """Return which offsets from a sample are on the lattice ``y = 0 (mod Ry), z = shift y / Ry (mod Rz)``."""
    rz, ry = acceleration
    return (y % ry == 0) & ((z - caipi_shift * (y // ry)) % rz == 0)


def regular_mask(shape: Shape, acceleration: Shape, *, caipi_shift: int = 0, calibration: Shape = (0, 0)) -> Array:
    """Return the mask of a regular scan whose lattice holds the centre (2D CAIPIRINHA).

    Parameters
    ----------
    shape
        Partitions and lines.
    acceleration
        ``(Rz, Ry)``, each at least 1.
    caipi_shift
        Shift along z from one sampled y to the next, 0 to ``Rz - 1``.
    calibration
        Partitions and lines of the fully sampled block around the centre.

    Raises
    ------
    ProtocolError
        If an acceleration or the shift is out of range.

    References
    ----------
    Breuer et al. 2006, doi:10.1002/mrm.20787.
    """
    if min(acceleration) < 1 or not 0 <= caipi_shift < acceleration[0]:
        raise ProtocolError(
            f"acceleration {acceleration} with CAIPI shift {caipi_shift}: "
            "give accelerations of at least 1 and a shift from 0 to Rz - 1"
        )
    z, y = np.ogrid[: shape[0], : shape[1]]
    lattice = on_lattice(z - shape[0] // 2, y - shape[1] // 2, acceleration, caipi_shift)
    return lattice | centred_block(shape, calibration)


def elliptical_mask(shape: Shape) -> Array:
    """Return the mask of the ellipse that touches the ends of both axes: the corners are left out."""
    return radius(shape) <= 1


def partial_fourier_mask(shape: Shape, fraction: tuple[float, float]) -> Array:
    """Return the mask of a scan that leaves out the first partitions and lines.

    Parameters
    ----------
    shape
        Partitions and lines.
    fraction
        Of the partitions and of the lines that are sampled, above 0.5 to 1.

    Raises
    ------
    ProtocolError
        If a fraction is out of range, or leaves nothing before the centre.
    """
    kept = []
    for count, part in zip(shape, fraction, strict=True):
        first = count - round(part * count)
        if not 0.5 < part <= 1 or (first >= count // 2 and count > 1):
            raise ProtocolError(f"partial Fourier {part:g} of {count}: give more than half, at most 1")
        kept.append(np.arange(count) >= first)
    return kept[0][:, None] & kept[1][None]


def poisson_mask(
    shape: Shape, acceleration: float, *, calibration: Shape = (0, 0), falloff: float = 1.0, seed: int = 0,
) -> Array:  # fmt: skip
    """Return a Poisson-disc pattern within the ellipse: irregular, without clusters and holes.

    Cells are visited in random order; each that is sampled keeps others ``d = d0 (1 + falloff r)`` cells away, give or
    take half a cell, at a distance r from the centre. d0 is the largest with which there is room for all samples.

    Parameters
    ----------
    shape
        Partitions and lines.
    acceleration
        Cells of the whole rectangle per sample, to a sample.
    calibration
        Partitions and lines of the fully sampled block around the centre.
    falloff
        0 for an even density.
    seed
        Of the random order: the same seed gives the same mask.

    Raises
    ------
    ProtocolError
        If the ellipse has fewer cells than are wanted, or the block more.

    References
    ----------
    Bridson 2007, doi:10.1145/1278780.1278807.
    """
    inside, block = elliptical_mask(shape), centred_block(shape, calibration)
    wanted = round(shape[0] * shape[1] / acceleration) - int(block.sum())
    free = np.flatnonzero(inside & ~block)
    if not 0 <= wanted <= len(free):
        most, least = (shape[0] * shape[1] / max(block.sum() + count, 1) for count in (0, len(free)))
        raise ProtocolError(f"acceleration {acceleration:g}: give {least:.3g} to {most:.3g} for this calibration block")
    random = np.random.default_rng(seed)
    order, dither = random.permutation(free), random.random(shape) - 0.5  # distances between cells come in steps
    spread = 1 + falloff * radius(shape)
    low, high = 0.0, 1 + 2 * math.sqrt(len(free) / max(wanted, 1))
    mask = _thrown(order, block, dither, wanted)  # there is room for all if each keeps only itself away
    while high - low > 0.02 * high:
        distance = (low + high) / 2
        thrown = _thrown(order, block, distance * spread + dither, wanted)
        if len(thrown):
            low, mask = distance, thrown
        else:
            high = distance
    return mask


def _thrown(order: Array, start: Array, distance: Array, wanted: int) -> Array:
    """Return the mask `start` and the first `wanted` cells of an order that keep their distances; empty if too few."""
    mask, blocked, missing = start.copy(), np.zeros_like(start), wanted
    reach = np.ceil(distance).astype(int)
    for cell in order.tolist():
        if not missing:
            return mask
        z, y = divmod(cell, start.shape[1])
        if blocked[z, y]:
            continue
        mask[z, y], missing = True, missing - 1
        bottom, left = max(z - reach[z, y], 0), max(y - reach[z, y], 0)
        part = blocked[bottom : z + reach[z, y] + 1, left : y + reach[z, y] + 1]
        down, along = np.ogrid[bottom - z : bottom - z + part.shape[0], left - y : left - y + part.shape[1]]
        part |= down**2 + along**2 < distance[z, y] ** 2
    return mask if not missing else mask[:0]


def linear(mask: Array) -> Array:
    """Return the samples of a mask line by line, partition after partition, int64 ``[n, 2]``."""
    return np.argwhere(mask)[:, ::-1]


def centric(mask: Array) -> Array:
    """Return the samples of a mask from the centre outwards, int64 ``[n, 2]``; a mask of one partition gives lines."""
    cells = linear(mask)
    return cells[np.lexsort((_angle(cells, mask.shape), _distance(cells, mask.shape)))]


def annular(mask: Array, train: int) -> Array:
    """Return the samples of a mask for trains of echoes: echo e of all trains is the e-th annulus of k-space.

    So each echo time gives one ring of k-space. Within a ring, trains follow the angle, so that k moves little between
    echoes. Where the samples do not fill the last train, some that lie evenly along the radius are sampled twice.

    Parameters
    ----------
    mask
        Pattern.
    train
        Echoes of a train.

    Returns
    -------
    Array
        Line and partition, int64 ``[trains, train, 2]``.
    """
    cells = centric(mask)
    trains = math.ceil(len(cells) / train)
    more = trains * train - len(cells)
    again = (np.arange(more) * len(cells)) // max(more, 1)
    rings = cells[np.sort(np.concatenate((np.arange(len(cells)), again)))].reshape(train, trains, 2)
    turned = [ring[np.argsort(_angle(ring, mask.shape), kind="stable")] for ring in rings]
    return np.stack(turned, axis=1)


def interleaved(count: int, step: int = 2) -> Array:
    """Return an order of slices in which neighbours are far apart in time: 0, 2, 4, ..., 1, 3, ..., int64 ``[n]``."""
    return np.concatenate([np.arange(first, count, step) for first in range(min(step, count))])


def _distance(cells: Array, shape: Shape) -> Array:
    return radius(shape)[cells[:, 1], cells[:, 0]]


def _angle(cells: Array, shape: Shape) -> Array:
    (line, partition), (partitions, lines) = cells.T, shape
    return np.arctan2((partition - partitions // 2) / partitions, (line - lines // 2) / lines)
