"""Find maps that are played in the same succession again and again, to multiply them once."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array

_WORTH = 8
"""A product of two maps costs as much as playing a map on some magnetisation this often."""


def joined(path: Array, turn: Array, known: int) -> tuple[Array, Array, Array, Array]:
    """Replace pairs of maps that follow each other often by their product, the most frequent first.

    A train of equal pulses becomes products of products, as the binary powers of its period.

    Parameters
    ----------
    path
        Maps in order of play, int64 ``[event]``; negative numbers are never joined.
    turn
        Turn before each [rad], float64 ``[event]``.
    known
        Number of maps that there are; products are counted from it on.

    Returns
    -------
    tuple
        Maps of each product, int64 ``[product, 2]``; the turn between them, float64 ``[product]``; the shorter path and
        its turns.
    """
    values, angle = np.unique(turn, return_inverse=True)
    products: list[tuple[int, int]] = []
    turns: list[float] = []
    while len(path) > 1:
        pair, count = _most_frequent(path, angle)
        if count < _WORTH:
            break
        first, between, second = pair
        begins = _apart((path[:-1] == first) & (angle[1:] == between) & (path[1:] == second))
        path[begins] = known + len(products)
        path, angle = np.delete(path, begins + 1), np.delete(angle, begins + 1)
        products.append((first, second))
        turns.append(values[between])
    return np.array(products, np.int64).reshape(-1, 2), np.array(turns, np.float64), path, values[angle]


def _most_frequent(path: Array, angle: Array) -> tuple[tuple[int, int, int], int]:
    """Return the most frequent pair as first map, number of the turn between, second map; and how often it is there."""
    inner = np.nonzero((path[:-1] >= 0) & (path[1:] >= 0))[0]
    if not len(inner):
        return (0, 0, 0), 0
    base, angles = path.max() + 1, angle.max() + 1
    code = (path[inner] * angles + angle[inner + 1]) * base + path[inner + 1]
    # a run of equal maps holds half as many pairs as it has neighbours
    again = np.append(False, (code[1:] == code[:-1]) & (np.diff(inner) == 1))
    starts = np.nonzero(~again)[0]
    run = np.diff(np.append(starts, len(code)))
    kinds, owner = np.unique(code[starts], return_inverse=True)
    count = np.bincount(owner, (run + 1) // 2)
    best = int(np.argmax(count))
    pair, second = divmod(int(kinds[best]), int(base))
    first, between = divmod(pair, int(angles))
    return (first, between, second), int(count[best])


def _apart(found: Array) -> Array:
    """Return the positions that are `found`, every other one of neighbours, int64 ``[pair]``."""
    at = np.nonzero(found)[0]
    starts = np.append(True, np.diff(at) > 1)
    order = np.arange(len(at)) - np.maximum.accumulate(np.where(starts, np.arange(len(at)), 0))
    return at[order % 2 == 0]
