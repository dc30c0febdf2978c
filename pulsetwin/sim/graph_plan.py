"""The arrays that the fused kernels of a phase distribution graph work on."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.graph_lanes import FACTORS, LANES


class Plan(NamedTuple):
    """What all voxels share: `sim.graph.Graph`, `sim.graph_layout.Layout` and the pulses, as arrays.

    `flip_angle`, `phase` [rad] and `shim` ``[pulse, channel]`` are those of the pulses, `table` is which rotation of
    the blocks each of them makes, -1 for an instantaneous pulse.
    """

    row_start: NDArray[np.int64]
    plus_start: NDArray[np.int64]
    edge_start: NDArray[np.int64]
    edge_parent: NDArray[np.int64]
    edge_type: NDArray[np.int8]
    flip_angle: NDArray[np.float64]
    phase: NDArray[np.float64]
    shim: NDArray[np.complex128]
    table: NDArray[np.int64]
    row_time: NDArray[np.float32]
    b: NDArray[np.float32]
    entry_start: NDArray[np.int64]
    entry_state: NDArray[np.int64]
    entry_group: NDArray[np.int64]
    group_row: NDArray[np.int64]
    group_count: NDArray[np.int64]
    group_first: NDArray[np.int64]
    share: NDArray[np.float32]
    entry_place: NDArray[np.float64]
    entry_time: NDArray[np.float32]
    entry_b: NDArray[np.float32]
    entry_side: NDArray[np.float32]


class Blocks(NamedTuple):
    """Maps of blocks of voxels.

    `place` is x, y, z [m] and b0 [Hz], ``[block, 4, LANES]``; `tissue` R1, R2, R2' [1/s], D [m^2/s] and proton density,
    ``[block, 5, LANES]``; `b1` the relative transmit field, real and imaginary, ``[block, channel, 2, LANES]``;
    `rotation` the Cayley-Klein parameters of finite pulses, both in real and imaginary parts,
    ``[block, table, 4, LANES]``.
    """

    place: NDArray[np.float64]
    tissue: NDArray[np.float32]
    b1: NDArray[np.float32]
    rotation: NDArray[np.float32]


class Scratch(NamedTuple):
    """Room for one block: states after their pulses, those at a repetition's end, its decays, and single rows.

    `spin` are the Cayley-Klein parameters of a pulse, its phase included, as in `sim.pulse_rotations`.
    """

    after: NDArray[np.float32]
    end: NDArray[np.float32]
    decay: NDArray[np.float32]
    factor: NDArray[np.float32]
    drive: NDArray[np.float32]
    spin: NDArray[np.float32]
    relaxed: NDArray[np.float32]
    turn: NDArray[np.float32]
    wave: NDArray[np.float32]


@numba.njit(cache=True)
def new_scratch(kept, widest):  # pragma: no cover
    """Return room for a block, with `kept` states after pulses and the `widest` row."""
    return Scratch(
        np.empty((kept, 2 * LANES), np.float32), np.empty((widest, 2 * LANES), np.float32),
        np.empty((widest, LANES), np.float32), np.empty((FACTORS, LANES), np.float32),
        np.empty((3, LANES), np.float32), np.empty((4, LANES), np.float32), np.empty((2, LANES), np.float32),
        np.empty(LANES, np.float32), np.empty(2 * LANES, np.float32),
    )  # fmt: skip
