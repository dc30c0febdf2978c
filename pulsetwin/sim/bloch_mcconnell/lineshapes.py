"""How fast a semisolid absorbs: its rate of saturation over the square of the nutation frequency."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_NODES = 64


def absorption(lineshape: str | None, detuning: Tensor, t2: Tensor, ppm: float, mode: str) -> Tensor:
    """Return the lineshape ``pi g`` [s], so that a pulse saturates at a rate of ``omega_1^2 pi g``.

    The super-Lorentzian ``sqrt(2 pi) int_0^1 T2 / |3 u^2 - 1| exp(-2 (Delta T2 / (3 u^2 - 1))^2) du`` (Morrison and
    Henkelman 1995, doi:10.1002/mrm.1910330404) has no finite value at its centre. Within 1 ppm of it a parabola takes
    its place, of the same value and slope at 1 ppm; in the mode ``pulseq_cest``, what its simulation has there.

    Parameters
    ----------
    lineshape
        ``lorentzian`` or ``super_lorentzian``.
    detuning
        Of the pulse from the pool [rad/s].
    t2
        Of the pool [s], which broadcasts with `detuning`.
    ppm
        One ppm of the field [rad/s].
    mode
        ``physical``, or ``pulseq_cest`` for its sum of 101 points and its interpolation.
    """
    if lineshape == "lorentzian":
        return t2 / (1 + (detuning * t2) ** 2)
    far = detuning.abs() >= ppm
    away = torch.where(far, detuning, ppm)
    if mode == "physical":
        u, weight = _gauss_legendre()
        return torch.where(far, _integral(away, t2, u, weight), _parabola(detuning, t2, ppm, u, weight))
    u, weight = np.arange(101) / 100, np.full(101, 0.01)
    inner, outer = (_integral(torch.full_like(away, at + ppm), t2, u, weight) for at in (100.0, 300.0))
    place = (detuning + 101 + ppm).abs() / (201 + 2 * ppm)
    return torch.where(far, _integral(away, t2, u, weight), inner + 30 * (inner - outer) * place * (1 - place))


def _integral(detuning: Tensor, t2: Tensor, u: np.ndarray, weight: np.ndarray) -> Tensor:
    """Return the super-Lorentzian by a sum over `u`."""
    cosine, share = (torch.as_tensor(part, device=t2.device) for part in (np.abs(3 * u**2 - 1), weight))
    width = t2[..., None] / cosine
    return math.sqrt(2 * math.pi) * (width * torch.exp(-2 * (detuning[..., None] * width) ** 2)) @ share


def _parabola(detuning: Tensor, t2: Tensor, ppm: float, u: np.ndarray, weight: np.ndarray) -> Tensor:
    """Return the parabola that continues the super-Lorentzian within 1 ppm."""
    edge = torch.full_like(detuning, ppm)
    cosine, share = (torch.as_tensor(part, device=t2.device) for part in (np.abs(3 * u**2 - 1), weight))
    width = t2[..., None] / cosine
    value = width * torch.exp(-2 * (edge[..., None] * width) ** 2)
    curvature = -2 * (width**2 * value) @ share
    return math.sqrt(2 * math.pi) * (value @ share + curvature * (detuning**2 - ppm**2))


def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights from 0 to 1, close together on either side of the zero of ``3 u^2 - 1``."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    cube, share = (0.5 * (node + 1)) ** 3, 0.5 * weight * 3 * (0.5 * (node + 1)) ** 2
    middle = 1 / math.sqrt(3)
    nodes = (middle * (1 - cube), middle + (1 - middle) * cube)
    return np.concatenate(nodes), np.concatenate((middle * share, (1 - middle) * share))
