"""Density compensation: the weight of each sample that makes the adjoint NUFFT an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.nufft import Nufft

_CHANGE = 1e-3  # largest change of a weight in an iteration, relative to the largest weight, that counts as none
_ITERATIONS = 20


def density_compensation(nufft: Nufft) -> Tensor:
    """Return weights w for any trajectory, so that ``A^H (w A x)`` is x where k-space is sampled densely enough.

    Iterates ``w_j <- w_j / sum_i D^2(k_j - k_i) w_i`` with D the Dirichlet kernel of the grid. Its square is positive,
    and in image space the triangle that falls to 0 at twice the field of view: the sum is two NUFFTs onto that grid.
    A sample alone in its cell of k-space weighs 1, one of n in a cell 1 / n.

    Parameters
    ----------
    nufft
        Positions and grid.

    Returns
    -------
    Tensor
        Weights as parts of a Nyquist cell, above 0, float32 ``[*points]``.

    References
    ----------
    Pipe and Menon 1999, doi:10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V.
    """
    wide = Nufft(2 * nufft.positions.detach(), tuple(2 * n for n in nufft.shape))
    window = _triangle(nufft.shape, nufft.positions.device) * (math.prod(wide.shape) / math.prod(nufft.shape))
    weights = torch.ones(nufft.positions.shape[:-1], device=nufft.positions.device)
    for _ in range(_ITERATIONS):
        spread = wide(window * wide.adjoint(weights)).real
        previous, weights = weights, weights / spread.clamp(min=torch.finfo(spread.dtype).eps)
        if (weights - previous).abs().max() <= _CHANGE * weights.max():
            break
    return weights


def radial_density(positions: Tensor) -> Tensor:
    """Return the analytic weights of evenly distributed straight spokes through the centre of k-space.

    A sample weighs its share of the ring or shell of radius ``|k|`` and width ``dk``: of n spokes
    ``pi |k| dk / n`` in 2D and ``2 pi |k|^2 dk / n`` in 3D. In 2D, where ``|k|`` has a kink at the centre, the sample
    nearest to it, ``o dk`` away, gets ``pi dk^2 (1 / 6 - o + o^2) / n`` more (Euler-Maclaurin formula).

    Parameters
    ----------
    positions
        Positions of whole spokes [cycles per field of view], real ``[spoke, sample, d]``, d = 2 or 3.

    Returns
    -------
    Tensor
        Weights as parts of a Nyquist cell, real ``[spoke, sample]``.

    Raises
    ------
    ShapeError
        If `positions` is not ``[spoke, sample, 2 or 3]``.
    ProtocolError
        If a spoke is not straight, unevenly sampled, or does not run from side to side through the centre.
    """
    if positions.ndim != 3 or positions.shape[2] not in (2, 3) or positions.shape[1] < 3:
        raise ShapeError(f"positions are {tuple(positions.shape)}: give [spoke, sample, 2 or 3] with 3 samples or more")
    step = positions.diff(dim=1)
    width = torch.linalg.vector_norm(step, dim=-1).mean(1, keepdim=True)
    radius = torch.linalg.vector_norm(positions, dim=-1)
    even = (step - step.mean(1, keepdim=True)).abs().amax((1, 2)) <= 0.05 * width[:, 0]
    through = (radius.amin(1) <= 0.55 * width[:, 0]) & (radius[:, [0, -1]].amin(1) >= 0.8 * radius.amax(1))
    if not bool((even & through).all()):
        raise ProtocolError("some spokes are bent, uneven or miss the centre of k-space: use density_compensation")
    if positions.shape[2] == 3:
        return 2 * math.pi * radius.square() * width / len(positions)
    nearest = radius.amin(1, keepdim=True)
    offset = nearest / width
    kink = width.square() * (1 / 6 - offset + offset.square())
    at_kink = radius <= nearest + 1e-3 * width
    return math.pi * (radius * width + kink * at_kink / at_kink.sum(1, keepdim=True)) / len(positions)


def _triangle(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return ``prod_d (1 - |r_d| / n_d)`` on a grid of twice `shape`, centred."""
    window = torch.ones((), device=device)
    for n in shape:
        window = window[..., None] * (1 - (torch.arange(2 * n, device=device) - n).abs() / n)
    return window
