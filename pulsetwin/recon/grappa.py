"""GRAPPA: missing k-space samples as linear combinations of their neighbours in all coils."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.hybrid import chunks
from pulsetwin.recon.neighbours import Neighbourhood, inside, missing_points, neighbourhoods
from pulsetwin.recon.undersampling import analyse

WORKSPACE = 256 * 2**20
"""Bytes of the largest temporary array."""


def grappa(
    kspace: Tensor,
    mask: Tensor,
    calibration: Tensor,
    *,
    neighbours: int | None = None,
    taps: int = 5,
    regularisation: float = 1e-3,
) -> Tensor:
    """Fill in missing phase-encoding lines, ``s_c(k) = sum_{n, d, c'} w_{c, n, d, c'} s_c'(k + n + d)``.

    The weights ``w`` fit the calibration block by regularised least squares. They are applied as a convolution along
    the readout, that is by products in its image domain. Regular patterns (CAIPI included) need one set of weights,
    any other pattern one for each geometry of samples around a missing point. Measured samples are kept as they are;
    beyond the scanned range (partial Fourier) and in the corners of an elliptical scan k-space stays zero. Memory
    beyond `kspace` is one array of its size and `WORKSPACE`.

    Parameters
    ----------
    kspace
        Samples ``[coil, z, y, x]``, any unit; ignored where `mask` is False. The readout x is fully sampled.
    mask
        True where k-space was sampled, bool ``[z, y]``.
    calibration
        Fully sampled block of the same coils ``[coil, z, y, x]``, in the unit of `kspace` or any other.
    neighbours
        Samples of the phase-encoding plane that each missing one is made from: 2 in a slice, 4 in a volume if None.
    taps
        Samples along the readout around each neighbour, odd.
    regularisation
        Tikhonov weight relative to the mean energy of the calibration's samples.

    Returns
    -------
    Tensor
        k-space ``[coil, z, y, x]`` with the missing samples filled in.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    ProtocolError
        If the calibration block is smaller than the kernel, or the pattern too irregular.

    References
    ----------
    GRAPPA: Griswold et al. 2002, doi:10.1002/mrm.10171. In the readout's image domain: Brau et al. 2008,
    doi:10.1002/mrm.21481. 2D CAIPIRINHA: Breuer et al. 2006, doi:10.1002/mrm.20787.
    """
    _check(kspace, mask, calibration, neighbours, taps, regularisation)
    plane = mask.cpu().numpy()
    sampling = analyse(plane)
    if sampling.complete:
        return kspace.clone()
    count = neighbours or (2 if 1 in plane.shape else 4)
    kernels = [
        (around, train(calibration, around, taps=taps, regularisation=regularisation).to(kspace.dtype))
        for around in neighbourhoods(plane, sampling, count)
    ]
    places = [_indices(plane, missing_points(plane, sampling, around), around, kspace.device) for around, _ in kernels]
    filled = torch.empty_like(kspace, memory_format=torch.contiguous_format)
    for coils in chunks(len(kspace), kspace[0].nbytes, WORKSPACE):
        filled[coils] = ifft(torch.where(mask[..., None], kspace[coils], 0), (-1,))
    _fill(filled, [weights for _, weights in kernels], places)
    for coils in chunks(len(kspace), kspace[0].nbytes, WORKSPACE):
        filled[coils] = torch.where(mask[..., None], kspace[coils], fft(filled[coils], (-1,)))
    return filled


def train(calibration: Tensor, around: Neighbourhood, *, taps: int, regularisation: float) -> Tensor:
    """Fit the weights of a neighbourhood to a calibration block.

    Solves ``(A^H A + lambda tr(A^H A) / n) w = A^H b``. Blocks of ``A^H A`` whose taps are equally far apart differ
    in their first and last equations only, so just one block per distance is a full product. Products are taken in the
    precision of `calibration`, sums and the solution in double.

    Parameters
    ----------
    calibration
        Fully sampled block ``[coil, z, y, x]``.
    around
        Sources and targets.
    taps
        Samples along the readout.
    regularisation
        ``lambda``.

    Returns
    -------
    Tensor
        complex128 ``[tap, source * coil, target * coil]``.
    """
    _check_size(calibration, around, taps)
    sources, targets = len(around.sources) * len(calibration), len(around.targets) * len(calibration)
    gram = calibration.new_zeros((taps, sources, taps, sources), dtype=torch.complex128)
    cross = calibration.new_zeros((taps, sources, targets), dtype=torch.complex128)
    for known, wanted in _equations(calibration, around):
        _accumulate(gram, cross, known, wanted[taps // 2 : len(wanted) - taps // 2])
    matrix = gram.reshape(taps * sources, taps * sources)
    diagonal = matrix.diagonal()
    energy = float(diagonal.real.mean())
    if not 0 < energy < float("inf"):
        raise ProtocolError("the calibration block is zero or not finite: check which lines it was cut from")
    diagonal += max(regularisation, 1e-15 * taps * sources) * energy
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(cross.reshape(taps * sources, targets), factor).reshape(taps, sources, targets)


def _equations(calibration: Tensor, around: Neighbourhood) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield sources ``[x, position, source * coil]`` and targets ``[x, position, target * coil]``, rows in groups."""
    low = np.minimum(around.sources.min(0), around.targets.min(0))
    depth, height = (n - extent + 1 for n, extent in zip(calibration.shape[1:3], around.extent, strict=True))
    turned = calibration.permute(3, 1, 2, 0).contiguous()

    def cut(offsets: np.ndarray, z: slice) -> Tensor:
        starts = (offsets - low).tolist()
        parts = [turned[:, z.start + dz : z.stop + dz, dy : dy + height] for dz, dy in starts]
        return torch.stack(parts, 3).flatten(3).flatten(1, 2)

    for z in chunks(depth, 2 * len(around.sources) * turned[:, 0, :height].nbytes, WORKSPACE):
        yield cut(around.sources, z), cut(around.targets, z)


def _accumulate(gram: Tensor, cross: Tensor, known: Tensor, wanted: Tensor) -> None:
    """Add equations to the normal matrix ``[tap, source, tap, source]`` and its right-hand side."""
    taps, valid = len(gram), len(wanted)

    def product(first: int, second: int, length: int) -> Tensor:
        a, b = known[first : first + length].flatten(0, 1), known[second : second + length].flatten(0, 1)
        return (a.mH @ b).to(gram.dtype)

    for tap in range(taps):
        cross[tap] += known[tap : tap + valid].flatten(0, 1).mH @ wanted.flatten(0, 1)
    for lag in range(taps):
        block = product(0, lag, valid)
        for tap in range(taps - lag):
            if tap:
                block = block + product(tap - 1 + valid, tap - 1 + valid + lag, 1) - product(tap - 1, tap - 1 + lag, 1)
            gram[tap, :, tap + lag] += block
            if lag:
                gram[tap + lag, :, tap] += block.mH


def _indices(
    mask: np.ndarray, wanted: np.ndarray, around: Neighbourhood, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return flat places of sources ``[source, anchor]`` and targets ``[target, anchor]``; the last place is none."""
    used = wanted.any(0)
    anchors, wanted = around.anchors[used], wanted[:, used]
    sources, targets = anchors + around.sources[:, None], anchors + around.targets[:, None]
    known = inside(sources, mask.shape)
    known[known] = mask[tuple(sources[known].T)]

    def flat(points: np.ndarray, valid: np.ndarray) -> Tensor:
        places = np.where(valid, points[..., 0] * mask.shape[1] + points[..., 1], mask.size)
        return torch.from_numpy(places).to(device)

    return flat(sources, known), flat(targets, wanted)


def _fill(hybrid: Tensor, kernels: list[Tensor], places: list[tuple[Tensor, Tensor]]) -> None:
    """Write the missing lines of hybrid space ``[coil, kz, ky, x]`` in place, some x at a time."""
    coils, columns = len(hybrid), hybrid.shape[-1]
    lines = hybrid.flatten(1, 2)
    needed = max(source.numel() for source, _ in places) + lines.shape[1] + sum(len(w[0][0]) for w in kernels)
    for x in chunks(columns, needed * coils * hybrid.element_size(), WORKSPACE):
        part = torch.nn.functional.pad(lines[..., x].permute(2, 0, 1), (0, 1))
        for weights, (source, target) in zip(kernels, places, strict=True):
            mixing = _along_readout(weights, x, columns)
            known = part[..., source.reshape(-1)].reshape(len(part), coils, *source.shape).transpose(1, 2)
            new = mixing @ known.reshape(len(part), -1, source.shape[1])
            for index, at in enumerate(target):
                part[..., at] = new[:, index * coils : (index + 1) * coils]
        lines[..., x] = part[..., :-1].permute(1, 2, 0)


def _along_readout(weights: Tensor, x: slice, columns: int) -> Tensor:
    """Transform weights ``[tap, in, out]`` to ``[x, out, in]``: a shift in kx is a phase in x."""
    position = torch.arange(columns, device=weights.device)[x] - columns // 2
    shift = torch.arange(len(weights), device=weights.device) - len(weights) // 2
    phase = torch.exp(-2j * torch.pi * torch.outer(position, shift).to(weights.real.dtype) / columns)
    return torch.einsum("xd,dio->xoi", phase.to(weights.dtype), weights)


def _check(
    kspace: Tensor, mask: Tensor, calibration: Tensor, neighbours: int | None, taps: int, regularisation: float
) -> None:
    if kspace.ndim != 4 or mask.shape != kspace.shape[1:3]:
        raise ShapeError(
            f"kspace is {tuple(kspace.shape)} and mask {tuple(mask.shape)}: give [coil, z, y, x] and [z, y]"
        )
    if calibration.ndim != 4 or len(calibration) != len(kspace):
        raise ShapeError(
            f"calibration is {tuple(calibration.shape)} for {len(kspace)} coils: give [coil, z, y, x] of the same coils"
        )
    if not kspace.is_complex() or not calibration.is_complex() or mask.dtype != torch.bool:
        raise ShapeError(f"kspace is {kspace.dtype} and mask {mask.dtype}: give complex k-space and a bool mask")
    if neighbours is not None and neighbours < 1:
        raise ProtocolError(f"neighbours {neighbours}: give at least 1, or None for the default")
    if taps < 1 or taps % 2 == 0 or not regularisation >= 0:
        raise ProtocolError(f"taps {taps} and regularisation {regularisation}: give odd taps and no negative weight")


def _check_size(calibration: Tensor, around: Neighbourhood, taps: int) -> None:
    needed = (*around.extent, taps)
    if any(have < need for have, need in zip(calibration.shape[1:], needed, strict=True)):
        raise ProtocolError(
            f"calibration block (z, y, x) {tuple(calibration.shape[1:])} is smaller than the GRAPPA kernel {needed}: "
            f"give at least {needed} samples, or fewer neighbours or taps"
        )
