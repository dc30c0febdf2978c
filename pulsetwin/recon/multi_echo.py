"""Maps of T2 from spin echoes: ``a exp(-TE / T2)``, or with an offset to which all decays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsetwin.errors import ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.exponential import fit_exponential
from pulsetwin.recon.relaxation_maps import relaxation_maps, stated_times
from pulsetwin.recon.voxels import voxels
from pulsetwin.volume import Images, Maps

RANGE = (1e-3, 5.0)
"""Between which T2 is searched [s]."""


def map_t2(
    images: Images, definitions: Mapping[str, Any], *, offset: bool = False, progress: Progress = silent
) -> Maps:
    """Return ``T2`` [s] and ``M0`` (a), with `offset` that too, and their deviations.

    Deviations ``_std`` are for noise as large as what the fit leaves; ``residual`` is the root mean square of that.
    Complex images are taken as magnitudes.

    Parameters
    ----------
    images
        In the order of the times.
    definitions
        Those of the `.seq`: ``TE``, the echo times [s].
    offset
        Whether the signal decays to an offset and not to 0. Noise of magnitudes does that to long echoes.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If the `.seq` does not state the times, or not in s, or no voxel can be mapped.
    ShapeError
        If there are not as many images as times, or too few of them.
    """
    times = stated_times(definitions, "TE", len(images.values), "T2")
    least = 4 if offset else 3
    if len(np.unique(times)) < least:
        raise ShapeError(f"T2: {len(np.unique(times))} echo times leave nothing for deviations: give at least {least}")
    found = voxels(images)
    fitted = fit_exponential(found.data, times, RANGE, offset=offset, progress=progress, what="T2")
    shared = {"M0": (fitted.values[0], ""), "M0_std": (fitted.deviation[0], "")}
    if offset:
        shared |= {"offset": (fitted.values[2], ""), "offset_std": (fitted.deviation[2], "")}
    return relaxation_maps(found, fitted, "T2", RANGE, fitted.values[0] > 0, shared)
