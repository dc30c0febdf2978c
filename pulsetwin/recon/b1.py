"""Maps of the relative transmit field from pairs of images: actual flip-angle imaging, pre-saturated turbo-FLASH."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.volume import Images, Maps, Volume

RANGE = (0.2, 2.0)
"""To which B1 is clipped."""
TISSUE_T1 = 1.2
"""By which magnetisation is taken to recover between a preparation and its image [s]."""
_DIM = 0.1  # part of the bright voxels' signal below which a voxel counts as empty
_AFI = ("TR1", "TR2", "Protocol_flip_angle")
_TURBO_FLASH = ("PreparationDelay", "Protocol_preparation")


def is_b1_scan(definitions: Mapping[str, Any]) -> bool:
    """Return whether a `.seq` with these definitions makes images for a map of B1."""
    return ("TR1" in definitions and "TR2" in definitions) or "PreparationDelay" in definitions


def map_b1(images: Images, definitions: Mapping[str, Any]) -> Maps:
    """Return ``B1``, the flip angle relative to the nominal one, from the two images of a `.seq` of this package.

    Parameters
    ----------
    images
        Two contrasts, SET 0 and 1. Complex ones tell flip angles beyond a right angle from those below, magnitudes of
        turbo-FLASH do not.
    definitions
        Those of the `.seq`: of AFI, or of a pre-saturated turbo-FLASH.

    Raises
    ------
    ProtocolError
        If the `.seq` is neither, or does not state its flip angle.
    ShapeError
        If there are not two contrasts.
    MismatchError
        If the images cannot be those of the sequence, as when they are swapped.
    """
    first, second = _pair(images)
    signal = np.sqrt((np.abs(first) ** 2 + np.abs(second) ** 2) / 2)
    filled = np.isfinite(signal) & (signal > _DIM * np.percentile(signal[np.isfinite(signal)], 99))
    ratio = np.zeros(signal.shape)
    ratio[filled] = (second[filled] * first[filled].conj()).real / np.maximum(np.abs(first[filled]) ** 2, 1e-300)
    if not filled.any():
        raise MismatchError("B1: no voxel has a signal: pass the images of both repetition times or preparations")
    if np.median(ratio[filled]) > 1:
        raise MismatchError(
            f"B1: the second image is {np.median(ratio[filled]):.3g} times the first: give SET 0, the brighter, first"
        )
    if "TR1" in definitions and "TR2" in definitions:
        _require(definitions, _AFI)
        nominal, said = float(definitions["Protocol_flip_angle"]), []
        cosine = afi_cosine(ratio, float(definitions["TR2"]) / float(definitions["TR1"]))
    elif is_b1_scan(definitions):
        _require(definitions, _TURBO_FLASH)
        nominal, delay = float(definitions["Protocol_preparation"]), float(definitions["PreparationDelay"])
        cosine = prepared_cosine(ratio, delay)
        said = [f"Recovery in {1e3 * delay:.3g} ms after the preparation is that of a T1 of {TISSUE_T1} s."]
        if not np.iscomplexobj(images.values):
            said.append(f"Magnitudes: B1 above {math.pi / 2 / nominal:.3g} is seen as less than that.")
    else:
        raise ProtocolError("B1: the .seq is no AFI and no pre-saturated turbo-FLASH: pass that of the images")
    return _maps(cosine, filled, nominal, images.affine, said)


def afi_cosine(ratio: np.ndarray, times: float) -> np.ndarray:
    """Return the cosine of the flip angle ``(r n - 1) / (n - r)`` (Yarnykh 2007, doi:10.1002/mrm.21120).

    Parameters
    ----------
    ratio
        Image of the longer repetition time to that of the shorter one, ``[...]``.
    times
        ``n``, longer to shorter time; both are short beside T1.
    """
    return (ratio * times - 1) / np.maximum(times - ratio, 1e-9)


def prepared_cosine(ratio: np.ndarray, delay: float, t1: float = TISSUE_T1) -> np.ndarray:
    """Return the cosine of a preparation's flip angle (Chung et al. 2010, doi:10.1002/mrm.22423).

    Of what the preparation takes away, ``exp(-delay / T1)`` is left at the image: ``1 - (1 - r) exp(delay / T1)``.

    Parameters
    ----------
    ratio
        Prepared image to reference, ``[...]``.
    delay
        From the preparation to the centre of k-space [s].
    t1
        Of the tissue [s].
    """
    return 1 - (1 - ratio) * math.exp(delay / t1)


def _pair(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return both images by their SET."""
    if len(images.values) != 2:
        raise ShapeError(f"B1: there are {len(images.values)} images: give 2, those of SET 0 and 1")
    sets = [contrast.get("SET") for contrast in images.contrasts]
    order = (1, 0) if sets == [1, 0] else (0, 1)
    kind = np.complex128 if np.iscomplexobj(images.values) else np.float64
    first, second = (images.values[k].astype(kind) for k in order)
    return first, second


def _require(definitions: Mapping[str, Any], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in definitions]
    if missing:
        raise ProtocolError(
            f"B1: the .seq does not define {', '.join(missing)}: write it with `pulsetwin design`, or add it"
        )


def _maps(cosine: np.ndarray, filled: np.ndarray, nominal: float, affine: np.ndarray, said: list[str]) -> Maps:
    """Return the map where the cosine is one, and what is to be said of it."""
    valid = filled & (np.abs(cosine) <= 1)
    field = np.where(valid, np.arccos(np.clip(cosine, -1, 1)) / nominal, 0.0)
    low, high = RANGE
    beyond = valid & ((field < low) | (field > high))
    field[valid] = np.clip(field[valid], low, high)
    if (filled & ~valid).any():
        said.append(f"{(filled & ~valid).sum() / filled.sum():.1%} of the voxels have a ratio of no flip angle.")
    clipped = f"{beyond.sum() / max(valid.sum(), 1):.1%}" if beyond.any() else "none"
    said.append(f"B1 is clipped to {low:g} to {high:g}: {clipped} of the voxels.")
    return Maps({"B1": Volume(field.astype(np.float32), "", affine, valid)}, tuple(said))
