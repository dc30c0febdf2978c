"""The image of a RASER scan, from its raw data and what the sequence states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.sim.raser.threshold import PROTON
from pulsetwin.volume import Images, affine_ras

_NEEDED = ("RaserAngles", "RaserGradient", "RaserDwell", "RaserSegmentSamples", "RaserGap", "Matrix", "FOV")


def is_raser_scan(raw: RawData) -> bool:
    """Return whether a scan was played by a RASER sequence: it states the angles."""
    return "RaserAngles" in raw.definitions


def invert_scan(raw: RawData, *, seconds: float = 4.096, progress: Progress = silent, **settings: Any) -> Images:
    """Return the image of a RASER scan: relative inversion, its largest voxel 1, by `inversion.invert`.

    Quality has chi squared, the parameters and their errors. Of several coils the strongest combination is taken.

    Parameters
    ----------
    raw
        Its projections, one LIN each, whose acquisitions are numbered by SEG.
    seconds
        How much of each projection is used [s]; later there should be nothing left but noise.
    progress
        Called as the inversion goes on.
    settings
        Further ones of `inversion.invert`.

    Raises
    ------
    MismatchError
        If the scan states no RASER angles, or projections are missing.
    ProtocolError
        If the image is not square, or as `inversion.invert`.
    """
    said = raw.definitions
    missing = [name for name in _NEEDED if name not in said]
    if missing:
        raise MismatchError(f"the scan does not state {', '.join(missing)}: give the .seq of a RASER scan by --seq")
    angles, dwell = np.atleast_1d(np.asarray(said["RaserAngles"], np.float64)), float(said["RaserDwell"])
    columns, rows = (int(count) for count in said["Matrix"][:2])
    size = float(said["FOV"][0]) / columns
    if not math.isclose(size, float(said["FOV"][1]) / rows, rel_tol=1e-6):
        raise ProtocolError("the voxels of the scan are not square: build the sequence anew with a square matrix")
    rate = PROTON / (2 * math.pi) * float(said["RaserGradient"])
    signal = projections(raw, len(angles))[:, : round(seconds / dwell)]
    away = [((count - 1) / 2 - count // 2) * size for count in (columns, rows)]  # the image's middle, from voxel n // 2
    offset = rate * (away[0] * np.cos(angles) + away[1] * np.sin(angles))
    signal = signal * np.exp(2j * np.pi * offset[:, None] * dwell * np.arange(signal.shape[1]))
    found = invert(
        signal, dwell, angles, matrix=(rows, columns), pixel_bandwidth=rate * size, progress=progress, **settings
    )
    quality = {"chi_squared": found.chi_squared}
    for name, value, error in zip(("T1", "T2star", "kappa"), found.parameters, found.errors, strict=True):
        quality |= {name: float(value), f"{name}_error": float(error)}
    warnings = () if 0.8 < found.chi_squared < 1.2 else (
        f"chi squared is {found.chi_squared:.3g} per sample: the model does not explain the data, so doubt the image",
    )  # fmt: skip
    deviation = np.maximum(found.deviation, np.finfo(np.float32).tiny)[None]
    values = found.image[None, None].astype(np.complex64)
    affine = affine_ras(raw.geometry, (columns, rows, 1))
    return Images(values, affine, ({},), noise_std=deviation, quality=quality, warnings=warnings)


def projections(raw: RawData, angles: int) -> np.ndarray:
    """Return the signal of each angle on one even grid of time, ``[angle, sample]``, gaps of the receiver bridged.

    Raises
    ------
    MismatchError
        If acquisitions are missing or of several lengths.
    """
    if len(raw.groups) != 1:
        raise MismatchError("the scan has acquisitions of several lengths: leave out the references")
    group = raw.groups[0]
    line, segment = group.label("LIN"), group.label("SEG")
    segments = int(segment.max()) + 1
    order = np.lexsort((segment, line))
    if len(group) != angles * segments or not (line[order] == np.repeat(np.arange(angles), segments)).all():
        raise MismatchError(f"{len(group)} acquisitions for {angles} angles of {segments}: some are missing or double")
    samples = _one_coil(np.asarray(group.samples[order], np.complex128)).reshape(angles, segments, -1)
    gap = int(raw.definitions["RaserGap"])
    if segments == 1 or gap == 0:
        return samples.reshape(angles, -1)
    length = samples.shape[2]
    known = (np.arange(segments)[:, None] * (length + gap) + np.arange(length)).ravel()
    return make_interp_spline(known, samples.reshape(angles, -1), k=3, axis=1)(np.arange(known[-1] + 1))


def _one_coil(samples: np.ndarray) -> np.ndarray:
    """Return the combination of coils in which the signal is strongest, ``[readout, sample]``."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    covariance = np.einsum("rcs,rds->cd", samples, samples.conj())
    return np.einsum("c,rcs->rs", np.linalg.eigh(covariance)[1][:, -1].conj(), samples)
