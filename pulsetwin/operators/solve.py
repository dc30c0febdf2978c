"""Solvers of linear systems given by callables."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError

Callback = Callable[[int, Tensor, float], None]


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    iterations: int,
    tolerance: float,
    start: Tensor | None = None,
    callback: Callback | None = None,
    batch_axes: int = 0,
) -> Tensor:
    """Solve ``A x = b`` for a Hermitian positive (semi)definite `A` by conjugate gradients.

    Stops when ``||b - A x|| <= tolerance ||b||``, in every system of the batch, or after `iterations`. Works on ``b``
    scaled to unit size, so scaling `rhs` scales the result and nothing else. Inputs are not modified.

    Parameters
    ----------
    normal
        The map ``x -> A x``; takes and returns arrays of the shape of `rhs`.
    rhs
        Right-hand side ``b``, real or complex, any shape.
    iterations
        Most iterations, at least 0.
    tolerance
        Relative residual to stop at, at least 0.
    start
        First guess of ``x``, of the shape of `rhs`; zero if None.
    callback
        Called as ``callback(iteration, x, residual)`` after each iteration, with the largest relative residual.
    batch_axes
        The first `batch_axes` axes of `rhs` count independent systems, each with its own steps; 0 for one system.

    Returns
    -------
    Tensor
        ``x`` of the shape of `rhs`.

    Raises
    ------
    ShapeError
        If `start` and `rhs` differ in shape.
    ProtocolError
        If `iterations` or `tolerance` is negative, or `A` returns values that are not finite.

    References
    ----------
    Hestenes and Stiefel 1952, doi:10.6028/jres.049.044.
    """
    _check(rhs, start, iterations, tolerance)
    dims = tuple(range(batch_axes, rhs.ndim))
    scale = _nonzero(rhs.detach().abs().amax(dims, keepdim=True) if dims else rhs.detach().abs())
    target = rhs / scale
    size = _nonzero(_dot(target, target, dims).sqrt())
    x = torch.zeros_like(target) if start is None else start / scale
    residual = target if start is None else target - normal(x)
    direction, power = residual, _dot(residual, residual, dims)
    for iteration in range(1, iterations + 1):
        active = ~(power.sqrt() <= tolerance * size)
        if not bool(active.any()):
            break
        image = normal(direction)
        step = torch.where(active, _ratio(power, _dot(direction, image, dims)), 0.0)
        x = x + step * direction
        residual = residual - step * image
        previous, power = power, _dot(residual, residual, dims)
        direction = residual + _ratio(power, previous) * direction
        relative = float((power.detach().sqrt() / size.detach()).max())
        if not relative < float("inf"):
            raise ProtocolError(f"conjugate gradients broke down in iteration {iteration}: check the data for NaNs")
        if callback is not None:
            callback(iteration, x * scale, relative)
    return x * scale


def _check(rhs: Tensor, start: Tensor | None, iterations: int, tolerance: float) -> None:
    if start is not None and start.shape != rhs.shape:
        raise ShapeError(f"start is {tuple(start.shape)} but rhs {tuple(rhs.shape)}: give both one shape")
    if iterations < 0 or not tolerance >= 0:
        raise ProtocolError(f"iterations {iterations} and tolerance {tolerance}: neither may be negative")


def _dot(a: Tensor, b: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the real part of ``<a, b>`` over `dims`, kept as axes of length 1."""
    product = (a.conj() * b).real
    return product.sum(dims, keepdim=True) if dims else product


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, and 0 where a positive denominator is lost to rounding."""
    return torch.where(denominator > 0, numerator / _nonzero(denominator), 0.0)


def _nonzero(values: Tensor) -> Tensor:
    return torch.where(values == 0, torch.ones_like(values), values)
