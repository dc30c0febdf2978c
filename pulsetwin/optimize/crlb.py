"""The Cramer-Rao bound as a loss: the least variance of unbiased estimates, differentiable in whatever makes signals.

With the derivatives J of the signals by all unknowns, in white noise of standard deviation s, the information is
``J^T J / s^2``. Unknowns that only stand in the way are eliminated by the Schur complement of their block, which is the
Gram matrix of what the derivatives by wanted unknowns have orthogonal to the derivatives by the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError

Signal = Callable[[dict[str, Tensor]], Tensor]
"""Signals ``[..., tissue, measurement]`` of unknowns, ``[..., tissue]`` each by its name; each tissue's of its own."""


def jacobian(signal: Signal, tissue: Mapping[str, Tensor], unknowns: Sequence[str]) -> Tensor:
    """Return the exact derivatives of the signals by the unknowns, by forward differentiation.

    They are differentiable themselves in what `signal` depends on besides.

    Parameters
    ----------
    signal
        The model.
    tissue
        Values at which the derivatives are taken, float64 ``[tissue]``.
    unknowns
        Names of those that are not known when the signals are read; at least one.

    Returns
    -------
    Tensor
        Real ``[tissue, measurement, unknown]``; real and imaginary parts of complex signals are measurements.

    Raises
    ------
    ProtocolError
        If an unknown is none of the tissue's values.
    """
    if missing := set(unknowns) - set(tissue):
        raise ProtocolError(f"unknown {min(missing)!r} has no value: the tissue has {', '.join(tissue)}")
    count = len(unknowns)
    values = {name: value.repeat(count, 1) for name, value in tissue.items()}
    along = {name: torch.zeros_like(value) for name, value in values.items()}
    for row, name in enumerate(unknowns):
        along[name][row] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch makes its rules with its own old compiler
        _, slope = torch.func.jvp(signal, (values,), (along,))
    return (torch.cat((slope.real, slope.imag), -1) if slope.is_complex() else slope).movedim(0, -1)


def variances(jacobian: Tensor, wanted: int, noise: Tensor | float = 1.0) -> Tensor:
    """Return the least variances of the first `wanted` unknowns, the others being unknown too.

    Parameters
    ----------
    jacobian
        Derivatives of the signals by the unknowns, float64 ``[..., measurement, unknown]``.
    wanted
        How many of the unknowns are judged; the rest are eliminated.
    noise
        Standard deviation of each real measurement, ``[...]`` or one for all.

    Returns
    -------
    Tensor
        ``[..., wanted]``; without meaning where the signals do not tell the unknowns apart.

    Raises
    ------
    ShapeError
        If there are more unknowns than measurements, or fewer than are wanted.

    References
    ----------
    Kay 1993, Fundamentals of Statistical Signal Processing: Estimation Theory, section 3.8.
    """
    measured, unknowns = jacobian.shape[-2:]
    if unknowns > measured or not 0 < wanted <= unknowns:
        raise ShapeError(f"{measured} measurements of {unknowns} unknowns, {wanted} wanted: give at least as many "
                         "measurements as unknowns, and want some of these")  # fmt: skip
    size = torch.linalg.vector_norm(jacobian, dim=-2)  # unknowns differ by orders of magnitude
    sought, nuisance = (jacobian / size[..., None, :]).split((wanted, unknowns - wanted), -1)
    if nuisance.shape[-1]:
        basis, _ = torch.linalg.qr(nuisance)
        sought = sought - basis @ (basis.mT @ sought)
    spread = torch.linalg.inv(sought.mT @ sought).diagonal(dim1=-2, dim2=-1)
    return spread * (torch.as_tensor(noise, dtype=size.dtype)[..., None] / size[..., :wanted]) ** 2


def worst(values: Tensor, sharpness: float) -> Tensor:
    """Return a smooth maximum of positive values, ``(sum x^p)^(1/p)`` with the `sharpness` p; it is no less than it."""
    return torch.exp(torch.logsumexp(sharpness * values.flatten().log(), 0) / sharpness)


def mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of values ``[tissue, ...]``, with a weight of each tissue ``[tissue]`` if they are given."""
    if weights is None:
        return values.mean()
    return (weights @ values.flatten(1) / weights.sum()).mean()
