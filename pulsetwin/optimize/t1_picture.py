"""Picture of a run of T1 mapping: the times learnt so far, T1 of a brain as the network tells it, and the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def t1_figure(
    values: Mapping[str, Tensor], told: Tensor, true: Tensor, history: Sequence[Mapping[str, float]]
) -> Figure:
    """Draw the times, T1 as it is and as it is told, its error, and that of each step.

    Parameters
    ----------
    values
        Of the sequence: ``inversion_time`` ``[image]`` and ``recovery`` ``[image - 1]`` [s].
    told, true
        T1 [s] by the network and of the object, ``[y, x]``, 0 where nothing is.
    history
        Of `joint.Taught`.
    """
    from matplotlib.figure import Figure

    figure = Figure((14, 3), dpi=80, layout="constrained", facecolor="white")
    axes = figure.subplots(1, 5, width_ratios=(1.2, 1, 1, 1, 1.2))
    number = np.arange(1, len(values["inversion_time"]) + 1)
    axes[0].bar(number, values["inversion_time"].numpy(), 0.4, label="inversion time")
    axes[0].bar(number[1:] - 0.4, values["recovery"].numpy(), 0.4, label="recovery before")
    axes[0].set(title="times [s]", xlabel="image")
    axes[0].legend(fontsize=7)
    for axis, picture, title in ((axes[1], true, "T1 [s]"), (axes[2], told, "T1, network [s]")):
        figure.colorbar(axis.imshow(picture.numpy(), vmin=0, vmax=4.5, origin="lower"), ax=axis, shrink=0.8)
        axis.set(title=title, xticks=[], yticks=[])
    error = torch.where(true > 0, 100 * (told / true - 1), 0.0)
    figure.colorbar(
        axes[3].imshow(error.numpy(), vmin=-20, vmax=20, cmap="RdBu_r", origin="lower"), ax=axes[3], shrink=0.8
    )
    axes[3].set(title="error [%]", xticks=[], yticks=[])
    axes[4].semilogy([line["error"] for line in history], lw=0.5)
    axes[4].set(title=f"error of log T1, step {len(history)}", xlabel="step")
    return figure
