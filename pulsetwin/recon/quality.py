"""Figures that tell how good an image is: where the object lies, ghost level, signal to noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def object_mask(magnitude: np.ndarray, threshold: float = 0.15) -> np.ndarray:
    """Return where the largest object lies, holes filled, bool ``[..., y, x]``.

    Parameters
    ----------
    magnitude
        One slice or volume, real ``[..., y, x]``.
    threshold
        Fraction of the 99th percentile above which a voxel holds signal.
    """
    above = magnitude > threshold * np.percentile(magnitude, 99)
    opened = ndimage.binary_opening(above)
    parts, count = ndimage.label(opened if opened.any() else above)
    if count == 0:
        return above
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(largest))


def ghost_only(magnitude: np.ndarray, threshold: float = 0.15, margin: int = 2) -> np.ndarray:
    """Return where only the half-field-of-view ghost of the object can lie, bool ``[..., y, x]``.

    That is the object shifted by half the field of view along y, less everything that holds signal (any object, its
    filled holes and `margin` voxels around).
    """
    largest = object_mask(magnitude, threshold)
    signal = ndimage.binary_fill_holes(magnitude > threshold * np.percentile(magnitude, 99)) | largest
    grown = ndimage.binary_dilation(signal, iterations=margin)
    return np.roll(largest, largest.shape[-2] // 2, axis=-2) & ~grown


def ghost_level(image: np.ndarray, corrected: np.ndarray) -> float:
    """Return mean signal in the ghost-only region over mean signal in the object, NaN if there is no such region.

    Parameters
    ----------
    image
        The image to judge, magnitude ``[y, x]``.
    corrected
        The image that tells object from ghost, magnitude ``[y, x]``.
    """
    inside, outside = object_mask(corrected), ghost_only(corrected)
    if not inside.any() or not outside.any():
        return float("nan")
    return float(image[outside].mean() / image[inside].mean())


def edge_width(image: np.ndarray, axis: int = -1) -> float:
    """Return the median width of the object's outer edges along `axis` [voxels], 20 % to 80 % of the plateau.

    Parameters
    ----------
    image
        Magnitude ``[y, x]``.
    axis
        Direction in which the edge is crossed.
    """
    lines = np.moveaxis(image, axis, -1)
    inside = np.moveaxis(object_mask(image), axis, -1)
    widths = []
    for line, mask in zip(lines, inside, strict=True):
        voxels = np.nonzero(mask)[0]
        if len(voxels) < 28:
            continue
        for oriented, first in ((line, voxels[0]), (line[::-1], len(line) - 1 - voxels[-1])):
            start = max(first - 8, 0)
            rise = oriented[start : first + 10] / oriented[first + 8 : first + 14].mean()
            low, high = (_crossing(rise, level) for level in (0.2, 0.8))
            if low is not None and high is not None:
                widths.append(high - low)
    return float(np.median(widths)) if widths else float("nan")


def _crossing(rise: np.ndarray, level: float) -> float | None:
    """Return where `rise` first passes `level`, interpolated, or None."""
    above = np.nonzero(rise >= level)[0]
    if not len(above) or above[0] == 0:
        return None
    i = int(above[0])
    return float(i - 1 + (level - rise[i - 1]) / (rise[i] - rise[i - 1]))


def image_figures(magnitude: np.ndarray, noise_std: np.ndarray | None) -> dict[str, float]:
    """Return the share of the field of view that the object fills and its median signal-to-noise ratio.

    Parameters
    ----------
    magnitude
        ``[z, y, x]``.
    noise_std
        Noise of the real part in the same units, ``[z, y, x]``, or None.
    """
    inside = np.stack([object_mask(slice_) for slice_ in magnitude])
    figures = {"object_fraction": float(inside.mean())}
    if noise_std is not None and inside.any():
        figures["snr_median"] = float(np.median(magnitude[inside] / noise_std[inside]))
    return figures


def ghost_figures(uncorrected: np.ndarray, corrected: np.ndarray) -> dict[str, float]:
    """Return the ghost level before and after the correction, averaged over slices ``[z, y, x]`` that show one."""
    pairs = [
        (ghost_level(before, after), ghost_level(after, after))
        for before, after in zip(uncorrected, corrected, strict=True)
    ]
    seen = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    if not len(seen):
        return {}
    before, after = seen.mean(axis=0)
    return {"ghost_level_before": float(before), "ghost_level_after": float(after)}
