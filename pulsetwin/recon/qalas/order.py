"""Whether magnitudes of QALAS contrasts are in the order in which they are said to be."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np

from pulsetwin.errors import MismatchError
from pulsetwin.recon.qalas.maps import map_qalas
from pulsetwin.recon.qalas.transmit_field import on_grid
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.volume import Images, Volume

_SAMPLE = 4000  # voxels that are tried
_CLEAR = 3.0  # how much less another order must leave
_FREE = 3  # contrasts, from the first on, whose levels do not tell their order without their signs


def check_order(images: Images, timing: QalasTiming, b1: Volume | None = None) -> None:
    """Raise if the model explains the magnitudes of some voxels far better in another order.

    Signs tell the order, magnitudes tell only that of contrasts 3 to 5. Each order of the first three is fitted.

    Parameters
    ----------
    images
        The five contrasts; complex ones and those with signs pass.
    timing
        Times of the sequence.
    b1
        Relative transmit field, 1 if None.

    Raises
    ------
    MismatchError
        If the contrasts seem out of order.
    """
    if len(images.values) != CONTRASTS or np.iscomplexobj(images.values) or (images.values < 0).any():
        return
    tried = _sample(images)
    field = np.ones(images.values.shape[1:]) if b1 is None else on_grid(b1, images.affine, images.values.shape[1:])[0]
    part = field.ravel()[tried].reshape(1, 1, -1)
    values = images.values.reshape(CONTRASTS, 1, 1, -1)[..., tried]
    orders = [(*first, *range(_FREE, CONTRASTS)) for first in permutations(range(_FREE))]
    left = {order: _left(dataclasses.replace(images, values=values[list(order)]), timing, part) for order in orders}
    best = min(left, key=left.__getitem__)
    given = left[orders[0]]
    if given > _CLEAR * left[best]:
        raise MismatchError(
            f"the contrasts seem out of order: the model leaves {given:.1%} of the fifth contrast, but "
            f"{left[best]:.1%} with the images in the order {', '.join(str(k + 1) for k in best)}; pass the "
            "T2-prepared one first, then those after the inversion"
        )


def _sample(images: Images) -> np.ndarray:
    """Return some of the brighter voxels, evenly spread."""
    level = np.where(np.isfinite(images.values).all(0), images.values[-1], 0).ravel()
    bright = np.nonzero(level > np.median(level[level > 0]) if (level > 0).any() else level > 0)[0]
    return bright[:: max(len(bright) // _SAMPLE, 1)]


def _left(images: Images, timing: QalasTiming, b1: np.ndarray) -> float:
    """Return the median of what the model leaves, of contrast 5."""
    plain = dataclasses.replace(images, contrasts=({},) * CONTRASTS, noise_std=None, warnings=())
    try:
        maps = map_qalas(plain, timing, b1, mask=np.ones(b1.shape, bool))
    except (MismatchError, ValueError):
        return float("inf")
    return float(np.median(maps["residual"].values / np.maximum(images.values[-1], 1e-30)))
