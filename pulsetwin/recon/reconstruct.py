"""The road from raw data to images, the same for measured and simulated scans."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.cartesian import METHODS, Calibration, choose, combine
from pulsetwin.recon.channels import channel_matrix
from pulsetwin.recon.echo_planar import grid_echo_planar
from pulsetwin.recon.epi import alternates
from pulsetwin.recon.grid import grid
from pulsetwin.recon.layout import Layout, is_cartesian, layout
from pulsetwin.recon.noise import noise_std, whiten_by_background
from pulsetwin.recon.quality import ghost_figures, image_figures
from pulsetwin.recon.undersampling import analyse
from pulsetwin.recon.volume_sense import volume_sense
from pulsetwin.volume import Images, affine_ras

WORKSPACE = 3
"""Memory of a reconstruction in units of the gridded scan."""
OVERHEAD = 600 << 20
"""Memory of the libraries and of one part of the scan while it is read [byte]."""


def reconstruct(
    raw: RawData,
    *,
    reference: RawData | None = None,
    method: str = "auto",
    coils: int | None = None,
    memory: int | None = None,
    precision: str = "single",
    device: str = "cpu",
    progress: Progress = silent,
) -> Images:
    """Reconstruct the images of a scan.

    Noise is whitened, coils are compressed if need be, the readouts are sorted by their trajectory, echo-planar
    ghosts are corrected, missing lines filled in, and the coils combined.

    Parameters
    ----------
    raw
        The scan, with a trajectory.
    reference
        The same echo-planar train without phase-encoding blips, for the ghost correction.
    method
        ``auto``, or one of ``fft``, ``grappa``, ``sense``, ``nufft``, ``wavelet``, ``tv``.
    coils
        Number of virtual coils to compress to; all are kept by default as long as they fit into `memory`.
    memory
        Memory to stay below [byte]; by default half of what the machine has.
    precision
        ``single`` or ``double``.
    device
        Where torch computes.
    progress
        Called with steps done, steps in total and what is done.

    Raises
    ------
    ProtocolError
        If a setting does not fit the data.
    MismatchError
        If the reference does not belong to the scan.
    """
    if method not in METHODS:
        raise ProtocolError(f"method '{method}' is unknown: choose one of {', '.join(METHODS)}")
    if precision not in ("single", "double"):
        raise ProtocolError(f"precision '{precision}' is unknown: choose single or double")
    dtype = torch.complex64 if precision == "single" else torch.complex128
    readouts, left_out = imaging_readouts(raw)
    plan, assumed = layout(raw, readouts) if is_cartesian(readouts, raw.geometry.fov) else (None, [])
    voxels = int(np.prod(raw.geometry.matrix)) if plan is None else plan.counts().size * plan.shape[0]
    room = (memory or half_of_memory()) - OVERHEAD
    lined = plan is not None and reference is None and _by_lines(plan, method, raw.coils)
    coil_bytes = len(readouts) * plan.shape[0] * dtype.itemsize if lined else WORKSPACE * voxels * dtype.itemsize
    matrix, compressed = channel_matrix(raw, readouts, coils=coils, coil_bytes=coil_bytes, memory=room, dtype=dtype)
    if lined:
        images = _volume(raw, plan, matrix.to(device), progress)
    elif plan is not None:
        images = _cartesian(raw, plan, reference, method, matrix.to(device), progress)
    elif reference is None:
        from pulsetwin.recon.noncartesian import reconstruct_noncartesian

        images = reconstruct_noncartesian(raw, readouts, method=method, channels=matrix.to(device), progress=progress)
    else:
        raise MismatchError("a ghost reference is for echo-planar scans, and this one is not Cartesian: leave it out")
    return replace(
        images,
        quality={"coils": float(len(matrix)), **images.quality},
        warnings=(*raw.warnings, *left_out, *assumed, *compressed, *images.warnings),
    )


def _cartesian(
    raw: RawData, plan: Layout, reference: RawData | None, method: str, matrix: Tensor, progress: Progress
) -> Images:
    """Reconstruct a Cartesian scan, with ghost correction where its lines alternate."""
    uncorrected, quality, assumed = None, {}, []
    if alternates(plan):
        hybrid, uncorrected, quality = grid_echo_planar(raw, plan, reference, matrix, progress)
    elif reference is None:
        hybrid = grid(plan, coil_matrix=matrix, progress=progress)
    else:
        raise MismatchError("a ghost reference was given but no image has reversed lines: leave it out")
    noise_known = raw.noise is not None or whiten_by_background(hybrid, plan, assumed)
    result = combine(hybrid, plan, method, _calibration(raw, plan, matrix), progress)
    values = result.values.cpu().numpy()
    std = noise_std(plan) if noise_known and result.methods == ("fft",) else None
    quality |= image_figures(np.abs(values[0]), std)
    if uncorrected is not None:
        quality |= ghost_figures(uncorrected, np.abs(values[0]))
    extras = {} if uncorrected is None else {"uncorrected": uncorrected}
    affine = affine_ras(raw.geometry, values.shape[:0:-1])
    return Images(values, affine, plan.contrasts, std, quality, (*assumed, *result.warnings), extras)


def _by_lines(plan: Layout, method: str, coils: int) -> bool:
    """Return whether a scan is a volume whose missing lines are filled in by SENSE."""
    if plan.slices > 1 or plan.shape[2] == 1 or coils == 1 or method not in ("auto", "sense") or alternates(plan):
        return False
    return all(choose(method, analyse(mask), coils, []) == "sense" for mask in plan.counts()[:, 0] > 0)


def _volume(raw: RawData, plan: Layout, matrix: Tensor, progress: Progress) -> Images:
    """Reconstruct a volume with missing lines."""
    values = volume_sense(plan, matrix, _calibration_layout(raw, plan), progress).cpu().numpy()
    warnings = ("lines are missing: filled in by CG-SENSE",)
    affine = affine_ras(raw.geometry, values.shape[:0:-1])
    return Images(values, affine, plan.contrasts, None, image_figures(np.abs(values[0]), None), warnings)


def _calibration(raw: RawData, plan: Layout, matrix: Tensor) -> Calibration | None:
    """Grid the lines that serve calibration only, or return None if there are none."""
    own = _calibration_layout(raw, plan)
    return None if own is None else Calibration(grid(own, coil_matrix=matrix)[0], torch.from_numpy(own.counts()[0] > 0))


def _calibration_layout(raw: RawData, plan: Layout) -> Layout | None:
    """Sort the lines that serve calibration, or return None if none do so only."""
    for group in raw.groups:
        lines = group.select(group.flag("reference"))
        if (
            lines.flag("imaging").all()
            or lines.trajectory is None
            or lines.samples.shape[1:] != plan.readouts.samples.shape[1:]
        ):
            continue
        own, _ = layout(raw, replace(lines, labels={"SLC": lines.label("SLC"), "AVG": np.arange(len(lines))}))
        if own.slices == plan.slices and own.shape == plan.shape:
            return own
    return None


def imaging_readouts(raw: RawData) -> tuple[Readouts, list[str]]:
    """Return the imaging readouts of the length that most of them have, and what was left out.

    Raises
    ------
    MismatchError
        If there are none, or they have no trajectory.
    """
    groups = [group.select(group.flag("imaging")) for group in raw.groups]
    groups = [group for group in groups if len(group)]
    if not groups:
        raise MismatchError("the scan holds no imaging readouts: is it a noise or adjustment scan?")
    groups.sort(key=lambda group: group.samples.shape[0] * group.samples.shape[2], reverse=True)
    if groups[0].trajectory is None:
        raise MismatchError("the readouts have no trajectory: give the .seq that was played (--seq)")
    left = [f"{len(g)} imaging readouts of {g.samples.shape[2]} samples were left out" for g in groups[1:]]
    return groups[0], left


def half_of_memory() -> int:
    """Return half of the machine's memory [byte]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
