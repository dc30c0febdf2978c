"""Z-spectra as sums of Lorentzian lines, one for each pool of protons, and what they show beside water and MT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.levenberg import Fitted, Model, levenberg


@dataclass(frozen=True, slots=True)
class Line:
    """Where the fit of a pool's line begins, and its bounds: start, lowest, highest.

    Parameters
    ----------
    depth
        What it takes from Z at its centre.
    width
        Full width at half depth [ppm].
    centre
        From water, or of water from where it is expected [ppm].
    """

    depth: tuple[float, float, float]
    width: tuple[float, float, float]
    centre: tuple[float, float, float]


LINES = {
    "water": Line((0.8, 0.02, 1.0), (1.5, 0.2, 10.0), (0.0, -1.0, 1.0)),
    "mt": Line((0.1, 0.0, 0.8), (30.0, 10.0, 100.0), (-2.3, -4.0, 0.0)),
    "amide": Line((0.03, 0.0, 0.3), (1.0, 0.3, 3.0), (3.5, 3.2, 3.8)),
    "amine": Line((0.02, 0.0, 0.3), (1.5, 0.3, 4.0), (2.0, 1.7, 2.6)),
    "noe": Line((0.05, 0.0, 0.4), (3.0, 1.0, 6.0), (-3.5, -4.0, -2.8)),
}
"""Lines of brain at 3 T and B1 of about 1 uT: the pools of multi-pool Lorentzian fits (Zaiss et al. 2011,
doi:10.1016/j.jmr.2011.05.001; Windschuh et al. 2015, doi:10.1002/nbm.3283); bounds leave room for other fields."""
REFERENCE = ("water", "mt")
"""Lines beside which the others are seen."""
_REACH = 0.2  # of a step, of the distance of the bounds: longer ones lead lines out of the way, to a depth of 0
_NEAR, _FAR = 1.0, 6.0  # offsets up to which, and from which, only these are seen [ppm]


def fit_lines(
    z: np.ndarray,
    away: np.ndarray,
    pools: Sequence[str],
    *,
    counts: np.ndarray | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Return depth, width and centre of each line, in this order and those of `pools`, ``[3 pools, voxel]``.

    ``Z = 1 - sum_i depth_i / (1 + (2 (w - centre_water - centre_i) / width_i)^2)``, by bounded least squares.

    Parameters
    ----------
    z
        Relative to M0, ``[voxel, image]``.
    away
        Offsets from where water is expected, w [ppm], ``[voxel, image]``.
    pools
        Names in `LINES`; water is the first.
    counts
        Whether each value counts, bool ``[voxel, image]``; all if None.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If a pool is unknown or twice there, or water is not the first.
    ShapeError
        If the shapes do not agree, or there are no more images than unknowns.
    """
    if not pools or pools[0] != "water" or len(set(pools)) < len(pools) or set(pools) - LINES.keys():
        raise ProtocolError(f"pools {', '.join(pools)}: give water first, then any of {', '.join(LINES)}, each once")
    if z.shape != away.shape or z.ndim != 2:
        raise ShapeError(f"Z is {z.shape}, its offsets are {away.shape}: give [voxel, image]")
    if z.shape[1] <= 3 * len(pools):
        raise ShapeError(
            f"{z.shape[1]} offsets for {len(pools)} lines: give more than {3 * len(pools)}, or fewer pools"
        )
    start, low, high = np.array([one for pool in pools for one in _limits(LINES[pool])]).T
    weight = np.ones(z.shape) if counts is None else counts.astype(np.float64)
    begin = np.repeat(start[:, None], len(z), 1)
    reach = _REACH * (high - low)
    return levenberg(
        _model(away, weight), z * weight, begin, low, high, reach=reach, progress=progress, what="lines of Z-spectra"
    )  # fmt: skip


def lorentzian_difference(
    z: np.ndarray, away: np.ndarray, *, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """Return what Z is less than water and MT alone would leave, ``[voxel, image]``, and their lines ``[6, voxel]``.

    Water and MT are fitted where nothing else is seen, up to 1 ppm and from 6 ppm (Jones et al. 2013,
    doi:10.1016/j.neuroimage.2013.03.047).

    Parameters
    ----------
    z, away, progress
        As in `fit_lines`.

    Raises
    ------
    ProtocolError
        If there are too few offsets of these.
    """
    counts = (np.abs(away) <= _NEAR) | (np.abs(away) >= _FAR)
    far = (np.abs(away) >= _FAR).sum(1)
    if (counts.sum(1) < 7).any() or (far < 2).any():
        raise ProtocolError(
            f"Lorentzian difference: give at least 7 offsets up to {_NEAR:g} or from {_FAR:g} ppm on, 2 of them from "
            f"{_FAR:g} ppm, where only water and MT are seen"
        )
    lines = fit_lines(z, away, REFERENCE, counts=counts, progress=progress).values
    return left_by(lines, away) - z, lines


def left_by(lines: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Return the Z that lines ``[3 pools, voxel]`` leave, ``[voxel, image]``."""
    return _model(away, np.ones_like(away))(lines, np.arange(len(away)))[0]


def _limits(line: Line) -> tuple[tuple[float, float, float], ...]:
    return line.depth, line.width, line.centre


def _model(away: np.ndarray, weight: np.ndarray) -> Model:
    def model(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        here, counted = away[rows], weight[rows]
        z, slopes = counted.copy(), np.empty((len(values), *here.shape))
        for first in range(0, len(values), 3):
            depth, width, centre = values[first : first + 3, :, None]
            from_centre = here - centre - (values[2, :, None] if first else 0.0)
            ratio = 2 * from_centre / width
            shape = counted / (1 + ratio**2)
            bent = 2 * depth * shape / (1 + ratio**2) * ratio  # depth times minus the slope of the shape by the ratio
            z -= depth * shape
            slopes[first], slopes[first + 1], slopes[first + 2] = -shape, -bent * ratio / width, -bent * 2 / width
        slopes[2] = slopes[2::3].sum(0)  # where water is, all lines are
        return z, slopes

    return model
