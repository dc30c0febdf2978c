"""SENSE: one image from undersampled coils with known sensitivities, Cartesian or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.coils import Coils
from pulsetwin.operators.nufft import Nufft
from pulsetwin.operators.solve import conjugate_gradient
from pulsetwin.recon.hybrid import HybridSense, centred, chunks, origin_first, planes, sampled_lines
from pulsetwin.recon.sense_lines import normal_operator


def sense(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    *,
    regularisation: float = 1e-3,
    iterations: int = 30,
    tolerance: float = 3e-4,
    start: Tensor | None = None,
) -> Tensor:
    """Solve ``min_x 1/2 ||M F S x - y||^2 + lambda/2 ||x||^2`` for Cartesian data with a fully sampled readout.

    Conjugate gradients, which regularise by stopping early: the default tolerance stops near the lowest error on
    measured data at accelerations of 2 to 6. After an inverse transform along the readout every x is a problem of its
    own in the phase-encoding plane; in a volume each x takes its own steps, a slice is one system. Memory beyond the
    arguments is the sampled part of `kspace`, the image and a few times `hybrid.WORKSPACE`.

    Parameters
    ----------
    kspace
        Samples ``[coil, z, y, x]``, any unit; ignored where `mask` is False.
    mask
        True where k-space was sampled, bool ``[z, y]``.
    maps
        Coil sensitivities ``[coil, z, y, x]`` of about unit root-sum-of-squares, or several sets of them
        ``[set, coil, z, y, x]`` (soft-SENSE).
    regularisation
        ``lambda``, on the scale of unit maps and the orthonormal Fourier transform.
    iterations
        Most conjugate-gradient iterations.
    tolerance
        Relative residual at which they stop.
    start
        First guess of the image, of the result's shape.

    Returns
    -------
    Tensor
        Image ``[z, y, x]``, or ``[set, z, y, x]``, in the unit of `kspace`.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    ProtocolError
        If `regularisation` is negative, or nothing was sampled.

    References
    ----------
    CG-SENSE: Pruessmann et al. 2001, doi:10.1002/mrm.1241. Soft-SENSE: Uecker et al. 2014, doi:10.1002/mrm.24751.
    """
    sets = maps if maps.ndim == 5 else maps[None]
    _check(kspace, mask, sets, start, regularisation)
    guess = None if start is None else start.reshape(len(sets), *kspace.shape[1:])
    samples = sampled_lines(kspace, mask)
    image = kspace.new_empty((len(sets), *kspace.shape[1:]))
    flat = 1 in mask.shape
    for x in [slice(None)] if flat else chunks(kspace.shape[-1], kspace[..., 0].nbytes):
        model = HybridSense.at(sets, mask, x)
        solved = conjugate_gradient(
            partial(_regularised, normal_operator(model), regularisation),
            model.adjoint(planes(samples, mask, x)),
            iterations=iterations,
            tolerance=tolerance,
            start=None if guess is None else origin_first(guess[..., x]),
            batch_axes=0 if flat else 1,
        )
        image[..., x] = centred(solved)
    return image if maps.ndim == 5 else image[0]


def sense_nufft(
    samples: Tensor,
    positions: Tensor,
    maps: Tensor,
    *,
    weights: Tensor | None = None,
    regularisation: float = 1e-3,
    iterations: int = 30,
    tolerance: float = 1e-3,
    start: Tensor | None = None,
) -> Tensor:
    """Solve ``min_x 1/2 ||W^1/2 (F S x - y)||^2 + lambda/2 max(W) ||x||^2`` for any trajectory.

    Conjugate gradients on the Toeplitz form of ``F^H W F``, two FFTs per coil and iteration.

    Parameters
    ----------
    samples
        Samples ``[coil, *point]``, any unit.
    positions
        k-space positions ``k * fov`` [cycles per FOV] in the order of the grid's axes, ``[*point, dimension]``.
    maps
        Coil sensitivities ``[coil, *grid]`` of about unit root-sum-of-squares.
    weights
        Weight of each sample, real ``[*point]``, for instance the density compensation, which speeds up convergence
        at the cost of noise; ones if None.
    regularisation
        ``lambda``, relative to the mean of ``F^H W F``'s diagonal.
    iterations
        Most conjugate-gradient iterations.
    tolerance
        Relative residual at which they stop.
    start
        First guess of the image ``[*grid]``.

    Returns
    -------
    Tensor
        Image ``[*grid]`` in the unit of `samples`.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    ProtocolError
        If `regularisation` is negative.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241. Toeplitz form: Fessler et al. 2005, doi:10.1109/TSP.2005.853152.
    """
    grid = tuple(maps.shape[1:])
    if samples.shape != (len(maps), *positions.shape[:-1]):
        raise ShapeError(
            f"samples are {tuple(samples.shape)} for {len(maps)} coils and positions {tuple(positions.shape)}: "
            "give [coil, *point] and [*point, dimension]"
        )
    if not regularisation >= 0:
        raise ProtocolError(f"regularisation {regularisation} is negative: give 0 or more")
    nufft, coils = Nufft(positions, grid), Coils(maps)
    ones = torch.ones(positions.shape[:-1], dtype=maps.real.dtype, device=maps.device)
    density = ones if weights is None else weights.to(maps.real.dtype)
    toeplitz = nufft.toeplitz(density, maps.dtype)
    scale = density.sum() / math.prod(grid)

    def normal(image: Tensor) -> Tensor:
        total = regularisation * scale * image
        for one in maps:
            total = torch.addcmul(total, one.conj(), toeplitz(one * image))
        return total

    rhs = coils.adjoint(nufft.adjoint(samples * density))
    return conjugate_gradient(normal, rhs, iterations=iterations, tolerance=tolerance, start=start)


def _regularised(normal: Callable[[Tensor], Tensor], regularisation: float, image: Tensor) -> Tensor:
    return normal(image).add(image, alpha=regularisation)


def _check(kspace: Tensor, mask: Tensor, sets: Tensor, start: Tensor | None, regularisation: float) -> None:
    if kspace.ndim != 4 or mask.shape != kspace.shape[1:3] or mask.dtype != torch.bool:
        raise ShapeError(
            f"kspace is {tuple(kspace.shape)} and mask {mask.dtype} {tuple(mask.shape)}: "
            "give [coil, z, y, x] and bool [z, y]"
        )
    if sets.ndim != 5 or sets.shape[1:] != kspace.shape:
        raise ShapeError(
            f"maps are {tuple(sets.shape[1:])} but the data {tuple(kspace.shape)}: pass maps of the same grid, "
            "or compress both with recon.compress"
        )
    if start is not None and start.numel() != sets[:, 0].numel():
        raise ShapeError(f"start is {tuple(start.shape)}: give an image on the maps' grid {tuple(sets.shape[2:])}")
    if not bool(mask.any()):
        raise ProtocolError("mask holds no sample: check the line and partition labels")
    if not regularisation >= 0:
        raise ProtocolError(f"regularisation {regularisation} is negative: give 0 or more")
