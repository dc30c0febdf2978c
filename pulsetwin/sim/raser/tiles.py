"""Modes of a projection as compiled loops like them: rows of tiles of modes in one flat array.

Rows are a constant number of modes apart, so that a compiler sees that they do not overlap, and uses vectors. A state
is three rows: real and imaginary part of the amplitudes, and the inversion.
"""

from __future__ import annotations

import numba
import numpy as np

TILE = 128
_REGISTERS = 8
FAST = {"nsz", "arcp", "contract", "reassoc"}
JIT = {"cache": True, "nogil": True, "fastmath": FAST, "error_model": "numpy"}
INNER = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def tiled(rows: np.ndarray, room: int = 0) -> np.ndarray:
    """Return rows of modes ``[..., row, mode]`` in tiles, ``[..., tile * (row + room) * TILE]``; the rest is 0."""
    *batch, count, modes = rows.shape
    tiles = -(-modes // TILE)
    out = np.zeros((*batch, tiles, count + room, TILE))
    for tile in range(tiles):
        part = rows[..., tile * TILE : (tile + 1) * TILE]
        out[..., tile, :count, : part.shape[-1]] = part
    return out.reshape(*batch, -1)


@numba.njit(**INNER)
def modes_in(tile, modes):  # pragma: no cover
    """Return the number of modes in a tile, rounded up to what vector registers hold."""
    return min(TILE, (modes - tile * TILE + _REGISTERS - 1) // _REGISTERS * _REGISTERS)
