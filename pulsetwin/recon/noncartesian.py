"""Images of scans that do not run along lines: radial, spiral and anything else, by NUFFT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.fft import fft
from pulsetwin.operators.nufft import Nufft, grid_positions
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.combine import adaptive
from pulsetwin.recon.density import density_compensation
from pulsetwin.recon.espirit import espirit
from pulsetwin.recon.layout import contrasts_of
from pulsetwin.recon.sense import sense_nufft
from pulsetwin.recon.walsh import walsh
from pulsetwin.volume import Images, affine_ras

CALIBRATION = 24
"""Edge of the k-space block that the coil maps of CG-SENSE are made from."""


@dataclass(frozen=True, slots=True)
class _Image:
    """Whitened samples ``[coil, point]`` and the transform of one contrast of one slice."""

    samples: Tensor
    nufft: Nufft


def reconstruct_noncartesian(
    raw: RawData,
    readouts: Readouts,
    *,
    method: str,
    channels: Tensor,
    progress: Progress = silent,
) -> Images:
    """Reconstruct a non-Cartesian scan: density-compensated adjoint NUFFT, or CG-SENSE.

    Parameters
    ----------
    raw
        The scan, for its geometry.
    readouts
        Imaging readouts of one length, with a trajectory.
    method
        ``auto`` and ``nufft`` for the adjoint NUFFT, ``sense`` for CG-SENSE.
    channels
        Whitening and compression ``[virtual, coil]``.
    progress
        Called after each slice of each contrast.

    Raises
    ------
    ProtocolError
        If `method` is for Cartesian scans, or the matrix is unknown.
    """
    if method not in ("auto", "nufft", "sense"):
        raise ProtocolError(f"method='{method}' is for Cartesian scans, and this one is not: use 'nufft' or 'sense'")
    nx, ny, nz = raw.geometry.matrix
    if min(nx, ny) <= 1:
        raise ProtocolError("the matrix of this non-Cartesian scan is unknown: add Matrix to the .seq's definitions")
    contrasts, contrast = contrasts_of(readouts)
    slice_index = readouts.label("SLC")
    slices = int(slice_index.max(initial=0)) + 1
    values = np.zeros((len(contrasts), slices * nz, ny, nx), np.complex64)
    total = len(contrasts) * slices
    for index in range(slices):
        maps: dict[str, Tensor] = {}
        for number in range(len(contrasts)):
            member = np.nonzero((slice_index == index) & (contrast == number))[0]
            if len(member):
                image = _gather(raw, readouts, member, channels)
                one = _sense(image, maps) if method == "sense" else _adjoint(image, maps)
                values[number, index * nz : (index + 1) * nz] = one.reshape(nz, ny, nx).cpu().numpy()
            progress(index * len(contrasts) + number + 1, total, "reconstructing")
    return Images(values, affine_ras(raw.geometry, (nx, ny, slices * nz)), contrasts)


def _gather(raw: RawData, readouts: Readouts, member: np.ndarray, channels: Tensor) -> _Image:
    """Read, whiten and compress the samples of one image."""
    nx, ny, nz = raw.geometry.matrix
    shape = (ny, nx) if nz == 1 else (nz, ny, nx)
    positions = torch.from_numpy(readouts.trajectory[member].positions())  # type: ignore[index]
    nufft = Nufft(grid_positions(positions.reshape(-1, 3), raw.geometry.fov, shape), shape)
    samples = torch.from_numpy(np.asarray(readouts.samples[member])).to(channels.dtype)
    return _Image(torch.matmul(channels, samples).movedim(1, 0).flatten(1), nufft)


def _adjoint(image: _Image, maps: dict[str, Tensor]) -> Tensor:
    """Combine the density-compensated adjoint images of the coils, ``[*grid]``."""
    coils = _coil_images(image)
    if len(coils) == 1:
        return coils[0]
    if "walsh" not in maps:
        maps["walsh"] = walsh(coils)
    return adaptive(coils, maps["walsh"])


def _sense(image: _Image, maps: dict[str, Tensor]) -> Tensor:
    """Return the CG-SENSE image ``[*grid]`` with ESPIRiT maps from its own k-space centre."""
    if "espirit" not in maps:
        coils = _coil_images(image)
        kspace = fft(coils, (1, 2, 3))
        centre = [slice(max(n // 2 - CALIBRATION // 2, 0), n // 2 + (CALIBRATION + 1) // 2) for n in kspace.shape[1:]]
        maps["espirit"] = espirit(kspace[(slice(None), *centre)], tuple(kspace.shape[1:]))
    sensitivities = maps["espirit"].reshape(len(image.samples), *image.nufft.shape)
    return sense_nufft(image.samples, image.nufft.positions, sensitivities)


def _coil_images(image: _Image) -> Tensor:
    """Return the density-compensated adjoint image of each coil, ``[coil, z, y, x]``."""
    weights = density_compensation(image.nufft).to(image.samples.real.dtype)
    coils = torch.stack([image.nufft.adjoint(coil * weights) for coil in image.samples])
    return coils.reshape(len(coils), -1, *image.nufft.shape[-2:])
