"""Phases and decays of many voxels during a readout as a sum of few products of a time course and an image.

``exp(-t z)``, with the rates ``z = 1 / T2 +- 1 / T2' + 2 pi i b0`` of the voxels, is interpolated between a few times
(Sutton et al. 2003, doi:10.1109/TMI.2002.808360). They are the pivots of an interpolative decomposition (Cheng et al.
2005, doi:10.1137/030602678) for the rates that there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from torch import Tensor

_TOLERANCE = 1e-5  # root of the sum of squares over rates that stand for all, of magnitude 1
_CELL = 1.0  # rad: rates that differ by less during half a readout lie close together
_OF_A_CELL = 8  # rates that stand for those that lie close together
_WIDEST = 200.0  # rad: largest rate during half a readout
_MOST = 60.0  # exponent of what a voxel's signal was before the reference sample
_PART = 1 << 14  # samples whose interpolation exists at once


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """``exp(-t z) = sum_l course_l(t) exp(-times_l (z - i centre))`` at a readout's samples.

    Parameters
    ----------
    times
        float64 ``[term]`` [s].
    course
        complex64 ``[term, sample]``.
    centre
        [rad/s].
    """

    times: NDArray[np.float64]
    course: Tensor
    centre: float


def expand_in_time(rate: NDArray[np.complex128], time: NDArray[np.float64]) -> Expansion | None:
    """Return the expansion of ``exp(-t z)`` for rates z ``[voxel]`` [rad/s] and times t ``[sample]`` [s].

    For any voxel, its error is below about 1e-5 of the largest value during the readout, for most near 1e-7. The number
    of terms follows from the rates that occur: about the range of off-resonance times the length of the readout, and
    ten. None if that would be more than about a hundred, or if signal decays or, before an echo, rises by too much for
    single precision.
    """
    middle, half = (time.max() + time.min()) / 2, max((time.max() - time.min()) / 2, 1e-9)
    centre = float(rate.imag.max() + rate.imag.min()) / 2
    slower = rate - 1j * centre  # decays stay: they make a voxel's error small where its signal is
    spread = float(np.abs(slower).max()) * half
    growth = max(-r * t for r in (rate.real.min(), rate.real.max()) for t in (time.min(), time.max()))
    if spread > _WIDEST or growth > _MOST:
        return None
    nodes = chebyshev.chebpts1(math.ceil(spread + 6 * np.cbrt(spread) + 16))
    typical = _representatives(slower * half)
    largest = np.abs(typical.real) - typical.real * middle / half  # exponent during the readout
    values = np.exp(-np.outer(typical, nodes + middle / half) - largest[:, None])
    triangle, order = scipy.linalg.qr(values, mode="r", pivoting=True)
    size = np.abs(np.diagonal(triangle))
    terms = max(1, int((size > _TOLERANCE).sum()))
    weights = np.zeros((terms, len(nodes)), complex)
    weights[:, order[:terms]] = np.eye(terms)
    weights[:, order[terms:]] = scipy.linalg.solve_triangular(triangle[:terms, :terms], triangle[:terms, terms:])
    series = weights @ chebyshev.chebvander(nodes, len(nodes) - 1) * (2 / len(nodes))
    series[:, 0] /= 2
    course = torch.empty(terms, len(time), dtype=torch.complex64)
    for begin in range(0, len(time), _PART):
        part = time[begin : begin + _PART]
        basis = chebyshev.chebvander((part - middle) / half, len(nodes) - 1)
        course[:, begin : begin + _PART] = torch.from_numpy(series @ basis.T * np.exp(-1j * centre * part))
    return Expansion(middle + half * nodes[order[:terms]], course, centre)


def _representatives(rate: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return some of those rates that lie close together, the extremes among them, and all that lie apart."""
    fine = np.stack((rate.real, rate.imag))
    cell = np.floor(fine / _CELL).astype(np.int64)
    cell -= cell.min(1, keepdims=True)
    number = cell[0] * (cell[1].max() + 1) + cell[1]
    order = np.lexsort((rate.imag, number))
    _, first, count = np.unique(number[order], return_index=True, return_counts=True)
    spread = first + np.rint(np.linspace(0, 1, _OF_A_CELL)[:, None] * (count - 1)).astype(np.int64)
    return rate[np.union1d(order[spread], np.concatenate((fine.argmin(1), fine.argmax(1))))]
