"""Typical values of maps in regions: labelled ones, or those that T1 tells apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulsetwin.volume import Maps

LIKE = {
    "like white matter (T1 0.6 to 1.1 s)": (0.6, 1.1),
    "like grey matter (T1 1.1 to 1.8 s)": (1.1, 1.8),
    "like fluid (T1 above 3 s)": (3.0, np.inf),
}
"""Name to range of T1 [s] of the automatic regions, at 3 T."""


@dataclass(frozen=True, slots=True)
class Region:
    """Valid voxels of a region, and of each map median, lower and upper quartile."""

    name: str
    voxels: int
    values: dict[str, tuple[float, float, float]]


def regions(maps: Maps, names: tuple[str, ...], labels: np.ndarray | None = None) -> tuple[Region, ...]:
    """Return the values of some maps in each region that has voxels.

    Parameters
    ----------
    maps
        All of one grid, ``T1`` [s] among them.
    names
        Of the maps to tell of.
    labels
        Region of each voxel, whole numbers ``[z, y, x]``, 0 where there is none; if None, regions are those of `LIKE`.
    """
    t1, valid = maps["T1"].values, maps["T1"].valid
    if labels is None:
        masks = {name: valid & (t1 >= low) & (t1 < high) for name, (low, high) in LIKE.items()}
    else:
        masks = {f"label {label}": valid & (labels == label) for label in np.unique(labels[labels != 0]).tolist()}
    return tuple(
        Region(name, int(mask.sum()), {one: _quartiles(maps[one].values[mask]) for one in names})
        for name, mask in masks.items()
        if mask.any()
    )


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(middle), float(low), float(high)
