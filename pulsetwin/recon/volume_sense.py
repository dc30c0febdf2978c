"""Volumes with missing lines: SENSE of the lines that there are, so that no grid of coils is ever held."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.fft import fft
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cartesian import shift_phase
from pulsetwin.recon.grid import gather
from pulsetwin.recon.layout import Layout
from pulsetwin.recon.sensitivities import Sensitivities, sensitivities
from pulsetwin.recon.subspace import Lines, one_hot, subspace_sense
from pulsetwin.recon.undersampling import analyse

_COLUMNS = 24  # of the calibration along the readout


def volume_sense(plan: Layout, coil_matrix: Tensor, calibration: Layout | None, progress: Progress = silent) -> Tensor:
    """Reconstruct every contrast of a volume, complex ``[contrast, z, y, x]``.

    Parameters
    ----------
    plan
        Where each readout belongs; one slice.
    coil_matrix
        Whitening and compression ``[virtual, coil]``.
    calibration
        Readouts that serve calibration only, or None to calibrate from the scan's own centre.
    progress
        Called while reading, and with the positions along x that are done.

    Raises
    ------
    ProtocolError
        If there is no fully sampled centre to calibrate from.
    """
    lines = volume_lines(plan, coil_matrix, progress)
    maps = calibrated(lines if calibration is None else volume_lines(calibration, coil_matrix))
    images = subspace_sense(lines, maps, progress=progress)
    return images.mul_(shift_phase(plan).to(images.device, images.dtype))


def volume_lines(plan: Layout, coil_matrix: Tensor, progress: Progress = silent) -> Lines:
    """Read the lines of a volume, with a coefficient for each contrast."""
    values = gather(plan, coil_matrix=coil_matrix, progress=progress)
    nx, ny, nz = plan.shape
    contrast, kz, ky = (torch.from_numpy(one.astype(np.int64)) for one in (plan.contrast, plan.kz, plan.ky))
    return Lines(values, kz, ky, one_hot(contrast, len(plan.contrasts)), (nz, ny, nx))


def calibrated(lines: Lines) -> Sensitivities:
    """Return the sensitivities from the largest fully sampled centre of a contrast, of equal ones the strongest.

    Raises
    ------
    ProtocolError
        If no contrast has a fully sampled centre.
    """
    blocks = [_central_block(lines, torch.nonzero(weight).flatten()) for weight in lines.weights.unbind(1)]
    filled = [block for block in blocks if block is not None]
    if not filled:
        raise ProtocolError("no fully sampled block at the k-space centre to calibrate from: acquire reference lines")
    return sensitivities(max(filled, key=lambda block: (block.numel(), float(block.abs().sum()))), lines.shape)


def _central_block(lines: Lines, picked: Tensor) -> Tensor | None:
    """Return the fully sampled centre of some lines, ``[coil, kz, ky, kx]``, or None if there is none."""
    nz, ny, nx = lines.shape
    row = torch.full((nz, ny), -1)
    row[lines.kz[picked], lines.ky[picked]] = picked
    bounds = analyse(row >= 0).calibration if len(picked) else None
    if bounds is None:
        return None
    (z0, z1), (y0, y1) = bounds
    block = lines.values[row[z0:z1, y0:y1].flatten()].unflatten(0, (z1 - z0, y1 - y0)).permute(2, 0, 1, 3)
    half = min(_COLUMNS, nx) // 2
    return fft(block, (-1,))[..., nx // 2 - half : nx // 2 + half]
