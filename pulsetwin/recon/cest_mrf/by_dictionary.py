"""CEST-MRF by a dictionary: the parameters of the entry most alike each voxel, among those that known maps allow."""

from __future__ import annotations

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.dictionary import Dictionary
from pulsetwin.recon.cest_mrf.grid import Cartesian, Grid
from pulsetwin.recon.cest_mrf.match import Windows, match
from pulsetwin.recon.cest_mrf.problem import Estimate, Known

_RELATIVE = 0.2
_ABSOLUTE = {"b0_shift": 0.1, "b1": 0.1}
"""Half widths of windows where entries are random: of the value, but for these, in ppm and relative to nominal."""


def by_dictionary(
    data: np.ndarray,
    dictionary: Dictionary,
    given: Known,
    *,
    windows: Windows | None = None,
    loss: float = 0.0,
    threads: int = 1,
    progress: Progress = silent,
) -> Estimate:
    """Return the parameters of the entry that is most alike, not a number where none is allowed.

    Parameters
    ----------
    data
        Normalised as the dictionary is, ``[voxel, measurement]``.
    dictionary
        Entries.
    given
        Parameters known in each voxel, ``[voxel]``, which constrain the entries as `windows_about` says.
    windows
        Constraints in place of those.
    loss, threads, progress
        As of `match`.

    Raises
    ------
    ProtocolError
        If the dictionary does not vary a parameter that is given.
    ShapeError
        If data and dictionary have different numbers of measurements.
    """
    allowed = windows_about(dictionary.grid, given) if windows is None else windows
    found = match(data, dictionary, allowed, loss=loss, threads=threads, progress=progress)
    values, misfit = np.full((len(data), len(dictionary.grid.names)), np.nan), np.full(len(data), np.nan)
    some = found.entry >= 0
    if some.any():
        values[some] = dictionary.grid.rows(found.entry[some])
        misfit[some] = np.sum((data[some] - dictionary.signals[found.entry[some]]) ** 2, 1)
    return Estimate(dict(zip(dictionary.grid.names, values.T, strict=True)), {}, misfit)


def windows_about(grid: Grid, given: Known) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the ranges in which known parameters may lie.

    Of a Cartesian grid that is the nearest value, for what is at most half a step beyond its ends; of a hypercube,
    20 % around a value, or 0.1 ppm and 0.1 for B0 and B1.

    Raises
    ------
    ProtocolError
        If the grid does not vary a parameter that is given.
    """
    windows = {}
    for name, values in given.items():
        if name not in grid.names:
            raise ProtocolError(
                f"{name} is given, but the dictionary does not vary it: add it to the grid, or choose another method"
            )
        values = np.asarray(values, np.float64)
        if isinstance(grid, Cartesian):
            nearest = _nearest(grid.axes[name], values)
            windows[name] = nearest, nearest
        else:
            half = _ABSOLUTE.get(name, _RELATIVE * np.abs(values))
            windows[name] = values - half, values + half
    return windows


def _nearest(axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the nearest value of an axis, not a number farther than half a step beyond its ends."""
    if len(axis) == 1:
        raise ProtocolError("a known parameter has one value in the grid: give it more, or take it out of the grid")
    steps = np.diff(axis)
    inside = (values >= axis[0] - steps[0] / 2) & (values <= axis[-1] + steps[-1] / 2)
    return np.where(inside, axis[np.searchsorted(axis[:-1] + steps / 2, values)], np.nan)
