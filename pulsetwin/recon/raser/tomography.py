"""Images from projections of a known scale: filtered back-projection."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from pulsetwin.errors import ShapeError


def filtered_back_projection(projections: np.ndarray, areas: csr_array, per_pixel: float = 1.0) -> np.ndarray:
    """Return the image whose projections are filtered by a ramp under a cosine and smeared back, ``[pixel]``.

    Parameters
    ----------
    projections
        ``[angle, mode]``, over half a turn in equal steps.
    areas
        From `pulsetwin.operators.strips.strip_areas`.
    per_pixel
        Strips in a pixel's width.

    Raises
    ------
    ShapeError
        If the projections do not suit the areas.
    """
    if projections.ndim != 2 or projections.size != areas.shape[0]:
        raise ShapeError(f"projections are {projections.shape}, areas have {areas.shape[0]} rows: of one set, please")
    angles, modes = projections.shape
    padded = 2 * modes
    ramp = np.zeros(padded)  # of a band-limited ramp, as a kernel: no loss of the mean (Kak and Slaney 1988, 3.61)
    ramp[0] = 0.25
    odd = np.arange(1, padded, 2)
    ramp[odd] = -1 / (np.pi * np.minimum(odd, padded - odd)) ** 2
    window = np.cos(np.pi * np.fft.rfftfreq(padded))
    spectra = np.fft.rfft(projections, padded, axis=1) * np.fft.rfft(ramp).real * window
    filtered = np.fft.irfft(spectra, padded, axis=1)[:, :modes]
    return np.pi / angles * per_pixel**2 * (areas.T @ filtered.ravel())
