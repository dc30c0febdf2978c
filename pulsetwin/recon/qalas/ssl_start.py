"""What networks and total variation take from a fit: the signs of magnitudes, and the noise if it is not known."""

from __future__ import annotations

import numpy as np
import torch

from pulsetwin.recon.qalas.fit import Fitted
from pulsetwin.recon.qalas.training import SETTLED
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import QalasPulses
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

_MEDIANS = {1: 0.455, 2: SETTLED}  # of chi-square, by degrees of freedom


def signed_data(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    start: Fitted,
    *,
    pulses: QalasPulses | None = None,
    offset: np.ndarray,
) -> np.ndarray:
    """Return magnitudes ``[voxel, 5]`` with the signs of the signals that the fit implies.

    Parameters
    ----------
    data, timing, b1, pulses, offset
        As of `fit.fit`.
    start
        What it found.
    """
    t1, t2, ie, field, shift = (torch.from_numpy(np.nan_to_num(x, nan=1.0)) for x in (
        start.t1, start.t2, start.ie, b1, np.asarray(offset, np.float64)
    ))  # fmt: skip
    if pulses is None:
        told = signals(timing, t1, t2, ie=ie, b1=field)
    else:
        told = signals(timing, t1, t2, b1=field, offset=shift, pulses=pulses)
    return np.where(told.numpy() < 0, -1.0, 1.0) * np.abs(data)


def noise_of(start: Fitted, known: np.ndarray | None, *, free: bool) -> np.ndarray:
    """Return the standard deviation of the noise, where it is not known what the median residual of a fit tells.

    Parameters
    ----------
    start
        What was found.
    known
        Standard deviation, ``[voxel]``; taken as not known where it is not a positive number.
    free
        Whether the inversion efficiency was found: then five signals less four values remain, otherwise three.
    """
    misfit = start.misfit[start.valid] if start.valid.any() else start.misfit
    told = np.sqrt(np.median(misfit) / _MEDIANS[1 if free else 2])
    return np.full(len(start.misfit), told) if known is None else np.where(known > 0, known, told)
