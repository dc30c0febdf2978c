"""Pictures of a run: k-space, flip angles, image, and the loss so far; the latest of them, and a film of all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
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
    from PIL.Image import Image

STATE, FRAMES, FILM = "state.png", "frames", "film"
_DPI, _RATE, _LAST = 80, 5, 10  # dots per inch, frames per second, and how many the last of them stands for

Show = Callable[["Figure"], None]
"""Called with each picture of a run."""


def unseen(figure: Figure) -> None:
    """Show a picture to nobody: the default of every run."""


def state_figure(
    problem: Problem, timeline: Timeline, image: Tensor, target: Tensor, history: Sequence[Mapping[str, float]]
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


def keep_picture(figure: Figure, folder: Path, step: int, show: Show = unseen) -> None:
    """Write a picture as frame of the film and as the latest state in the folder of a run, and show it."""
    frame = folder / FRAMES / f"{step:07d}.png"
    with atomic_file(frame, force=True) as temporary:
        figure.savefig(temporary, format="png")
    with atomic_file(folder / STATE, force=True) as temporary:
        shutil.copyfile(frame, temporary)
    show(figure)


def save_film(folder: Path) -> None:
    """Write the frames in the folder of a run as GIF and, where the extra ``film`` is installed, as MP4."""
    frames = sorted((folder / FRAMES).glob("*.png"))
    _save_gif(frames, folder / f"{FILM}.gif")
    try:
        import av  # noqa: F401
    except ImportError:
        return
    _save_mp4(frames, folder / f"{FILM}.mp4")


def _save_gif(frames: Sequence[Path], path: Path) -> None:
    from PIL import Image

    pictures = (_picture(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames)
    stands = [1000 // _RATE] * (len(frames) - 1) + [1000 * _LAST // _RATE]
    with atomic_file(path, force=True) as temporary:
        next(pictures).save(temporary, format="GIF", save_all=True, append_images=pictures, duration=stands, loop=0)


def _save_mp4(frames: Sequence[Path], path: Path) -> None:
    """Write H.264 in the colours that every player knows, which take even numbers of pixels."""
    import av

    width, height = (edge - edge % 2 for edge in _picture(frames[0]).size)
    with atomic_file(path, force=True) as temporary, av.open(str(temporary), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=_RATE, options={"crf": "18"})
        stream.pix_fmt, stream.height, stream.width = "yuv420p", height, width
        for frame in chain(frames, repeat(frames[-1], _LAST - 1)):
            picture = np.asarray(_picture(frame).convert("RGB"))
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture[:height, :width], format="rgb24")))
        film.mux(stream.encode())


def _picture(frame: Path) -> Image:
    """Return a frame, read to the end, so that its file is closed."""
    from PIL.Image import open as opened

    with opened(frame) as picture:
        picture.load()
    return picture
