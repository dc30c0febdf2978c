"""Figures of a RASER image: its standard deviation, its sinogram beside the spectra, and how white the residual is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pulsetwin.export.display import view
from pulsetwin.export.figures import draw_slice, new_figure
from pulsetwin.export.pictures import Planned
from pulsetwin.volume import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRAS = ("spectra", "sinogram", "residual", "pumped")
"""Spectra's sizes, sinogram and what is pumped, ``[1, angle, mode]``; the residual's correlation, ``[1, 1, lag]``."""
_SINOGRAM = ("RASER", "Spectra as measured, and the projections of the image: each angle in units of its mean.")
_PUMPED = ("RASER", "What was pumped into each mode at first, in units of the threshold a second.")
_DEVIATION = (
    "RASER",
    "The image, its largest voxel 1, and its standard deviation. All errors told are those of the noise.",
)
_RESIDUAL = ("RASER", "Correlation of the residual's samples with later ones: 0 but for lag 0 where it is white noise.")


def planned(images: Images, extras: Mapping[str, np.ndarray]) -> list[Planned]:
    """List the figures that the extras of a RASER image allow, none for other images."""
    known = {
        "sinogram": ("sinogram" in extras, *_SINOGRAM, lambda: sinograms(extras["spectra"][0], extras["sinogram"][0])),
        "pumped": ("pumped" in extras, *_PUMPED, lambda: pumped(extras["pumped"][0])),
        "deviation": ("residual" in extras, *_DEVIATION, lambda: deviation(images)),
        "residual": ("residual" in extras, *_RESIDUAL, lambda: residual(extras["residual"][0, 0])),
    }
    return [(name, section, caption, draw) for name, (wanted, section, caption, draw) in known.items() if wanted]


def sinograms(before: np.ndarray, after: np.ndarray) -> Figure:
    """Draw spectra and projections, ``[angle, mode]`` each, of the same field of view."""
    figure = new_figure(9, 4)
    for axes, values, title in zip(figure.subplots(1, 2), (before, after), ("measured", "mended"), strict=True):
        _draw_modes(figure, axes, values / np.maximum(values.mean(1, keepdims=True), 1e-30))
        axes.set_title(title)
    return figure


def pumped(sources: np.ndarray) -> Figure:
    """Draw what is pumped into the modes, ``[angle, mode]``."""
    figure = new_figure(5, 4)
    _draw_modes(figure, figure.subplots(), sources)
    return figure


def _draw_modes(figure: Figure, axes: Axes, values: np.ndarray) -> None:
    edges = (-0.5, 0.5, len(values) - 0.5, -0.5)
    drawn = axes.imshow(values, aspect="auto", cmap="magma", vmin=0, interpolation="none", extent=edges)
    axes.set(xlabel="place along the gradient / width of all strips", ylabel="projection")
    figure.colorbar(drawn, ax=axes)


def deviation(images: Images) -> Figure:
    """Draw an image and its standard deviation."""
    figure, turned = new_figure(8.6, 3.8), view(images.affine)
    pair = np.abs(images.values[0, 0]), images.noise_std[0]
    for axes, values, title in zip(figure.subplots(1, 2), pair, ("image", "standard deviation"), strict=True):
        window = float(np.percentile(values, 99.5))
        figure.colorbar(draw_slice(axes, turned.turn(values), turned, window=window), ax=axes)
        axes.set_title(title, fontsize=10)
    return figure


def residual(correlation: np.ndarray) -> Figure:
    """Draw the correlation of a residual by lag."""
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    axes.stem(np.arange(len(correlation)), correlation, basefmt=" ")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set(xlabel="lag [samples]", ylabel="correlation", ylim=(min(-0.3, float(correlation.min())), 1.05))
    return figure
