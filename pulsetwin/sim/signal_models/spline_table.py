"""A table over equally spaced knots, interpolated by cubic B-splines: smooth, and differentiable in the coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from scipy.ndimage import spline_filter1d
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SplineTable:
    """Values of several quantities on a grid.

    Parameters
    ----------
    first, step
        First knot of each axis, and the distance from knot to knot.
    count
        Knots of each axis.
    coefficients
        Of the splines, one more than knots at the low end of each axis and two more at the high end,
        ``[*count + 3, quantity]``.
    """

    first: tuple[float, ...]
    step: tuple[float, ...]
    count: tuple[int, ...]
    coefficients: Tensor

    @classmethod
    def of(cls, values: Tensor, first: tuple[float, ...], step: tuple[float, ...]) -> SplineTable:
        """Return the table of `values` ``[*count, quantity]``.

        Ends are mirrored, which makes the slope there 0: let the knots reach a little further than needed.
        """
        filtered = values.double().numpy()
        for axis in range(values.ndim - 1):
            filtered = spline_filter1d(filtered, 3, axis, mode="mirror")
        coefficients = torch.from_numpy(filtered)
        for axis, count in enumerate(values.shape[:-1]):
            place = torch.arange(-1, count + 2).abs()
            coefficients = coefficients.index_select(axis, torch.where(place < count, place, 2 * (count - 1) - place))
        return cls(first, step, tuple(values.shape[:-1]), coefficients.contiguous())

    def __call__(self, *where: Tensor) -> Tensor:
        """Return the values at coordinates, each ``[...]``; those beyond the knots count as the end.

        Returns
        -------
        Tensor
            ``[..., quantity]``, in the precision of the coordinates.
        """
        rows, weights = [], []
        for x, first, step, count in zip(where, self.first, self.step, self.count, strict=True):
            place = ((x - first) / step).clamp(0, count - 1)
            whole = place.detach().floor()
            weights.append(_weights(place - whole))
            rows.append(whole.long())
        flat = self.coefficients.to(where[0].dtype).reshape(-1, self.coefficients.shape[-1])
        strides = torch.tensor([*self.coefficients.shape[1:-1], 1]).flip(0).cumprod(0).flip(0).tolist()
        total: Tensor | float = 0.0
        for corner in product(range(4), repeat=len(where)):
            row = sum((one + k) * stride for one, k, stride in zip(rows, corner, strides, strict=True))
            weight = torch.stack([part[k] for part, k in zip(weights, corner, strict=True)]).prod(0)
            total = total + weight[..., None] * flat[row]
        return total


def _weights(t: Tensor) -> tuple[Tensor, ...]:
    """Return what the four nearest coefficients weigh, `t` from 0 to 1 between the middle two."""
    u = 1 - t
    return u**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (4 - 6 * u**2 + 3 * u**3) / 6, t**3 / 6
