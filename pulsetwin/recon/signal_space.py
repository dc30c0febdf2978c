"""The space in which blocks of multi-coil k-space lie, and its projection in image space."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError

_ITERATIONS = 5  # of the block power method: errors near the threshold fall by some 16 times in each
_SMALL = 1024  # size of a matrix that is best decomposed in full


def projection_kernel(calibration: Tensor, kernel: int, threshold: float) -> Tensor:
    """Return the Fourier coefficients of ESPIRiT's operator ``G(q)`` at each voxel q.

    Blocks of the calibration data are the rows of a matrix A; its right singular vectors ``v_i`` with singular values
    above the threshold span the signal space. With ``P = sum_i v_i v_i^H``,
    ``G_cc'(q) = sum_d exp(2 pi i d.q) kernel[c, c', d]``,
    ``kernel[c, c', d] = prod(k)^-1 sum_{a - b = d} conj(P[(c, a), (c', b)])``: a few coefficients hold the operator for
    a grid of any size, and no array ``[coil, coil, grid]`` is needed.

    Parameters
    ----------
    calibration
        Fully sampled k-space around the centre, complex ``[coil, z, y, x]``.
    kernel
        Width of a block in samples, along each axis longer than that.
    threshold
        Singular values to keep, relative to the largest.

    Returns
    -------
    Tensor
        Complex ``[2 k_z - 1, 2 k_y - 1, 2 k_x - 1, coil, coil]``, zero offset in the middle.
    """
    widths = tuple(min(kernel, n) for n in calibration.shape[1:])
    blocks = _blocks(calibration / calibration.abs().max(), widths)
    vectors = _signal_vectors(blocks, threshold, math.prod(widths))
    coils = len(calibration)
    projection = (vectors.conj() @ vectors.mT).reshape(coils, *widths, coils, *widths)
    mirrored = projection.permute(1, 2, 3, 5, 6, 7, 0, 4).flip(3, 4, 5)
    total = mirrored.new_zeros(*(2 * k - 1 for k in widths), coils, coils)
    for z, y, x in itertools.product(*(range(k) for k in widths)):
        total[z : z + widths[0], y : y + widths[1], x : x + widths[2]] += mirrored[z, y, x]
    return total / math.prod(widths)


def _blocks(calibration: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Return all blocks of size `widths`, ``[position, coil * block]``."""
    windows = calibration
    for axis, width in enumerate(widths):
        windows = windows.unfold(axis + 1, width, 1)
    positions = math.prod(windows.shape[1:4])
    if positions < math.prod(widths):
        raise ProtocolError(
            f"calibration of {tuple(calibration.shape[1:])} holds only {positions} blocks of {widths}: "
            "give a larger calibration region or a smaller kernel"
        )
    return windows.permute(1, 2, 3, 0, 4, 5, 6).reshape(positions, -1)


def _signal_vectors(blocks: Tensor, threshold: float, guess: int) -> Tensor:
    """Return the right singular vectors above `threshold`, ``[coil * block, vector]``, some `guess` of them."""
    positions, length = blocks.shape
    if positions < length:
        values, left = _leading(_gram(blocks.mH, guess), threshold**2, guess)
        return (blocks.mH @ left) / values.sqrt()
    return _leading(_gram(blocks, guess), threshold**2, guess)[1]


def _gram(matrix: Tensor, width: int) -> Tensor:
    """Return ``A^H A``, computing the upper half only, `width` columns at a time."""
    size = matrix.shape[1]
    gram = matrix.new_empty(size, size)
    for start in range(0, size, width):
        part = slice(start, start + width)
        gram[part, start:] = matrix[:, part].mH @ matrix[:, start:]
        gram[start:, part] = gram[part, start:].mH.clone()
    return gram


def _leading(gram: Tensor, threshold: float, guess: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues above `threshold` times the largest, and their vectors, by a block power method.

    The block grows until it holds enough vectors below the threshold to converge; where that takes a third of the
    space or more, the full decomposition is cheaper.
    """
    block = 2 * guess
    while len(gram) > max(_SMALL, 3 * block):
        generator = torch.Generator(gram.device).manual_seed(0)
        basis = torch.randn(len(gram), block, dtype=gram.dtype, device=gram.device, generator=generator)
        for _ in range(_ITERATIONS):
            basis = torch.linalg.qr(gram @ basis)[0]
        values, rotation = torch.linalg.eigh(basis.mH @ (gram @ basis))
        kept = values > threshold * values[-1]
        if 4 * int(kept.sum()) <= 3 * block:
            return values[kept], basis @ rotation[:, kept]
        block *= 2
    values, vectors = torch.linalg.eigh(gram)
    kept = values > threshold * values[-1]
    return values[kept], vectors[:, kept]
