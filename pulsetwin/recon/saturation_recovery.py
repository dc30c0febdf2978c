"""Maps of T1 from images at several times after a saturation or an inversion: ``a - b exp(-TI / T1)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.exponential import fit_exponential
from pulsetwin.recon.relaxation_maps import relaxation_maps, stated_times
from pulsetwin.recon.voxels import voxels
from pulsetwin.volume import Images, Maps

RANGE = (0.02, 10.0)
"""Between which T1 is searched [s]."""
_LEAST = 1e-6  # share of the signal that recovers, below which it is rounding


def map_t1(images: Images, definitions: Mapping[str, Any], progress: Progress = silent) -> Maps:
    """Return ``T1`` [s], ``M0`` (a) and ``recovered`` (b / a: 1 after a saturation, 2 after an inversion).

    Each has a deviation ``_std``, for noise as large as what the fit leaves, but for ``recovered``; ``residual`` is the
    root mean square of that. Complex images are given signs, of which that of the longest time is positive; the signs
    of magnitudes are those that are explained best.

    Parameters
    ----------
    images
        In the order of the times.
    definitions
        Those of the `.seq`: ``TI``, the times from saturation or inversion to each image [s].
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If the `.seq` does not state the times, or not in s, or no voxel can be mapped.
    ShapeError
        If there are not as many images as times, or fewer than four times.
    """
    times = stated_times(definitions, "TI", len(images.values), "T1")
    if len(np.unique(times)) < 4:
        raise ShapeError(f"T1: {len(np.unique(times))} times for three unknowns and their deviations: give at least 4")
    found = voxels(images, int(np.argmax(times)))
    fitted = fit_exponential(found.data, times, RANGE, signed=found.signed, progress=progress, what="T1")
    change, _, full = fitted.values
    if not (full > 0).any():
        raise ProtocolError("T1: no voxel recovers to a positive signal: pass the images in the order of the .seq")
    shared = {"M0": (full, ""), "recovered": (-change / np.where(full > 0, full, np.inf), "")}
    shared["M0_std"] = fitted.deviation[2], ""
    growing = (full > 0) & (-change > _LEAST * full)
    return relaxation_maps(found, fitted, "T1", RANGE, growing, shared)
