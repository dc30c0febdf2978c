"""Rows of whole numbers that occur in a table, each once."""

from __future__ import annotations

import numpy as np

from pulsetwin.sequences.events import Array


def distinct_rows(rows: Array) -> tuple[Array, Array]:
    """Return the first place of each distinct row, in lexical order, and for each row which of them it equals.

    Equal to `np.unique` along axis 0, which sorts rows as bytes and takes ten times as long.

    Parameters
    ----------
    rows
        Whole numbers from -1 on, int64 ``[row, column]``.

    Returns
    -------
    tuple
        int64 ``[distinct]`` and int64 ``[row]``.
    """
    index = np.zeros(len(rows), np.int64)
    first = np.zeros(min(len(rows), 1), np.int64)
    for column in rows.T:
        step = int(column.max(initial=-1)) + 2
        _, first, index = np.unique(index * step + column + 1, return_index=True, return_inverse=True)
    return first, index
