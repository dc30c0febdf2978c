"""Signals of images after inversions that the spins have not recovered from, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def signals(
    t1: Tensor, inversion_time: Tensor, recovery: Tensor, *, flip_angle: Tensor | float, tr: float, pulses: int,
    efficiency: Tensor | float = 1.0,
) -> Tensor:  # fmt: skip
    """Return the transverse magnetisation after the first excitation of each image, in units of equilibrium.

    An image is an inversion, a wait, and a train of excitations whose transverse magnetisation is spoiled, of which the
    first has the centre of k-space. With ``m`` before the inversion, ``E = exp(-time / T1)`` and ``q = cos(a) E_TR``,
    ``m0 = 1 - (1 + e m) E_TI`` is excited, ``m0 q^n + (1 - E_TR) (1 - q^n) / (1 - q)`` is left by the train of n, and
    recovers until the next inversion. The first image begins at equilibrium.

    Parameters
    ----------
    t1
        [s], ``[...]``.
    inversion_time
        From each inversion to the first excitation [s], ``[image]``, or ``[..., image]`` of each voxel's own.
    recovery
        From the end of each train but the last to the next inversion [s], ``[..., image - 1]``.
    flip_angle
        Of the excitations [rad], one, or ``[..., image]``.
    tr
        From excitation to excitation [s].
    pulses
        Excitations of an image.
    efficiency
        Share of the magnetisation that is inverted, ``[...]`` or one for all.

    Returns
    -------
    Tensor
        Real ``[..., image]``.
    """
    angles = torch.as_tensor(flip_angle, dtype=t1.dtype).expand(inversion_time.shape)
    waits = torch.cat((recovery, torch.zeros_like(inversion_time[..., :1])), -1)
    kept = torch.exp(-tr / t1)
    before, seen = torch.ones_like(t1), []
    for angle, first, wait in zip(angles.unbind(-1), inversion_time.unbind(-1), waits.unbind(-1), strict=True):
        excited = 1 - (1 + efficiency * before) * torch.exp(-first / t1)
        seen.append(excited * torch.sin(angle))
        turned = torch.cos(angle) * kept
        rest = turned**pulses
        left = excited * rest + (1 - kept) * (1 - rest) / (1 - turned)
        before = 1 - (1 - left) * torch.exp(-wait / t1)
    return torch.stack(seen, -1)
