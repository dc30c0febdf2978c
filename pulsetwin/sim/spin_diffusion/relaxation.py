"""Response of a linear system of neighbours to a constant source, exact in time, with exact gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

_SERIES = 1e-2  # of a rate times a time, below which divided differences are summed as a series


def relax(diagonal: Tensor, beside: Tensor, source: Tensor, readout: Tensor, times: Tensor) -> Tensor:
    """Return ``y(t) = w int_0^t exp(-A u) du b`` of a symmetric tridiagonal matrix A, ``[readout, time]``.

    Parameters
    ----------
    diagonal, beside
        Of A, positive definite [1/s], ``[cell]`` and ``[cell - 1]``, float64.
    source
        b, ``[cell]``.
    readout
        w, ``[readout, cell]``.
    times
        [s], ``[time]``; no gradient is taken by them.
    """
    return _Relax.apply(diagonal, beside, source, readout, times)


class _Relax(torch.autograd.Function):
    """By eigenvectors; backward by divided differences of what becomes of the eigenvalues (Daleckii and Krein)."""

    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, beside: Tensor, source: Tensor, readout: Tensor, times: Tensor) -> Tensor:
        rates, vectors = eigh_tridiagonal(diagonal.detach().numpy(), beside.detach().numpy())
        grown = _grown(rates, times.numpy())
        b, w = vectors.T @ source.detach().numpy(), readout.detach().numpy() @ vectors
        ctx.kept = rates, vectors, grown, b, w, times.numpy()
        return torch.from_numpy((w * b) @ grown)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rates, vectors, grown, b, w, times = ctx.kept
        pull = upstream[0].numpy()
        by_source = vectors @ ((w.T @ pull) * grown).sum(1)
        by_readout = (pull @ grown.T * b) @ vectors.T
        inner = np.zeros((len(rates), len(rates)))
        for column, time in enumerate(times):
            inner += _differences(rates, grown[:, column], time) * np.outer(pull[:, column] @ w, b)
        half = vectors @ inner
        by_diagonal = np.einsum("ij,ij->i", half, vectors)
        by_beside = np.einsum("ij,ij->i", half[1:], vectors[:-1]) + np.einsum("ij,ij->i", half[:-1], vectors[1:])
        return *(torch.from_numpy(one) for one in (by_diagonal, by_beside, by_source, by_readout)), None


def _grown(rates: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return ``(1 - exp(-rate t)) / rate``, ``[rate, time]``."""
    return -np.expm1(-rates[:, None] * times) / rates[:, None]


def _differences(rates: np.ndarray, grown: np.ndarray, time: float) -> np.ndarray:
    """Return the divided differences of ``f(rate) = (1 - exp(-rate t)) / rate`` between all rates, without cancelling.

    For rates a <= b they are ``(g - f(a)) / b`` with g that of ``-exp(-rate t)``; where b t is small, a series.
    """
    a, b = np.minimum.outer(rates, rates), np.maximum.outer(rates, rates)
    x, y, apart = a * time, b * time, (b - a) * time
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = time * np.exp(-x) * np.where(apart > 0, -np.expm1(-apart) / apart, 1.0)
    direct = (slope - np.maximum.outer(grown, grown)) / b
    series = time**2 * (-1 / 2 + (x + y) / 6 - (x * x + x * y + y * y) / 24 + (x + y) * (x * x + y * y) / 120)
    return np.where(y < _SERIES, series, direct)
