"""Pictures of raw data: k-space as acquired, the trajectory, and the noise of the coils."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.export.figures import new_figure
from pulsetwin.rawdata import RawData, Readouts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_READOUTS = 512
MAX_BYTES = 1 << 26
MAX_CURVES = 200
MAX_POINTS = 20_000
MAX_NOISE = 100_000
RANGE_DB = 80.0
ACCENT = "#2a6fbb"
SECOND = "#d1603d"


def kspace(raw: RawData) -> Figure:
    """Draw the magnitude of the imaging readouts in the order of their acquisition [dB below the maximum].

    Coils are combined by root sum of squares; long scans show evenly spread readouts, so that little is read.
    """
    group = raw.groups[0]
    _, coils, samples = group.samples.shape
    most = max(1, min(MAX_READOUTS, MAX_BYTES // (8 * coils * samples)))
    index = _spread(np.nonzero(group.flag("imaging"))[0], most)
    power = np.sum(np.abs(np.asarray(group.samples[index])) ** 2, axis=1)
    level = 10 * np.log10(np.maximum(power / max(power.max(), 1e-300), 10 ** (-RANGE_DB / 10)))
    figure = new_figure(6.4, 5.2)
    axes = figure.subplots()
    edges = (-0.5, samples - 0.5, index[-1] + 0.5, index[0] - 0.5)
    artist = axes.imshow(level, aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0, interpolation="none", extent=edges)
    axes.set(xlabel="sample", ylabel="readout, in the order of acquisition")
    figure.colorbar(artist, ax=axes, label="dB below the maximum")
    return figure


def trajectory(raw: RawData) -> Figure:
    """Draw the path through k-space [1/m], coloured by the time of acquisition."""
    group = raw.groups[0]
    if group.trajectory is None:
        raise ShapeError("these raw data have no trajectory: read them with their .seq")
    index = _spread(np.nonzero(group.flag("imaging"))[0], MAX_CURVES)
    positions = group.trajectory[index].positions()
    times = group.start_time[index]
    figure = new_figure(10, 4.8)
    left, right = figure.subplots(1, 2)
    artist = _draw_curves(left, positions, times)
    if np.ptp(positions[..., 2]) > 1e-3:
        _draw_points(right, positions, times)
    else:
        _draw_order(right, group)
    figure.colorbar(artist, ax=[left, right], label="time of the readout [s]", shrink=0.9)
    return figure


def noise(raw: RawData) -> Figure:
    """Draw the correlation of the coils' noise and its standard deviation in each coil; for one coil, its histogram."""
    if raw.noise is None:
        raise ShapeError("these raw data have no noise: give a noise scan with --noise")
    samples = raw.noise[:, :MAX_NOISE].astype(np.complex128)
    covariance = samples @ samples.conj().T / samples.shape[1]
    deviation = np.sqrt(np.diag(covariance).real)
    figure = new_figure(10, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    if len(samples) == 1:
        _draw_histogram(left, samples[0], deviation[0])
    else:
        safe = np.where(deviation > 0, deviation, 1)
        artist = left.imshow(np.abs(covariance) / np.outer(safe, safe), cmap="viridis", vmin=0, vmax=1)
        left.set(title="noise correlation between coils", xlabel="coil", ylabel="coil")
        figure.colorbar(artist, ax=left, label="|correlation|")
    right.bar(np.arange(len(deviation)), deviation, color=ACCENT)
    right.set(title="noise in each coil", xlabel="coil", ylabel="standard deviation [raw units]")
    right.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_curves(axes: Axes, positions: np.ndarray, times: np.ndarray) -> Any:
    """Draw kx and ky of each readout as a line."""
    from matplotlib.collections import LineCollection

    step = max(1, positions.shape[1] * len(positions) // MAX_POINTS)
    curves = LineCollection(positions[:, ::step, :2], cmap="viridis", linewidths=0.8)
    curves.set_array(times)
    axes.add_collection(curves)
    axes.autoscale_view()
    axes.set(xlabel="$k_x$ [1/m]", ylabel="$k_y$ [1/m]", title="readouts", aspect="equal", adjustable="datalim")
    return curves


def _draw_points(axes: Axes, positions: np.ndarray, times: np.ndarray) -> None:
    """Draw ky and kz of the samples as points."""
    step = max(1, positions.shape[1] * len(positions) // MAX_POINTS)
    shown = positions[:, ::step]
    colours = np.repeat(times, shown.shape[1])
    axes.scatter(shown[..., 1].ravel(), shown[..., 2].ravel(), c=colours, s=3, cmap="viridis", linewidths=0)
    axes.set(xlabel="$k_y$ [1/m]", ylabel="$k_z$ [1/m]", title="samples", aspect="equal", adjustable="datalim")


def _draw_order(axes: Axes, group: Readouts) -> None:
    """Draw ky of every imaging readout's middle sample in the order of acquisition, those against the first apart."""
    index = _spread(np.nonzero(group.flag("imaging"))[0], MAX_POINTS)
    path = group.trajectory[index]
    middle = path.offset
    span = (path.shapes[:, -1] - path.shapes[:, 0])[path.shape_index]
    back = span @ span[0] < 0
    for chosen, colour, name in ((~back, ACCENT, "forward"), (back, SECOND, "reversed")):
        if chosen.any():
            axes.plot(index[chosen], middle[chosen, 1], ".", color=colour, markersize=4, label=name)
    axes.set(xlabel="readout, in the order of acquisition", ylabel="$k_y$ [1/m]", title="order of phase encoding")
    if back.any():
        axes.legend(frameon=False)


def _draw_histogram(axes: Axes, samples: np.ndarray, deviation: float) -> None:
    """Draw the distribution of the real and imaginary parts beside the normal one."""
    parts = np.concatenate([samples.real, samples.imag])
    sigma = deviation / np.sqrt(2) or 1.0
    axes.hist(parts, bins=60, density=True, color=ACCENT, alpha=0.6, label="measured")
    grid = np.linspace(-4 * sigma, 4 * sigma, 200)
    normal = np.exp(-(grid**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    axes.plot(grid, normal, color=SECOND, label="normal")
    axes.set(title="distribution of the noise", xlabel="real and imaginary part [raw units]", ylabel="density")
    axes.legend(frameon=False)


def _spread(index: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` entries of `index`, evenly spread, the first and the last among them."""
    if len(index) <= most:
        return index
    return index[np.round(np.linspace(0, len(index) - 1, most)).astype(int)]
