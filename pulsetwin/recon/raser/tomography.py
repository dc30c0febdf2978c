"""Images from projections of a known scale: filtered back-projection, SIRT, and total variation with positivity."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.raser.total_variation import differences, minimise


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
    _check(projections, areas)
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


def sirt(projections: np.ndarray, areas: csr_array, iterations: int = 200) -> np.ndarray:
    """Return the image of simultaneous iterative reconstruction, kept from being negative, ``[pixel]``.

    ``x <- max(x + C A' R (y - A x), 0)``, with R and C the inverse sums of rows and columns.

    Parameters
    ----------
    projections
        ``[angle, mode]``.
    areas
        From `pulsetwin.operators.strips.strip_areas`.
    iterations
        How many, at least 1; fewer are smoother.

    Raises
    ------
    ShapeError
        If the projections do not suit the areas.
    ProtocolError
        If there are no iterations.
    """
    _check(projections, areas)
    if iterations < 1:
        raise ProtocolError(f"{iterations} iterations: give at least 1")
    rows, columns = (1 / np.maximum(np.asarray(areas.sum(axis)), 1e-12) for axis in (1, 0))
    image = np.zeros(areas.shape[1])
    for _ in range(iterations):
        image = np.maximum(image + columns * (areas.T @ (rows * (projections.ravel() - areas @ image))), 0)
    return image


def total_variation(
    projections: np.ndarray, areas: csr_array, matrix: tuple[int, int], noise: float, weight: float = 3.0
) -> np.ndarray:
    """Return the image that is not negative and best by chi squared / 2 and total variation, ``[pixel]``.

    Parameters
    ----------
    projections
        ``[angle, mode]``.
    areas
        From `pulsetwin.operators.strips.strip_areas`, of all pixels.
    matrix
        Pixels along y and x.
    noise
        Standard deviation of the projections, in their unit.
    weight
        Of the total variation, for an image whose largest pixel is 1.

    Raises
    ------
    ShapeError
        If the projections do not suit the areas, or these the matrix.
    ProtocolError
        If the noise or the weight is not above 0.
    """
    _check(projections, areas)
    if not noise > 0:
        raise ProtocolError(f"noise of the projections {noise:g}: give a standard deviation above 0")
    first = sirt(projections, areas, 20)
    scale = float(first.max()) or 1.0
    normal = (areas.T @ areas).toarray() * (scale / noise) ** 2
    right = areas.T @ projections.ravel() * (scale / noise**2)
    return scale * minimise(normal, right, differences(matrix), first / scale, weight).image


def _check(projections: np.ndarray, areas: csr_array) -> None:
    if projections.ndim != 2 or projections.size != areas.shape[0]:
        raise ShapeError(f"projections are {projections.shape}, areas have {areas.shape[0]} rows: of one set, please")
