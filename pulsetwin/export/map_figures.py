"""Pictures of maps: three planes of each, in the window that its quantity has, with a colour bar and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pulsetwin.export.display import view
from pulsetwin.export.figures import draw_slice, new_figure
from pulsetwin.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOWS = {
    "T1": (0.0, 2.5, "inferno"),
    "T2": (0.0, 0.2, "viridis"),
    "IE": (0.5, 1.0, "cividis"),
    "B1": (0.6, 1.4, "coolwarm"),
}
"""Lower and upper limit, in the map's unit, and colours; others reach from 0 to what few voxels exceed."""
_RATIOS = ("IE", "B1", "IE_std", "R2")
_SIGNED = ("PSIR", "B0", "B0_ppm", "MTRasym", "shift", "LD_amide", "LD_noe")
_PERCENTILE = 99.0
_MEDIANS = 4.0  # where the window of standard deviations ends
_SHALLOW = 8  # slices below which only the plane of the slices is shown


def draw_maps(volumes: Mapping[str, Volume], *, cuts: bool = True) -> Figure:
    """Draw maps of one grid, a column each, through the centre of what is valid; voxels that are not are black.

    Parameters
    ----------
    volumes
        Name to map.
    cuts
        Whether to draw three planes, one below the other, or the plane of the slices only.
    """
    from matplotlib.ticker import MaxNLocator

    first = next(iter(volumes.values()))
    planes = _planes(first.valid, cuts)
    turned = [view(first.affine, axes) for _, axes in planes]
    shapes = [one.turn(first.values[cut]).shape for one, (cut, _) in zip(turned, planes, strict=True)]
    heights = [_height(one.spacing, shape) for one, shape in zip(turned, shapes, strict=True)]
    side = 2.6
    figure = new_figure(side * len(volumes) + 0.3, side * sum(heights) + 0.9)
    grid = figure.subplots(len(planes), len(volumes), squeeze=False, gridspec_kw={"height_ratios": heights})
    for column, (name, volume) in zip(grid.T, volumes.items(), strict=True):
        low, high, colours = window(name, volume)
        for axes, (cut, _), one in zip(column, planes, turned, strict=True):
            shown = np.where(volume.valid[cut], volume.values[cut], np.nan)
            artist = draw_slice(axes, one.turn(shown), one, low=low, window=high, colours=colours)
        column[0].set_title(name, fontsize=10)
        bar = figure.colorbar(artist, ax=list(column), location="bottom", shrink=0.9, pad=0.02, aspect=14)
        ratio = name in _RATIOS or name.endswith("_fraction")
        bar.set_label(volume.unit or ("relative" if ratio else "arbitrary units"), fontsize=9)
        bar.ax.tick_params(labelsize=8)
        bar.formatter.set_powerlimits((-3, 4))
        bar.locator = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
        bar.update_ticks()
    return figure


def window(name: str, volume: Volume) -> tuple[float, float, str]:
    """Return lower and upper limit and colours in which a map is shown."""
    if name in WINDOWS:
        return WINDOWS[name]
    values = volume.values[volume.valid]
    if not values.size:
        return 0.0, 1.0, "gray"
    if name.endswith("_std"):
        return 0.0, float(_MEDIANS * np.median(values)) or 1.0, "magma"
    low, high = np.percentile(values, (100 - _PERCENTILE, _PERCENTILE))
    return (float(low) if name in _SIGNED else 0.0), float(high) or 1.0, "gray"


def _planes(valid: np.ndarray, cuts: bool) -> list[tuple[tuple[slice | int, ...], tuple[int, int]]]:
    """Return index and axes, as `view` takes them, of the planes through the centre of what is valid."""
    where = np.nonzero(valid)
    z, y, x = (int(np.median(one)) if one.size else n // 2 for one, n in zip(where, valid.shape, strict=True))
    whole = slice(None)
    planes = [((z, whole, whole), (1, 0)), ((whole, y, whole), (2, 0)), ((whole, whole, x), (2, 1))]
    return planes if cuts and valid.shape[0] >= _SHALLOW else planes[:1]


def _height(spacing: tuple[float, float], shape: tuple[int, ...]) -> float:
    """Return how high a plane is, of its width."""
    return float(np.clip(shape[0] * spacing[0] / (shape[1] * spacing[1]), 0.3, 2.5))
