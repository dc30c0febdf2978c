"""Images of a timeline's signal, differentiable in the signal and in the trajectory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pulsetwin.errors import ShapeError
from pulsetwin.operators.nufft import Nufft, grid_positions
from pulsetwin.operators.solve import conjugate_gradient
from pulsetwin.sim.timeline import Timeline

METHODS = ("adjoint", "gradient", "cg")


def sampled_kspace(timeline: Timeline, refocusing: Tensor) -> Tensor:
    """Return k at each sample [1/m], ``[sample, 3]``, of the magnetisation that is meant to be seen.

    Parameters
    ----------
    timeline
        The sequence.
    refocusing
        Whether a pulse turns k to -k rather than to 0, bool ``[pulse]``.
    """
    starts = timeline.interval_start
    total = torch.cat((timeline.moment.new_zeros(1, 3), timeline.moment.cumsum(0)))
    gained = total[starts].diff(dim=0)
    begin, end = [], timeline.moment.new_zeros(3)
    for turned, moment in zip(refocusing.tolist(), gained, strict=True):
        begin.append(-end if turned else torch.zeros_like(end))
        end = begin[-1] + moment
    pulse = torch.searchsorted(starts, timeline.sample_interval, right=True) - 1
    return torch.stack(begin)[pulse] + total[timeline.sample_interval + 1] - total[starts[pulse]]


def encoding(kspace: Tensor, fov: tuple[float, float, float], grid: tuple[int, ...]) -> Nufft:
    """Return the transform of an image on a grid (y, x) or (z, y, x) over `fov` (x, y, z) to samples at `kspace`."""
    return Nufft(grid_positions(kspace, fov, grid), grid)


def reconstruct(signal: Tensor, transform: Nufft, method: str = "adjoint", iterations: int = 10) -> Tensor:
    """Return the image, complex ``[*grid]``, scaled such that a full Cartesian scan gives the transverse magnetisation.

    Parameters
    ----------
    signal
        Complex ``[sample]``, of one coil of uniform sensitivity.
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
    """
    if signal.shape != transform.positions.shape[:-1]:
        raise ShapeError(f"signal is {tuple(signal.shape)}, positions {tuple(transform.positions.shape)}: one each")
    scale = 1 / math.sqrt(math.prod(transform.shape))
    signal = signal.to(torch.complex128) * scale
    back = transform.adjoint(signal)
    if method == "adjoint":
        return back
    normal = transform.toeplitz(dtype=torch.complex128)
    if method == "cg":
        return conjugate_gradient(normal, back, iterations=iterations, tolerance=0.0)
    with torch.no_grad():
        step = 1 / _largest_eigenvalue(normal, back)
    image = step * back
    for _ in range(iterations - 1):
        image = image + step * (back - normal(image))
    return image


def _largest_eigenvalue(normal, like: Tensor, iterations: int = 30) -> float:
    vector = torch.ones_like(like)
    for _ in range(iterations):
        vector = normal(vector / vector.norm())
    return 1.02 * float(vector.norm())  # the power method comes from below
