"""Which sampled points of the phase-encoding plane each missing point is interpolated from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.undersampling import Undersampling

LARGEST_GEOMETRIES = 512


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Points that share one interpolation kernel; offsets and positions are ``(z, y)`` in grid points.

    Parameters
    ----------
    sources
        Offsets of the sampled points from an anchor, int ``[source, 2]``.
    targets
        Offsets of the missing points from an anchor, int ``[target, 2]``.
    anchors
        Positions where the kernel is applied, int ``[anchor, 2]``; sources and targets may reach beyond the grid.
    """

    sources: np.ndarray
    targets: np.ndarray
    anchors: np.ndarray

    @property
    def extent(self) -> tuple[int, int]:
        """Grid points along z and y that the kernel spans."""
        span = np.ptp(np.concatenate([self.sources, self.targets]), axis=0) + 1
        return int(span[0]), int(span[1])


def neighbourhoods(mask: np.ndarray, sampling: Undersampling, sources: int) -> list[Neighbourhood]:
    """Return the neighbourhoods that cover every missing point of the scanned range once.

    A regular scan has one: the `sources` lattice points nearest to a cell of the lattice fill all its missing points.
    Otherwise each missing point is filled from the nearest samples, and points with the same geometry share a kernel.

    Parameters
    ----------
    mask
        True where k-space was sampled, bool ``[z, y]``.
    sampling
        What `undersampling.analyse` says of `mask`.
    sources
        Number of samples that each missing point is made from.

    Raises
    ------
    ProtocolError
        If the pattern has too many geometries for GRAPPA.
    """
    if sampling.regular:
        return [_cell(mask, sampling, sources)]
    return _irregular(mask, sampling, sources)


def missing_points(mask: np.ndarray, sampling: Undersampling, neighbourhood: Neighbourhood) -> np.ndarray:
    """Return which targets of which anchors are to be filled, bool ``[target, anchor]``.

    Filled are points of the scanned range that were not sampled and have at least half of their sources, which leaves
    the corners of an elliptical scan empty.
    """
    known = inside(neighbourhood.anchors + neighbourhood.sources[:, None], mask.shape)
    known[known] = mask[tuple((neighbourhood.anchors + neighbourhood.sources[:, None])[known].T)]
    enough = 2 * known.sum(0) >= len(neighbourhood.sources)
    targets = neighbourhood.anchors + neighbourhood.targets[:, None]
    wanted = enough & inside(targets, mask.shape)
    for axis, (start, stop) in enumerate(sampling.support):
        wanted &= (targets[..., axis] >= start) & (targets[..., axis] < stop)
    wanted[wanted] = ~mask[tuple(targets[wanted].T)]
    return wanted


def inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return whether points ``[..., 2]`` lie on a grid of `shape`, bool ``[...]``."""
    return ((points >= 0) & (points < np.array(shape))).all(-1)


def _cell(mask: np.ndarray, sampling: Undersampling, sources: int) -> Neighbourhood:
    (rz, ry), shift = sampling.acceleration, sampling.caipi_shift
    targets = np.array([(z, y) for z in range(rz) for y in range(ry) if (z, y) != (0, 0)]).reshape(-1, 2)
    reach_z, reach_y = (0 if n == 1 else 2 * sources * r for n, r in zip(mask.shape, (rz, ry), strict=True))
    near = _lattice((-reach_z, reach_z + 1), (-reach_y, reach_y + 1), rz, shift, ry)
    distance = ((near - targets.mean(0)) ** 2).sum(1) if len(targets) else np.zeros(len(near))
    (z0, z1), (y0, y1) = sampling.support
    origin = np.array(sampling.origin)
    bounds = (z0 - rz + 1 - origin[0], z1 - origin[0]), (y0 - ry + 1 - origin[1], y1 - origin[1])
    return Neighbourhood(
        near[np.argsort(distance, kind="stable")[:sources]], targets, _lattice(*bounds, rz, shift, ry) + origin
    )


def _lattice(z: tuple[int, int], y: tuple[int, int], rz: int, shift: int, ry: int) -> np.ndarray:
    """Return the lattice points of half-open ranges, int ``[point, 2]``."""
    grid_z, grid_y = np.meshgrid(np.arange(*z), np.arange(*y), indexing="ij")
    on = (grid_y % ry == 0) & ((grid_z - shift * (grid_y // ry)) % rz == 0)
    return np.stack([grid_z[on], grid_y[on]], 1)


def _irregular(mask: np.ndarray, sampling: Undersampling, sources: int) -> list[Neighbourhood]:
    """Group the missing points by the offsets of their nearest samples."""
    missing = np.stack(np.nonzero(~mask), 1)
    bounds = np.array(sampling.support)
    missing = missing[((missing >= bounds[:, 0]) & (missing < bounds[:, 1])).all(1)]
    window = _window(mask.shape, sources)
    around = missing[:, None] + window
    known = inside(around, mask.shape)
    known[known] = mask[tuple(around[known].T)]
    known &= np.cumsum(known, 1) <= sources
    patterns, members = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
    if len(patterns) > LARGEST_GEOMETRIES:
        raise ProtocolError(
            f"the sampling pattern has {len(patterns)} neighbourhoods, GRAPPA trains up to {LARGEST_GEOMETRIES}: "
            "use recon.sense or recon.sparse for random patterns"
        )
    bits = np.unpackbits(patterns, axis=1, count=len(window)).astype(bool)
    return [
        Neighbourhood(window[chosen], np.zeros((1, 2), int), missing[members.reshape(-1) == index])
        for index, chosen in enumerate(bits)
        if chosen.any()
    ]


def _window(shape: tuple[int, ...], sources: int) -> np.ndarray:
    """Return offsets by growing distance, far enough for `sources` samples at a fourth of the density."""
    flat = min(shape) == 1
    reach = min(2 * sources if flat else 2 * int(np.ceil(np.sqrt(sources))), max(shape))
    reach_z, reach_y = (0 if n == 1 else reach for n in shape)
    offsets = _lattice((-reach_z, reach_z + 1), (-reach_y, reach_y + 1), 1, 0, 1)
    return offsets[np.argsort((offsets**2).sum(1), kind="stable")]
