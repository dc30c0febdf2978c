"""Which positions in k-space a diagram shows, and how: dots for phase-encoded lines, else the sampled paths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pulsetwin.export.diagram_window import Window
from pulsetwin.rawdata import Trajectory
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.readouts import PlayedReadouts

_MOST_LINES, _MOST_MARKED = 300, 100
_MOST_POINTS = 60_000
_FLAT = 1e-3


@dataclass(frozen=True, slots=True)
class KSpace:
    """Positions in k-space of the imaging readouts of the most frequent length.

    Parameters
    ----------
    title
        What is shown; where there is nothing to show, why.
    positions
        Path of each readout [1/m], float64 ``[readout, point, 3]``; one point where all readouts go along one axis.
    order
        Place of each readout in the order of play, int64 ``[readout]``.
    marked
        Whether each readout lies in the diagram's window, while others do not, bool ``[readout]``.
    axes
        The axes to show, two or three of 0, 1, 2.
    """

    title: str
    positions: Array
    order: Array
    marked: Array
    axes: tuple[int, ...]


def kspace(played: PlayedReadouts, window: Window, *, points: int = _MOST_POINTS) -> KSpace:
    """Return the k-space of a sequence, with the readouts of the window marked.

    Cartesian scans with two phase-encoding directions are shown by one dot a readout, in the plane of these
    directions; others by the sampled paths, in three dimensions where they leave a plane. Where the window samples all
    that is ever sampled, only its readouts are shown. Without excitation, k counts from each acquisition's start.

    Parameters
    ----------
    played, window
        The readouts, and the part of the sequence that the diagram shows.
    points
        About how many positions to show at most, where paths are shown.
    """
    events = np.nonzero(played.flags["imaging"])[0]
    if not len(events):
        return _nothing("no imaging readouts")
    lengths, count = np.unique(played.num_samples[events], return_counts=True)
    events = events[played.num_samples[events] == lengths[np.argmax(count)]]
    inside = (played.start_time[events] >= window.start) & (played.start_time[events] < window.stop)
    if lengths[np.argmax(count)] < 2:
        return _nothing("acquisitions of one sample: no k-space")
    trajectory = played.trajectory(events)
    alone = _all_covered(trajectory, inside) and not np.all(inside)
    if alone:
        events, trajectory, inside = events[inside], trajectory[inside], inside[inside]
    excited = not np.all(np.isnan(played.excitation_time[events]))
    if not excited:
        trajectory = replace(trajectory, offset=-trajectory.shapes[trajectory.shape_index, 0])
    along, across = np.ptp(trajectory.shapes, axis=1).max(0), np.ptp(trajectory.offset, axis=0)
    size = max(along.max(), across.max())
    if size < 1:
        return _nothing("all readouts stay at one point of k-space")
    inside = inside & ~np.all(inside)
    moves, steps = along > _FLAT * size, across > _FLAT * size
    if moves.sum() <= 1 and (steps & ~moves).sum() >= 2:
        few = _spread(inside, _MOST_POINTS, _MOST_MARKED)
        name = f"{len(events)} readouts along k{'xyz'[int(np.argmax(moves))]}"
        axes = tuple(np.nonzero(steps & ~moves)[0].tolist())
        return KSpace(name, trajectory.offset[few, None], few, inside[few], axes)
    axes = np.nonzero(moves | steps)[0].tolist()
    if len(axes) == 1:
        axes.append((axes[0] + 1) % 3)
    title = "k-space of this range" if alone else "k-space" if excited else "k since each acquisition's start"
    return _paths(title, trajectory, inside, tuple(axes), points)


def _all_covered(trajectory: Trajectory, inside: Array) -> bool:
    """Whether the readouts inside the window sample all that is ever sampled."""
    keys = np.column_stack((np.rint(trajectory.offset), trajectory.shape_index))
    return len(np.unique(keys[inside], axis=0)) == len(np.unique(keys, axis=0))


def _paths(title: str, trajectory: Trajectory, inside: Array, axes: tuple[int, ...], points: int) -> KSpace:
    few = _spread(inside, _MOST_LINES, _MOST_MARKED)
    positions = trajectory[few].positions()
    step = max(1, -(-positions.shape[0] * positions.shape[1] // points))
    kept = np.unique(np.append(np.arange(0, positions.shape[1], step), positions.shape[1] - 1))
    shown = "" if len(few) == len(inside) else f", {len(few)} shown"
    return KSpace(f"{title}, {len(inside)} readouts{shown}", positions[:, kept], few, inside[few], axes)


def _spread(inside: Array, most: int, most_inside: int) -> Array:
    """Return some readouts, spread over the scan and over its part inside the window.

    Each is drawn from an equal part: equal steps would show a pattern of golden angles that is not there.
    """
    generator = np.random.default_rng(0)
    picked = []
    for some, number in ((np.arange(len(inside)), most), (np.nonzero(inside)[0], most_inside)):
        if len(some) > number:
            some = some[((np.arange(number) + generator.random(number)) * len(some) / number).astype(np.int64)]
        picked.append(some)
    return np.unique(np.concatenate(picked))


def _nothing(text: str) -> KSpace:
    return KSpace(text, np.zeros((0, 0, 3)), np.zeros(0, np.int64), np.zeros(0, bool), (0, 1))
