"""The best match in a dictionary of QALAS signals, as published: what a fit is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import cKDTree

from pulsetwin.progress import Progress, silent
from pulsetwin.recon.qalas.fit import Fitted
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

_BLOCK = 1 << 18  # signals computed at a time


def _t1() -> np.ndarray:
    return 1e-3 * np.concatenate((np.arange(5, 3001, 5), np.arange(3100, 5001, 100)))


def _t2() -> np.ndarray:
    return 1e-3 * np.concatenate((np.arange(1, 350, 2), np.arange(350, 991, 20), np.arange(1000, 2401, 200)))


@dataclass(frozen=True, slots=True)
class Grid:
    """Values of a dictionary; the defaults are those of Jun et al. 2023, doi:10.1002/mrm.29786.

    Parameters
    ----------
    t1, t2
        Relaxation times [s]; pairs of a T2 longer than T1 are left out.
    ie
        Inversion efficiencies.
    b1
        Relative transmit fields: each voxel is matched at the nearest.
    """

    t1: np.ndarray = field(default_factory=_t1)
    t2: np.ndarray = field(default_factory=_t2)
    ie: np.ndarray = field(default_factory=lambda: np.linspace(0.5, 1, 26))
    b1: np.ndarray = field(default_factory=lambda: np.linspace(0.65, 1.35, 100))

    def atoms(self, bounds: tuple[float, float]) -> np.ndarray:
        """Return all T1, T2 and efficiencies within `bounds`, ``[3, atom]``."""
        t1, t2 = (x.ravel() for x in np.meshgrid(self.t1, self.t2, indexing="ij"))
        ie = self.ie[(self.ie >= bounds[0] - 1e-9) & (self.ie <= bounds[1] + 1e-9)]
        pairs = np.stack((t1, t2))[:, t2 <= t1]
        return np.concatenate((np.repeat(pairs, len(ie), 1), np.tile(ie, pairs.shape[1])[None]))


def match(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    *,
    grid: Grid,
    ie: tuple[float, float],
    signed: bool = True,
    progress: Progress = silent,
) -> Fitted:
    """Return for each voxel the atom of the largest correlation, ``argmax d . x / |d|``, and its proton density.

    The largest correlation of unit vectors is their least distance, for which a tree is searched: the result is exactly
    that of trying all atoms.

    Parameters
    ----------
    data
        Signals, ``[voxel, 5]``.
    timing
        Times of a repetition.
    b1
        Relative transmit field, ``[voxel]``.
    grid
        Values of the atoms.
    ie
        Bounds of the inversion efficiency.
    signed
        Whether the data have signs; magnitudes of the atoms are compared with otherwise.
    progress
        Called with voxels done, their number and what is done.
    """
    atoms, data = grid.atoms(ie), np.asarray(data, np.float64)
    bins = np.abs(b1[:, None] - grid.b1).argmin(1)
    found = np.empty((5, len(data)))
    size = np.maximum(np.linalg.norm(data, axis=1), 1e-300)
    done = 0
    for number in np.unique(bins):
        here = np.nonzero(bins == number)[0]
        shapes = _signals(timing, atoms, float(grid.b1[number]))
        shapes = shapes if signed else np.abs(shapes)
        length = np.linalg.norm(shapes, axis=1)
        tree = cKDTree(shapes / length[:, None], balanced_tree=False, compact_nodes=False)
        best = tree.query(data[here] / size[here, None])[1]
        found[:3, here] = atoms[:, best]
        found[3, here] = (data[here] * shapes[best]).sum(1) / length[best] ** 2
        found[4, here] = ((data[here] - found[3, here, None] * shapes[best]) ** 2).sum(1)
        done += len(here)
        progress(done, len(data), "dictionary")
    t1, t2, efficiency, pd, misfit = found
    return Fitted(t1, t2, pd, efficiency, misfit)


def _signals(timing: QalasTiming, atoms: np.ndarray, b1: float) -> np.ndarray:
    """Return the signals of all atoms, ``[atom, 5]``."""
    result = np.empty((atoms.shape[1], 5))
    for begin in range(0, len(result), _BLOCK):
        t1, t2, ie = torch.from_numpy(atoms[:, begin : begin + _BLOCK])
        result[begin : begin + _BLOCK] = signals(timing, t1, t2, ie=ie, b1=b1).numpy()
    return result
