"""From sorted Cartesian k-space to one combined image per contrast and slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.combine import adaptive
from pulsetwin.recon.espirit import espirit
from pulsetwin.recon.grappa import grappa
from pulsetwin.recon.layout import Layout
from pulsetwin.recon.partial_fourier import pocs
from pulsetwin.recon.sense import sense
from pulsetwin.recon.sparse import l1_wavelet, total_variation
from pulsetwin.recon.undersampling import Undersampling, analyse
from pulsetwin.recon.walsh import walsh

METHODS = ("auto", "fft", "grappa", "sense", "nufft", "wavelet", "tv")


@dataclass(frozen=True, slots=True)
class Combined:
    """Combined images of a Cartesian scan.

    Parameters
    ----------
    values
        Complex ``[contrast, z, y, x]``.
    methods
        How they were reconstructed: of `METHODS` but ``auto``, or ``pocs``.
    warnings
        One sentence for each assumption.
    """

    values: Tensor
    methods: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Lines acquired for calibration only: hybrid ``[slice, kz, ky, coil, x]`` and their mask ``[slice, kz, ky]``."""

    hybrid: Tensor
    mask: Tensor

    def of_slice(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the hybrid lines ``[coil, kz, ky, x]`` and the mask ``[kz, ky]`` of one slice."""
        return self.hybrid[index].permute(2, 0, 1, 3), self.mask[index]


def combine(
    hybrid: Tensor, plan: Layout, method: str, calibration: Calibration | None = None, progress: Progress = silent
) -> Combined:
    """Reconstruct and combine every contrast and slice.

    Parameters
    ----------
    hybrid
        Whitened lines ``[contrast, slice, kz, ky, coil, x]``.
    plan
        Where each readout went.
    method
        One of `METHODS`; ``auto`` looks at what was sampled.
    calibration
        Lines acquired for calibration only, or None to calibrate from the scan's own centre.
    progress
        Called after each slice of each contrast.
    """
    counts = plan.counts()
    nx, ny, nz = plan.shape
    depth = plan.slices * nz
    values = torch.zeros((len(plan.contrasts), depth, ny, nx), dtype=hybrid.dtype, device=hybrid.device)
    methods: list[str] = []
    warnings: list[str] = []
    for index in range(plan.slices):
        maps: dict[str, Tensor] = {}
        for contrast in range(len(plan.contrasts)):
            kspace = hybrid[contrast, index].permute(2, 0, 1, 3)
            mask = torch.from_numpy(counts[contrast, index] > 0)
            if bool(mask.any()):
                name = choose(method, analyse(mask), kspace.shape[0], warnings)
                methods.append(name)
                centre = calibration.of_slice(index) if calibration is not None else (kspace, mask)
                values[contrast, index * nz : (index + 1) * nz] = _image(kspace, mask, name, maps, centre)
            progress(index * len(plan.contrasts) + contrast + 1, plan.slices * len(plan.contrasts), "reconstructing")
    turn = shift_phase(plan).to(values.device, values.dtype)
    values = values.unflatten(1, (plan.slices, nz)).mul_(turn).flatten(1, 2)
    return Combined(values, tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(warnings)))


def choose(method: str, sampling: Undersampling, coils: int, warnings: list[str]) -> str:
    """Return the method for what was sampled, explaining in `warnings` what is not plain.

    Raises
    ------
    ProtocolError
        If `method` cannot do it.
    """
    if method == "nufft":
        raise ProtocolError("method='nufft' is for non-Cartesian scans, and this one is Cartesian: use method='auto'")
    if method != "auto":
        if coils == 1 and method in ("grappa", "sense"):
            raise ProtocolError(f"method='{method}' needs several coils, and this scan has one: use method='wavelet'")
        return method
    if sampling.complete:
        return "fft"
    if min(sampling.partial_fourier) < 1 and sampling.regular and max(sampling.acceleration) == 1:
        warnings.append("partial Fourier: the missing side was filled in by POCS")
        return "pocs"
    if coils == 1:
        warnings.append("lines are missing and there is one coil: they were left zero")
        return "fft"
    warnings.append("lines are missing: filled in by CG-SENSE")
    return "sense"


def _image(kspace: Tensor, mask: Tensor, method: str, maps: dict[str, Tensor], centre: tuple[Tensor, Tensor]) -> Tensor:
    """Return the combined image ``[z, y, x]`` of hybrid lines ``[coil, kz, ky, x]``, which are used up.

    Coil maps are made once per slice from the hybrid lines and mask `centre`, and shared by contrasts through `maps`.
    """
    if method in ("fft", "grappa", "pocs"):
        images = _coil_images(kspace, mask, method, centre)
        if len(images) == 1:
            return images[0]
        if "walsh" not in maps:
            maps["walsh"] = walsh(images)
        return adaptive(images, maps["walsh"])
    full = fft(kspace, (-1,))
    if "espirit" not in maps:
        maps["espirit"] = espirit(_central_block(*centre), tuple(full.shape[1:]))
    solve = {"sense": sense, "wavelet": l1_wavelet, "tv": total_variation}[method]
    return solve(full, mask, maps["espirit"])


def _coil_images(kspace: Tensor, mask: Tensor, method: str, centre: tuple[Tensor, Tensor]) -> Tensor:
    """Fill in missing lines coil by coil and transform in place, so that no second copy of the scan is held."""
    if method == "grappa":
        full = fft(kspace, (-1,))
        kspace = ifft(grappa(full, mask, _central_block(*centre)), (-1,))
    elif method == "pocs":
        kspace = ifft(pocs(fft(kspace, (-1,)), mask), (-1,))
    for coil in kspace:
        coil.copy_(ifft(coil, (0, 1)))
    return kspace


def _central_block(hybrid: Tensor, mask: Tensor, columns: int = 24) -> Tensor:
    """Cut the fully sampled k-space centre ``[coil, kz, ky, kx]`` out of hybrid lines ``[coil, kz, ky, x]``."""
    bounds = analyse(mask).calibration
    if bounds is None:
        raise ProtocolError("no fully sampled block at the k-space centre to calibrate from: acquire reference lines")
    (z0, z1), (y0, y1) = bounds
    kspace = fft(hybrid[:, z0:z1, y0:y1], (-1,))
    centre, half = kspace.shape[-1] // 2, min(columns, kspace.shape[-1]) // 2
    return kspace[..., centre - half : centre + half]


def shift_phase(plan: Layout) -> Tensor:
    """Return the phase that undoes the offset of the sampled lines from the cells' centres, ``[z, y, 1]``."""
    _, ny, nz = plan.shape
    y = plan.shift[0] * (np.arange(ny) - ny // 2) / ny
    z = plan.shift[1] * (np.arange(nz) - nz // 2) / nz
    return torch.from_numpy(np.exp(2j * np.pi * (z[:, None] + y[None, :])))[..., None]
