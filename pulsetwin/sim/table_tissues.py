"""Which tissues stand for the voxels of a phantom, and what the voxels are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from pulsetwin.sim.phantom import Voxels

Array = NDArray[np.float64]
Played = Callable[[Array], NDArray[np.complex64]]
"""From tissues ``[tissue, 5]`` to their magnetisation ``[column, tissue]``."""

_FEW, _FIRST, _MOST, _TRIED = 256, 256, 1024, 64  # tissues: simulated one by one, and nodes among more of them


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Magnetisation of all voxels, ``m[column, voxel] = course @ weight``.

    Parameters
    ----------
    course
        complex64 ``[column, term]``.
    weight
        complex64 ``[term, voxel]``.
    tissues
        How many were simulated.
    error
        Largest error found, relative to the largest magnetisation.
    """

    course: NDArray[np.complex64]
    weight: NDArray[np.complex64]
    tissues: int
    error: float


def properties(voxels: Voxels) -> Array:
    """Return T1, T2 [s], diffusion coefficient [m^2/s], B1 and offset [Hz] of voxels, ``[voxel, 5]``."""
    columns = (voxels.t1, voxels.t2, voxels.diffusion, voxels.b1[0].abs(), voxels.b0)
    return np.stack([column.detach().double().numpy() for column in columns], 1)


def extremes(tissue: Array) -> Array:
    """Return some tissues with the largest and smallest of each property."""
    chosen = np.concatenate((tissue.argmax(0), tissue.argmin(0), [len(tissue) // 2]))
    return tissue[np.unique(chosen)]


def tissue_basis(voxel: Array, played: Played, tolerance: float, seed: int) -> Basis:
    """Return the magnetisation of voxels ``[voxel, 5]``.

    Up to 256 distinct tissues are simulated one by one. Of more, some that lie far apart are, and those between are
    interpolated by cubic splines; their number is doubled until others, drawn at random, come out
    within `tolerance` of the largest magnetisation.
    """
    distinct, which = np.unique(voxel, axis=0, return_inverse=True)
    which = which.ravel()
    if len(distinct) <= _FEW:
        course, weight, error = _low_rank(played(distinct), tolerance)
        return Basis(course, weight[:, which], len(distinct), error)
    place = _coordinates(distinct)
    tried = np.random.default_rng(seed).choice(len(distinct), _TRIED, replace=False)
    truth, known, found = played(distinct[tried]), np.zeros(0, np.int64), []
    count = _FIRST
    while True:
        chosen = _far_apart(place, known, count)
        found.append(played(distinct[chosen[len(known) :]]))
        known, values = chosen, np.concatenate(found, 1)
        course, weight, _ = _low_rank(values, tolerance)
        largest = np.abs(values).max()
        guess = course @ _interpolated(place[known], weight, place[tried])
        error = float(np.abs(guess - truth).max() / largest)
        if error < tolerance or 2 * count > min(_MOST, len(distinct)):
            break
        count *= 2
    return Basis(course, _interpolated(place[known], weight, place)[:, which], len(known) + _TRIED, error)


def _low_rank(
    values: NDArray[np.complex64], tolerance: float
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], float]:
    """Return ``values ~ course @ weight`` of a low rank, and its largest error, aimed at a fifth of `tolerance`."""
    largest = float(np.abs(values).max())
    double = values.astype(np.complex128)
    size, vectors = np.linalg.eigh(double.conj().T @ double)
    left_out = np.cumsum(np.maximum(size, 0)) / values.shape[1]  # energy of a tissue at most, if all are alike
    kept = left_out > (0.2 * tolerance * largest) ** 2
    kept[-1] = True
    basis = vectors[:, kept]
    course, weight = (double @ basis).astype(np.complex64), basis.conj().T.astype(np.complex64)
    error = float(np.abs(values - course @ weight).max()) / largest if largest else 0.0
    return course, weight, error


def _coordinates(tissue: Array) -> Array:
    """Return tissues where T1, T2 are logarithms, and each property that varies spans one."""
    values = tissue.copy()
    values[:, :2] = np.log(tissue[:, :2])
    span = np.ptp(values, axis=0)
    varies = span > 1e-9 * np.abs(values).max(0)
    return np.asarray(values[:, varies] / span[varies])


def _far_apart(place: Array, known: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` numbers, the known ones first, each next the farthest from all before it."""
    chosen = list(known) if len(known) else [int(((place - place.mean(0)) ** 2).sum(1).argmax())]
    distance = np.full(len(place), np.inf)
    for one in chosen:
        np.minimum(distance, ((place - place[one]) ** 2).sum(1), out=distance)
    while len(chosen) < min(count, len(place)):
        chosen.append(int(distance.argmax()))
        np.minimum(distance, ((place - place[chosen[-1]]) ** 2).sum(1), out=distance)
    return np.array(chosen)


def _interpolated(known: Array, weight: NDArray[np.complex64], asked: Array) -> NDArray[np.complex64]:
    """Return the weights ``[term, asked]`` by cubic splines through all known tissues."""
    parts = np.concatenate((weight.real, weight.imag)).T
    real, imaginary = np.split(RBFInterpolator(known, parts, kernel="cubic", degree=2)(asked).T, 2)
    return (real + 1j * imaginary).astype(np.complex64)
