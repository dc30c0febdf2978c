"""Where an image has something: pixels that, with their neighbours, are not near 0, and a margin around them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, uniform_filter

_LEAST = 0.03  # of the largest pixel, for the mean of a pixel and its eight neighbours
_SPARED = 0.002  # of the sum of all pixels, at most: the data tell parts that are large and faint, too
_MARGIN = 1  # pixels


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
    means = uniform_filter(whole, 3, mode="constant")
    fainter = np.argsort(means, axis=None)
    spared = fainter[np.cumsum(whole.ravel()[fainter]) <= _SPARED * image.sum()]
    something = np.ones(inside.size, bool)
    something[spared] = means.ravel()[spared] > _LEAST * image.max()
    return binary_dilation(something.reshape(inside.shape), np.ones((3, 3)), iterations=_MARGIN)[inside]
