"""Images of each coil's samples anywhere in k-space by few plain steps, differentiable in samples and positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.nufft import Nufft, grid_positions
from pulsetwin.operators.solve import conjugate_gradient

METHODS = ("adjoint", "gradient", "cg")
_SOLVED = 1e-8  # relative residual beyond which conjugate gradients would add nothing but rounding


def encoding(kspace: Tensor, fov: tuple[float, float, float], grid: tuple[int, ...]) -> Nufft:
    """Return the transform of an image on a grid (y, x) or (z, y, x) over `fov` (x, y, z) to samples at `kspace`."""
    return Nufft(grid_positions(kspace, fov, grid), grid)


def direct_image(signal: Tensor, transform: Nufft, method: str = "adjoint", iterations: int = 10) -> Tensor:
    """Return the image, complex128 ``[*batch, *grid]``, scaled such that a full Cartesian scan gives the magnetisation.

    Parameters
    ----------
    signal
        Complex ``[*batch, sample]``, each of one coil of uniform sensitivity.
    transform
        See `encoding`.
    method
        ``adjoint``: ``E^H s``; ``gradient``: steps ``x - a E^H (E x - s)`` from 0, with ``a`` one over the largest
        eigenvalue of ``E^H E``; ``cg``: conjugate gradients on ``E^H E x = E^H s``.
    iterations
        Of ``gradient`` and ``cg``.

    Raises
    ------
    ShapeError
        If there are not as many samples as positions.
    ProtocolError
        If there is no such method.
    """
    if method not in METHODS:
        raise ProtocolError(f"no method {method!r} of direct images; there are {', '.join(METHODS)}")
    points = transform.positions.shape[:-1]
    if signal.shape[max(signal.ndim - len(points), 0) :] != points:
        raise ShapeError(f"signal is {tuple(signal.shape)}, positions {tuple(transform.positions.shape)}: one each")
    scale = 1 / math.sqrt(math.prod(transform.shape))
    signal = signal.to(torch.complex128) * scale
    back = transform.adjoint(signal)
    if method == "adjoint":
        return back
    normal = transform.toeplitz(dtype=torch.complex128) if transform.positions.requires_grad else transform.normal
    if method == "cg":
        batch = back.ndim - len(transform.shape)
        return conjugate_gradient(normal, back, iterations=iterations, tolerance=_SOLVED, batch_axes=batch)
    with torch.no_grad():
        step = 1 / _largest_eigenvalue(normal, back.new_ones(transform.shape))
    image = step * back
    for _ in range(iterations - 1):
        image = image + step * (back - normal(image))
    return image


def _largest_eigenvalue(normal: Callable[[Tensor], Tensor], vector: Tensor, iterations: int = 30) -> float:
    """Return the largest eigenvalue of a positive operator by the power method, from a vector on."""
    for _ in range(iterations):
        vector = normal(vector / vector.norm())
    return 1.02 * float(vector.norm())  # the power method comes from below
