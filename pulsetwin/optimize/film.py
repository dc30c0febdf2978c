"""Pictures of a run: k-space, flip angles, image, and the loss so far; and a film of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import atomic_file
from pulsetwin.optimize.problem import Problem
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.sim.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI, _FRAME, _LAST = 80, 200, 2000  # dots per inch, and how long frames and the last of them stand [ms]


def state_figure(
    problem: Problem, timeline: Timeline, image: Tensor, target: Tensor, history: list[dict[str, float]]
) -> Figure:
    """Draw k-space, flip angles, the image beside its target, and error and SAR over the steps.

    Parameters
    ----------
    problem
        The experiment's problem.
    timeline
        The sequence as learnt so far.
    image, target
        Complex ``[y, x]``.
    history
        Of `loop.Learnt`.
    """
    from matplotlib.figure import Figure

    figure = Figure((13, 3.2), dpi=_DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(1, 5)
    _draw_kspace(axes[0], problem, timeline)
    flips = [np.degrees(line.flip_angle.detach().numpy()) for line in (timeline, problem.scheme.timeline())]
    axes[1].plot(flips[1], color="0.7", label="target")
    axes[1].plot(flips[0], color="tab:red", label="learnt")
    axes[1].set(title="flip angle [degrees]", xlabel="pulse")
    axes[1].legend(fontsize=7)
    top = float(target.abs().max())
    for axis, picture, title in ((axes[2], image, "image"), (axes[3], target, "target")):
        axis.imshow(picture.detach().abs().numpy(), cmap="gray", vmin=0, vmax=top, origin="lower")
        axis.set(title=title, xticks=[], yticks=[])
    for name in ("error", "sar"):
        axes[4].semilogy([line[name] for line in history], label=name)
    axes[4].set(title=f"step {len(history)}", xlabel="step")
    axes[4].legend(fontsize=7)
    return figure


def _draw_kspace(axis: Axes, problem: Problem, timeline: Timeline) -> None:
    """Draw the samples in steps of one over the field of view, readouts in colours from first to last."""
    scheme = problem.scheme
    with torch.no_grad():
        k = sampled_kspace(timeline, scheme.refocusing)[:, :2].numpy() * np.array(scheme.fov[:2])
    colours = np.arange(len(k)) / len(k)
    axis.scatter(k[:, 0], k[:, 1], c=colours, cmap="viridis", s=1)
    half = max(scheme.matrix) / 2
    axis.plot([-half, half, half, -half, -half], [-half, -half, half, half, -half], color="0.7", lw=0.8)
    reach = 1.4 * half
    axis.set(title="k-space [1/FOV]", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def save_frame(figure: Figure, path: Path) -> None:
    """Write a picture as PNG."""
    with atomic_file(path, force=True) as temporary:
        figure.savefig(temporary, format="png")


def save_film(frames: Path, path: Path) -> None:
    """Write the pictures of a folder, in order of their names, as an animated GIF."""
    from PIL import Image

    pictures = [Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE) for file in sorted(frames.glob("*.png"))]
    if not pictures:
        return
    stands = [_FRAME] * (len(pictures) - 1) + [_LAST]
    with atomic_file(path, force=True) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=stands, loop=0)
