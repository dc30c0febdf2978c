"""The signals of every echo of a QALAS, and the few components of which nearly all of them consist."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming

_T1 = np.geomspace(0.3, 5.0, 24)
_T2 = np.geomspace(0.015, 2.5, 16)
_IE = (0.6, 0.75, 0.9, 1.0)
_B1 = (0.65, 0.85, 1.0, 1.15, 1.35)


def echo_signals(timing: QalasTiming, t1: Tensor, t2: Tensor, ie: Tensor, b1: Tensor) -> Tensor:
    """Return the steady-state signals of all excitations of the trains, of unit proton density.

    Within a train the magnetisation goes towards ``(1 - E1) / (1 - E1 cos)`` by ``E1 cos`` from echo to echo.

    Parameters
    ----------
    timing
        Times of a repetition.
    t1, t2
        Relaxation times [s], ``[tissue]``.
    ie, b1
        Inversion efficiency and relative transmit field, ``[tissue]``.

    Returns
    -------
    Tensor
        ``[tissue, contrast, echo]``.
    """
    angles = torch.tensor(timing.flip_angles, dtype=t1.dtype) * b1[:, None]
    first = signals(timing, t1, t2, ie=ie, b1=b1) / torch.sin(angles)
    kept = torch.exp(-timing.echo_spacing / t1)[:, None]
    ratio = kept * torch.cos(angles)
    driven = (1 - kept) / (1 - ratio)
    echo = torch.arange(timing.train_length, dtype=t1.dtype)
    magnetisation = driven[..., None] + (first - driven)[..., None] * ratio[..., None] ** echo
    return magnetisation * torch.sin(angles)[..., None]


def echo_basis(timing: QalasTiming, components: int) -> tuple[Tensor, Tensor, float]:
    """Return the strongest components of the signals of tissues, how strong they are, and the largest error they leave.

    Tissues have T1 of 0.3 to 5 s, T2 of 15 ms to 2.5 s, inversion efficiencies of 0.6 to 1 and B1 of 0.65 to 1.35,
    each of unit signal.

    Parameters
    ----------
    timing
        Times of a repetition.
    components
        How many.

    Returns
    -------
    Tensor
        Float32 ``[contrast, echo, component]``, on average of unit size over the echoes.
    Tensor
        Root mean square of each over the tissues, relative to the first, ``[component]``.
    float
        Relative to the tissue's signal.
    """
    grid = torch.tensor(list(itertools.product(_T1, _T2, _IE, _B1)), dtype=torch.float64)
    t1, t2, ie, b1 = grid[grid[:, 1] < grid[:, 0]].unbind(1)
    table = echo_signals(timing, t1, t2, ie, b1).flatten(1)
    table = table / torch.linalg.vector_norm(table, dim=1, keepdim=True)
    _, squares, rows = torch.linalg.svd(table.T @ table)
    basis = rows[:components].T
    left = torch.linalg.vector_norm(table - table @ basis @ basis.T, dim=1).max()
    scaled = basis * math.sqrt(timing.train_length)
    strength = (squares[:components] / squares[0]).sqrt()
    return scaled.reshape(CONTRASTS, timing.train_length, components).float(), strength.float(), float(left)
