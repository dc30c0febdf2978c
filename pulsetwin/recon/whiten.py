"""Noise covariance and prewhitening of receive channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError

_SAMPLES_PER_COIL = 4  # fewer samples leave the covariance too uncertain to invert
_DEAD = 1e-9  # variance relative to the median channel's, below which a channel is dead
_DEPENDENT = 1e-9  # smallest eigenvalue of the correlation matrix, below which channels depend on each other
_CHUNK = 1 << 16


def covariance(data: Tensor) -> Tensor:
    """Return ``N N^H / n`` of `data`, complex ``[coil, sample]``, in double precision, ``[coil, coil]``."""
    total = torch.zeros(len(data), len(data), dtype=torch.complex128, device=data.device)
    for part in data.split(_CHUNK, dim=1):
        double = part.to(torch.complex128)
        total += double @ double.mH
    return total / data.shape[1]


def whitening(noise: Tensor | np.ndarray) -> Tensor:
    """Return the matrix W that whitens noise, ``W = L^-1`` with ``Psi = N N^H / n = L L^H``.

    Samples ``n`` of all coils then have ``E[W n n^H W^H] = 1``, that is ``E|n|^2 = 1`` in each whitened coil. For data
    of another dwell time, multiply W by ``sqrt(dwell / noise_dwell)``.

    Parameters
    ----------
    noise
        Noise-only samples, complex ``[coil, sample]``.

    Returns
    -------
    Tensor
        Lower triangular W in 1 / unit of `noise`, ``[coil, coil]``, of the precision of `noise`.

    Raises
    ------
    ShapeError
        If `noise` is not ``[coil, sample]``.
    ProtocolError
        If there are too few samples, samples that are not finite, or dead, constant or linearly dependent channels.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241, eq. 26.
    """
    noise = torch.as_tensor(noise)
    if noise.ndim != 2:
        raise ShapeError(f"noise is {tuple(noise.shape)}: give [coil, sample]")
    _check_samples(noise)
    psi = covariance(noise)
    _check_channels(noise)
    spread = psi.diagonal().real.sqrt()
    correlation = psi / (spread[:, None] * spread)
    smallest = float(torch.linalg.eigvalsh(correlation)[0])
    if smallest < _DEPENDENT:
        raise ProtocolError(
            f"noise channels depend on each other (smallest eigenvalue of their correlation {smallest:.1e}): "
            "leave out duplicated channels, or whiten before compressing coils"
        )
    factor = torch.linalg.cholesky(correlation)
    inverse = torch.linalg.solve_triangular(factor, torch.diag(1 / spread).to(factor.dtype), upper=False)
    return inverse.to(torch.promote_types(noise.dtype, torch.complex64))


def _check_samples(noise: Tensor) -> None:
    coils, samples = noise.shape
    if coils == 0 or samples < _SAMPLES_PER_COIL * coils:
        raise ProtocolError(
            f"noise has {samples} samples for {coils} coils: give at least {_SAMPLES_PER_COIL * max(coils, 1)}, "
            "or reconstruct without whitening"
        )
    finite = noise.isfinite().all(dim=1)
    if not bool(finite.all()):
        raise ProtocolError(f"noise of coils {_list(~finite)} is not finite: leave these samples or coils out")


def _check_channels(noise: Tensor) -> None:
    variance = torch.stack([covariance((row - row.mean())[None])[0, 0].real for row in noise])
    dead = ~(variance > _DEAD * variance.median())
    if bool(dead.any()):
        raise ProtocolError(f"coils {_list(dead)} recorded no noise (dead or constant): leave them out of the data")


def _list(which: Tensor) -> str:
    return ", ".join(str(int(coil)) for coil in which.nonzero())
