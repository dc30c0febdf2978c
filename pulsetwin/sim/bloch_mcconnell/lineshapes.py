"""How fast a semisolid absorbs: rate of saturation over the square of the nutation frequency."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def absorption(lineshape: str | None, detuning: Tensor, t2: Tensor, ppm: float, mode: str) -> Tensor:
    """Return the lineshape ``pi g`` [s], so that a pulse saturates at ``omega_1^2 pi g``.

    Parameters
    ----------
    lineshape
        ``lorentzian`` or ``super_lorentzian``.
    detuning
        Of the pulse from the pool [rad/s].
    t2
        Of the pool [s].
    ppm
        One ppm of the field [rad/s]; the super-Lorentzian, which has no finite value at its centre, is smoothed within
        it.
    mode
        ``physical``, or ``pulseq_cest`` for its sum and its interpolation.
    """
    if lineshape == "lorentzian":
        return t2 / (1 + (detuning * t2) ** 2)
    return _super_lorentzian(detuning, t2)


def _super_lorentzian(detuning: Tensor, t2: Tensor) -> Tensor:
    u = torch.linspace(0, 1, 101, dtype=t2.dtype, device=t2.device)
    width = t2[..., None] / (3 * u**2 - 1).abs()
    shape = width * torch.exp(-2 * (detuning[..., None] * width) ** 2)
    return 0.01 * math.pi * math.sqrt(2 / math.pi) * shape.sum(-1)
