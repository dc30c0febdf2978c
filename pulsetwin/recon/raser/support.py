"""Where an image has something: pixels that, with their neighbours, are not near 0, and a margin around them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, uniform_filter

_LEAST = 0.03  # of the largest pixel, for the mean of a pixel and its eight neighbours
_MARGIN = 2  # pixels


def support(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return which pixels there may be something in, bool ``[pixel]``.

    What grows into the margin moves it outwards when this is asked for again.

    Parameters
    ----------
    image
        Pixels that are inside ``[pixel]``, not negative.
    inside
        Pixels that there are, bool ``[y, x]``.
    """
    whole = np.zeros(inside.shape)
    whole[inside] = image
    something = uniform_filter(whole, 3, mode="constant") > _LEAST * image.max()
    return binary_dilation(something, np.ones((3, 3)), iterations=_MARGIN)[inside]
