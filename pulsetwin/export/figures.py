"""Pictures of images: magnitude, phase, SNR and ghosts, turned the radiological way with the patient's directions."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import ShapeError
from pulsetwin.export.display import View, view
from pulsetwin.export.nifti import snr
from pulsetwin.volume import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
MAX_TILES = 20
MAX_ROWS = 6
PERCENTILE = 99.7
INK = "#f2f2f2"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty matplotlib figure [inch] that knows no window system and no global state."""
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=DPI, layout="constrained", facecolor="white")


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save_png(figure: Figure, path: str | Path, *, force: bool = False) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(to_png(figure))


def magnitude(images: Images) -> Figure:
    """Draw the magnitude of slices and contrasts, each contrast in its own window."""
    values = np.abs(images.values)
    return _montage(images, values, "Magnitude", windows=[_window(contrast) for contrast in values])


def phase(images: Images) -> Figure:
    """Draw the phase [rad] where there is signal, in a cyclic colour map."""
    values = np.abs(images.values)
    signal = values > 0.1 * np.array([_window(contrast) for contrast in values])[:, None, None, None]
    if images.noise_std is not None:
        signal &= values > 5 * images.noise_std
    shown = np.where(signal, np.angle(images.values), np.nan)
    windows = [math.pi] * len(shown)
    return _montage(images, shown, "Phase [rad]", windows=windows, low=-math.pi, colours="twilight", bar=True)


def snr_map(images: Images) -> Figure:
    """Draw the signal-to-noise ratio of each voxel (see `nifti.snr`) with its colour bar."""
    values = snr(images)
    return _montage(images, values, "SNR", windows=[_window(values)] * len(values), colours="magma", bar=True)


def planes(images: Images) -> Figure:
    """Draw the three planes through the centre of a volume, of the first contrast."""
    volume = np.abs(images.values[0])
    z, y, x = (n // 2 for n in volume.shape)
    cuts = ((volume[z], (1, 0)), (volume[:, y], (2, 0)), (volume[:, :, x], (2, 1)))
    window = _window(volume)
    figure = new_figure(10, 4)
    for axes, (cut, index_axes) in zip(figure.subplots(1, 3), cuts, strict=True):
        turned = view(images.affine, index_axes)
        draw_slice(axes, turned.turn(cut), turned, window=window)
        axes.set_title(turned.plane, fontsize=10)
    return figure


def ghost(before: np.ndarray, images: Images) -> Figure:
    """Draw the middle slice before and after ghost correction, each in its own window, and ten times brighter.

    Parameters
    ----------
    before
        Magnitude of the first contrast without the correction, ``[z, y, x]``.
    images
        The corrected images.
    """
    if before.shape != images.values.shape[1:]:
        raise ShapeError(f"the image before the correction is {before.shape}, after it {images.values.shape[1:]}")
    turned, middle = view(images.affine), images.values.shape[1] // 2
    pair = [turned.turn(np.abs(volume[middle])) for volume in (before, images.values[0])]
    figure = new_figure(8.4, 8.6)
    grid = figure.subplots(2, 2)
    for column, (tile, name) in enumerate(zip(pair, ("without correction", "corrected"), strict=True)):
        for row, brighter in enumerate((1, 10)):
            draw_slice(grid[row, column], tile, turned, window=_window(tile) / brighter)
            grid[row, column].set_title(name if brighter == 1 else f"{name}, {brighter} times brighter", fontsize=10)
    return figure


def draw_slice(
    axes: Axes, tile: np.ndarray, turned: View, *, window: float, low: float = 0.0, colours: str = "gray"
) -> Any:
    """Draw one slice that `View.turn` has turned, with the patient's directions and a scale bar; return its artist."""
    artist = axes.imshow(tile, cmap=colours, vmin=low, vmax=window, aspect=turned.spacing[0] / turned.spacing[1])
    _bare(axes)
    _letters(axes, turned)
    _scale_bar(axes, tile.shape, turned.spacing)
    return artist


def _montage(
    images: Images, values: np.ndarray, title: str, *, windows: Sequence[float], bar: bool = False, **style: Any
) -> Figure:
    """Draw a grid of slices and contrasts of `values`, each contrast up to its window."""
    tiles, columns = _choose_tiles(*values.shape[:2])
    rows = math.ceil(len(tiles) / columns)
    turned = view(images.affine)
    height, width = turned.turn(values[0, 0]).shape * np.array(turned.spacing)
    side = min(6.5 if len(tiles) == 1 else 2.4, 11 / columns)
    figure = new_figure(side * columns + 0.3 + bar, side * rows * min(height / width, 2.5) + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (contrast, z) in zip(grid, tiles, strict=False):
        tile = turned.turn(values[contrast, z])
        artist = draw_slice(axes, tile, turned, window=windows[contrast], **style)
        axes.set_title(_tile_name(images, contrast, z), fontsize=8, pad=3)
    for axes in grid[len(tiles) :]:
        axes.set_axis_off()
    if bar:
        figure.colorbar(artist, ax=list(grid), shrink=0.8, pad=0.02)
    figure.suptitle(f"{title}, {turned.plane}, {describe_grid(images)}", fontsize=10)
    return figure


def describe_grid(images: Images) -> str:
    """Return voxels and voxel size in words."""
    contrasts, z, y, x = images.values.shape
    size = " × ".join(f"{mm:.3g}" for mm in images.voxel_size)
    return f"{x} × {y} × {z} voxels of {size} mm" + (f", {contrasts} contrasts" if contrasts > 1 else "")


def _choose_tiles(contrasts: int, slices: int) -> tuple[list[tuple[int, int]], int]:
    """Return which (contrast, slice) to show, evenly spread, and the number of columns."""
    if contrasts > 1 and slices > 1:
        picked = _spread(slices, MAX_TILES // 4)
        return [(c, z) for c in _spread(contrasts, MAX_ROWS) for z in picked], len(picked)
    if slices > 1:
        tiles = [(0, z) for z in _spread(slices, MAX_TILES)]
    else:
        tiles = [(c, 0) for c in _spread(contrasts, MAX_TILES)]
    return tiles, min(len(tiles), 5) if len(tiles) > 4 else len(tiles)


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spread and off the ends."""
    if count <= most:
        return list(range(count))
    return [int((i + 0.5) * count / most) for i in range(most)]


def _tile_name(images: Images, contrast: int, z: int) -> str:
    """Name a tile by what varies."""
    parts = [f"contrast {contrast}"] if images.values.shape[0] > 1 else []
    parts += [f"slice {z}"] if images.values.shape[1] > 1 else []
    return ", ".join(parts)


def _window(values: np.ndarray) -> float:
    """Return an upper display limit that a few bright voxels do not move."""
    shown = values[np.isfinite(values)]
    return float(np.percentile(shown, PERCENTILE)) or 1.0 if shown.size else 1.0


def _bare(axes: Axes) -> None:
    """Take ticks and frame away, on black."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")


def _letters(axes: Axes, turned: View) -> None:
    """Write the patient's directions at the edges."""
    places = ((turned.left, 0.015, 0.5, "left", "center"), (turned.right, 0.985, 0.5, "right", "center"))
    places += ((turned.top, 0.5, 0.985, "center", "top"), (turned.bottom, 0.5, 0.015, "center", "bottom"))
    for text, x, y, horizontal, vertical in places:
        _outlined(axes, x, y, text, ha=horizontal, va=vertical, fontsize=9, transform=axes.transAxes)


def _scale_bar(axes: Axes, shape: tuple[int, ...], spacing: tuple[float, float]) -> None:
    """Draw a bar of a round length [mm], about a fifth of the width, in the lower left corner."""
    rows, columns = shape[-2:]
    length = _round_length(0.22 * columns * spacing[1])
    y, x = 0.955 * rows - 0.5, 0.04 * columns - 0.5
    axes.plot([x, x + length / spacing[1]], [y, y], color=INK, linewidth=2, solid_capstyle="butt")
    _outlined(axes, x, y - 0.012 * rows, f"{length:g} mm", ha="left", va="bottom", fontsize=7)


def _round_length(target: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `target`."""
    power = 10.0 ** math.floor(math.log10(target))
    return max(step * power for step in (1, 2, 5) if step * power <= target * (1 + 1e-9))


def _outlined(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write light text with a dark outline, readable on any image."""
    from matplotlib import patheffects

    outline = [patheffects.withStroke(linewidth=2, foreground="#000000")]
    axes.text(x, y, text, color=INK, path_effects=outline, **style)
