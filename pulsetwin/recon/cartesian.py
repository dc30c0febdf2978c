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
    sampled
        How each contrast was reconstructed: one of `METHODS` but ``auto``.
    warnings
        One sentence for each assumption.
    """

    values: Tensor
    methods: tuple[str, ...]
    warnings: tuple[str, ...]


def combine(hybrid: Tensor, plan: Layout, method: str, progress: Progress = silent) -> Combined:
    """Reconstruct and combine every contrast and slice.

    Parameters
    ----------
    hybrid
        Whitened lines ``[contrast, slice, kz, ky, coil, x]``.
    plan
        Where each readout went.
    method
        One of `METHODS`; ``auto`` looks at what was sampled.
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
                values[contrast, index * nz : (index + 1) * nz] = _image(kspace, mask, name, maps)
            progress(index * len(plan.contrasts) + contrast + 1, plan.slices * len(plan.contrasts), "reconstructing")
    turn = _shift_phase(plan).to(values.device, values.dtype)
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
    if sampling.partial_fourier and sampling.regular and max(sampling.acceleration) == 1:
        warnings.append("partial Fourier: the missing side was filled in by POCS")
        return "pocs"
    if coils == 1:
        warnings.append("lines are missing and there is one coil: they were left zero")
        return "fft"
    warnings.append("lines are missing: filled in by CG-SENSE")
    return "sense"


def _image(kspace: Tensor, mask: Tensor, method: str, maps: dict[str, Tensor]) -> Tensor:
    """Return the combined image ``[z, y, x]`` of hybrid lines ``[coil, kz, ky, x]``, which are used up.

    Coil maps are made once per slice and shared by its contrasts through `maps`.
    """
    if method in ("fft", "grappa", "pocs"):
        images = _coil_images(kspace, mask, method)
        if len(images) == 1:
            return images[0]
        if "walsh" not in maps:
            maps["walsh"] = walsh(images)
        return adaptive(images, maps["walsh"])
    full = fft(kspace, (-1,))
    if "espirit" not in maps:
        maps["espirit"] = espirit(_calibration(full, mask), tuple(full.shape[1:]))
    solve = {"sense": sense, "wavelet": l1_wavelet, "tv": total_variation}[method]
    return solve(full, mask, maps["espirit"])


def _coil_images(kspace: Tensor, mask: Tensor, method: str) -> Tensor:
    """Fill in missing lines coil by coil and transform in place, so that no second copy of the scan is held."""
    if method == "grappa":
        full = fft(kspace, (-1,))
        kspace = ifft(grappa(full, mask, _calibration(full, mask)), (-1,))
    elif method == "pocs":
        kspace = ifft(pocs(fft(kspace, (-1,)), mask), (-1,))
    for coil in kspace:
        coil.copy_(ifft(coil, (0, 1)))
    return kspace


def _calibration(kspace: Tensor, mask: Tensor, columns: int = 24) -> Tensor:
    """Cut the fully sampled centre out of k-space ``[coil, kz, ky, kx]``."""
    bounds = analyse(mask).calibration
    if bounds is None:
        raise ProtocolError("no fully sampled block at the k-space centre to calibrate from: give a reference scan")
    (z0, z1), (y0, y1) = bounds
    centre, half = kspace.shape[-1] // 2, min(columns, kspace.shape[-1]) // 2
    return kspace[:, z0:z1, y0:y1, centre - half : centre + half]


def _shift_phase(plan: Layout) -> Tensor:
    """Phase that undoes the offset of the sampled lines from the cells' centres, ``[z, y, 1]``."""
    _, ny, nz = plan.shape
    y = plan.shift[0] * (np.arange(ny) - ny // 2) / ny
    z = plan.shift[1] * (np.arange(nz) - nz // 2) / nz
    return torch.from_numpy(np.exp(2j * np.pi * (z[:, None] + y[None, :])))[..., None]
