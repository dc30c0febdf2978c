"""The right side of a sequence diagram: the sampled k-space, and the protocol in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.export.diagram_kspace import KSpace
from pulsetwin.sequences.events import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_MARK = "#c0392b"
_MANY = 40


def draw_kspace(figure: SubFigure, shown: KSpace) -> None:
    """Draw positions in k-space, coloured by their order of play, those of the diagram's window in red."""
    if not len(shown.positions):
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, shown.title, ha="center", va="center", color="0.5", fontsize=10, wrap=True)
        return
    if len(shown.axes) == 3:
        axes = figure.add_subplot(projection="3d")
        colored = _draw_volume(axes, shown)
    else:
        axes = figure.subplots()
        colored = (_draw_dots if shown.positions.shape[1] == 1 else _draw_plane)(axes, shown)
    marked = int(shown.marked.sum())
    red = f"\nin red: {'the one' if marked == 1 else 'those'} at the left" if marked else ""
    axes.set_title(shown.title + red, fontsize=10)
    _dress(figure, axes, colored, *("xyz"[axis] for axis in shown.axes[:2]))


def _draw_dots(axes: Axes, shown: KSpace) -> Any:
    places = shown.positions[:, 0, list(shown.axes)]
    size = float(np.clip(4e4 / len(places), 1, 25))
    points = axes.scatter(*places.T, c=shown.order, s=size, cmap="viridis", linewidths=0, rasterized=len(places) > 2000)
    axes.scatter(*places[shown.marked].T, color=_MARK, s=1.5 * size, linewidths=0)
    return points


def _draw_plane(axes: Axes, shown: KSpace) -> Any:
    from matplotlib.collections import LineCollection

    paths = shown.positions[..., list(shown.axes)]
    lines = axes.add_collection(
        LineCollection(list(paths), array=shown.order, cmap="viridis", linewidths=_width(paths))
    )
    axes.add_collection(LineCollection(list(paths[shown.marked]), color=_MARK, linewidths=1.2))
    axes.autoscale()
    axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    axes.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    return lines


def _draw_volume(axes: Any, shown: KSpace) -> Any:
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    paths = shown.positions
    if paths.shape[1] == 1:
        lines = axes.scatter(*paths[:, 0].T, c=shown.order, s=2, cmap="viridis", linewidths=0)
    else:
        lines = Line3DCollection(list(paths), array=shown.order, cmap="viridis", linewidths=_width(paths))
        axes.add_collection(lines)
        axes.add_collection(Line3DCollection(list(paths[shown.marked]), color=_MARK, linewidths=1.2))
    low, high = paths.min((0, 1)), paths.max((0, 1))
    for set_limits, one, other in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), low, high, strict=True):
        set_limits(one, other)
    extent = np.maximum(high - low, 0.25 * (high - low).max())
    axes.set_box_aspect(extent, zoom=0.85)
    axes.set_zlabel("kz [1/m]", fontsize=9)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(_few_ticks(symmetric=True))
        axis.pane.set_alpha(0.3)
    return lines


def _few_ticks(**style: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, **style)


def _width(paths: Array) -> float:
    return 0.8 if len(paths) > _MANY else 1.2


def write_summary(figure: SubFigure, facts: dict[str, Any]) -> None:
    """Write the protocol, as `describe_seq` tells it, under the k-space."""
    rows = [("duration", f"{facts['duration_s']:.6g} s, {facts['blocks']} blocks")]
    for pulse in facts["pulses"]:
        low, high = (f"{value:.4g}" for value in pulse["flip_deg"])
        flip = f"{low}°" if low == high else f"{low} to {high}°"
        rows.append((pulse["use"], f"{pulse['played']} × {flip}"))
    rows += [
        ("acquisition", f"{kind['readouts']} × {kind['samples']} samples, {kind['dwell_us']:g} µs")
        for kind in facts["acquisitions"][:2]
    ]
    if facts.get("te_ms"):
        rows.append(
            ("TE", ", ".join(f"{te:.4g}" for te in facts["te_ms"][:4]) + " ms" + ", …" * (len(facts["te_ms"]) > 4))
        )
    if facts.get("tr_ms"):
        rows.append(("TR", f"{facts['tr_ms']:.6g} ms"))
    encoded = (("fov_mm", "field of view", " mm"), ("matrix", "matrix", ""), ("resolution_mm", "resolution", " mm"))
    for key, name, unit in encoded:
        values = facts.get(key, ())
        if any(values) and (key != "matrix" or None not in values):
            rows.append((name, " × ".join("–" if value is None else f"{value:.4g}" for value in values) + unit))
    rows.append(("signature", facts["signature_state"]))
    rows += [("needs", need) for need in facts["needs"]]
    axes = figure.subplots()
    axes.set_axis_off()
    for number, (name, value) in enumerate(rows[:13]):
        height = 1 - (number + 0.5) / max(len(rows[:13]), 9)
        axes.text(0.30, height, name, ha="right", va="center", fontsize=8.5, color="0.45")
        axes.text(0.34, height, value, ha="left", va="center", fontsize=8.5, color="0.15")


def _dress(figure: SubFigure, axes: Any, colored: Any, horizontal: str, vertical: str) -> None:
    axes.set_xlabel(f"k{horizontal} [1/m]", fontsize=9)
    axes.set_ylabel(f"k{vertical} [1/m]", fontsize=9)
    axes.tick_params(labelsize=8)
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    if not hasattr(axes, "get_zlim"):
        axes.spines[["top", "right"]].set_visible(False)
        if (high - low).max() < 4 * max((high - low).min(), 1e-9):
            axes.set_aspect("equal", adjustable="box")
    bar = figure.colorbar(colored, ax=axes, shrink=0.6, location="bottom", pad=0.02, aspect=30)
    bar.set_label("order of play (readout)", fontsize=8)
    bar.ax.xaxis.set_major_locator(_few_ticks(integer=True))
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
