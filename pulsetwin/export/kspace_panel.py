"""The k-space panel of a sequence diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.sequences.readouts import PlayedReadouts

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_MOST_LINES = 300
_MOST_POINTS = 60_000
_FLAT = 1e-3


def draw_kspace(figure: SubFigure, played: PlayedReadouts) -> None:
    """Draw the k-space of the imaging readouts of the most frequent length, coloured by their order.

    Cartesian scans with two phase-encoding directions show one dot a readout, in the plane of these directions; other
    scans show the sampled paths, in three dimensions where they leave a plane.
    """
    events = np.nonzero(played.flags["imaging"])[0]
    if not len(events):
        _nothing(figure, "no imaging readouts")
        return
    lengths, count = np.unique(played.num_samples[events], return_counts=True)
    events = events[played.num_samples[events] == lengths[np.argmax(count)]]
    if lengths[np.argmax(count)] < 2:
        _nothing(figure, "acquisitions of one sample: no k-space")
        return
    trajectory = played.trajectory(events)
    along = np.ptp(trajectory.shapes, axis=1).max(0)
    across = np.ptp(trajectory.offset, axis=0)
    size = max(along.max(), across.max())
    if size < 1:
        _nothing(figure, "all readouts stay at one point of k-space")
        return
    moves, steps = along > _FLAT * size, across > _FLAT * size
    if moves.sum() <= 1 and (steps & ~moves).sum() >= 2:
        _dots(figure, trajectory.offset, steps & ~moves, moves)
    elif (moves | steps).sum() >= 3:
        _paths(figure, *_picked(trajectory), tuple(range(3)))
    else:
        axes = np.nonzero(moves | steps)[0]
        second = axes[1] if len(axes) > 1 else (axes[0] + 1) % 3
        _paths(figure, *_picked(trajectory), (int(axes[0]), int(second)))


def _nothing(figure: SubFigure, text: str) -> None:
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="0.5", fontsize=10, wrap=True)


def _picked(trajectory: Any) -> tuple[np.ndarray, int]:
    """Return the positions of at most 300 readouts spread over the scan, and how many there are."""
    number = len(trajectory)
    few = np.unique(np.linspace(0, number - 1, min(number, _MOST_LINES)).astype(np.int64))
    positions = trajectory[few].positions()
    step = max(1, positions.shape[0] * positions.shape[1] // _MOST_POINTS)
    return positions[:, ::step], number


def _dots(figure: SubFigure, offset: np.ndarray, plane: np.ndarray, readout: np.ndarray) -> None:
    first, second = np.nonzero(plane)[0][:2]
    few = np.unique(np.linspace(0, len(offset) - 1, min(len(offset), _MOST_POINTS)).astype(np.int64))
    axes = figure.subplots()
    size = float(np.clip(4e4 / len(few), 1, 25))
    points = axes.scatter(offset[few, first], offset[few, second], c=few, s=size, cmap="viridis", linewidths=0)
    name = "xyz"[int(np.argmax(readout))]
    axes.set_title(f"{len(offset)} readouts along k{name}", fontsize=10)
    _dress(figure, axes, points, "xyz"[first], "xyz"[second])


def _paths(figure: SubFigure, positions: np.ndarray, number: int, axes_shown: tuple[int, ...]) -> None:
    from matplotlib.collections import LineCollection

    order = np.linspace(0, number - 1, len(positions))
    names = ["xyz"[axis] for axis in axes_shown]
    shown = "" if len(positions) == number else f", {len(positions)} shown"
    width = 0.8 if len(positions) > 40 else 1.2
    if len(axes_shown) == 3:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        axes = figure.add_subplot(projection="3d")
        lines = Line3DCollection(list(positions), array=order, cmap="viridis", linewidths=width)
        axes.add_collection(lines)
        low, high = positions.min((0, 1)), positions.max((0, 1))
        for set_limits, one, other in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), low, high, strict=True):
            set_limits(one, other)
        axes.set_zlabel(f"k{names[2]} [1/m]", fontsize=9)
    else:
        axes = figure.subplots()
        lines = LineCollection(list(positions[..., axes_shown]), array=order, cmap="viridis", linewidths=width)
        axes.add_collection(lines)
        axes.autoscale()
        axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
        axes.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    axes.set_title(f"k-space, {number} readouts{shown}", fontsize=10)
    _dress(figure, axes, lines, *names[:2])


def write_summary(figure: SubFigure, facts: dict[str, Any]) -> None:
    """Write the protocol, as `describe_seq` measures it, under the k-space."""
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
    for key, name, unit in (
        ("fov_mm", "field of view", " mm"),
        ("matrix", "matrix", ""),
        ("resolution_mm", "resolution", " mm"),
    ):
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
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
