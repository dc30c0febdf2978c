"""What a finite RF pulse does to a spin: its affine map ``M -> A M + b``, with gradients, offset and relaxation.

Each segment is a rotation about the effective field. Segments are joined to longer steps by the fourth-order Magnus
expansion as far as the accuracy allows, and relaxation enters by symmetric splitting.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ShapeError
from pulsetwin.sim.pulse_steps import TOLERANCE, nominal_scale, pulse_steps
from pulsetwin.sim.timeline import PulseShape

LANES = 128
"""Spins that a kernel works on at a time."""

FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
INNER = {"cache": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of functions that only compiled ones call: without a wrapper they compile in less time."""
_S0, _S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9 = ((-1.0) ** k / math.factorial(2 * k + 1) for k in range(10))
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10 = ((-1.0) ** k / math.factorial(2 * k) for k in range(11))


def pulse_maps(
    shape: PulseShape,
    *,
    offset: Tensor,
    position: Tensor | None = None,
    b1: Tensor | None = None,
    t1: Tensor | float = math.inf,
    t2: Tensor | float = math.inf,
    flip_angle: float | None = None,
    phase: float = 0.0,
    frequency: float = 0.0,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Return the maps ``M -> A M + b`` from the start to the end of a pulse, in the frame of the nominal frequency.

    Parameters
    ----------
    shape
        Waveforms.
    offset
        Off-resonance of each spin [Hz], ``[spin]``.
    position
        Place of each spin [m], ``[spin, 3]``; the origin if None.
    b1
        Relative transmit field, complex ``[spin]`` or ``[channel, spin]``; 1 if None.
    t1, t2
        Relaxation times [s], ``[spin]`` or a number.
    flip_angle
        Flip angle of this pulse [rad]; the nominal one if None.
    phase
        Phase of the pulse's axis at its centre [rad].
    frequency
        Offset of the carrier [Hz].
    tolerance
        Error that joined segments and relaxation may add, relative to a magnetisation of 1.

    Returns
    -------
    tuple of Tensor
        ``A`` ``[spin, 3, 3]`` and ``b`` ``[spin, 3]`` on the magnetisation (x, y, z), float64.

    Raises
    ------
    ShapeError
        If the shapes disagree.
    """
    spins = len(offset)
    place = np.zeros((3, spins)) if position is None else np.ascontiguousarray(position.detach().numpy().T, float)
    field = np.ones((1, spins), complex) if b1 is None else np.atleast_2d(b1.detach().numpy()).astype(complex)
    if place.shape != (3, spins) or field.shape[1] != spins:
        raise ShapeError(f"pulse_maps: position or b1 is not of the {spins} spins of offset: give [spin, 3] and [spin]")
    rates = [np.broadcast_to(1 / np.asarray(t, float), (spins,)).copy() for t in (t1, t2)]
    detuning = offset.detach().numpy().astype(float)
    scale = 1.0 if flip_angle is None else nominal_scale(flip_angle, shape.flip_angle)
    weights = np.full(len(field), scale, complex)
    spread = _spread(shape, detuning, place) + abs(frequency)
    accuracy = {"rate": float(max(r.max() for r in rates)), "field": float(np.abs(field).max()), "tolerance": tolerance}
    steps = pulse_steps(shape, weights, spread=spread, frequency=frequency, **accuracy)
    out = _in_blocks(steps, np.concatenate((place, detuning[None], *(r[None] for r in rates))), field)
    total = float(shape.duration.sum())
    before = -phase - 2 * math.pi * frequency * shape.center
    after = phase - 2 * math.pi * frequency * (total - shape.center)
    matrix = _about_z(after) @ out[:9].T.reshape(-1, 3, 3).transpose(0, 2, 1) @ _about_z(before)
    return torch.from_numpy(matrix), torch.from_numpy(out[9:].T @ _about_z(after).T)


def _in_blocks(steps: np.ndarray, spins: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return maps ``[12, spin]`` of `spins` ``[6, spin]``, the first rows of `fill_maps`, and `field`."""
    count = spins.shape[1]
    maps = np.zeros((12, count))
    for first in range(0, count, LANES):
        here = slice(first, min(first + LANES, count))
        lane, out = np.zeros((12 + 2 * len(field), LANES)), np.zeros(12 * LANES)
        width = here.stop - first
        lane[:6, :width], lane[12::2, :width], lane[13::2, :width] = (
            spins[:, here],
            field.real[:, here],
            field.imag[:, here],
        )
        fill_maps(out, steps, lane.reshape(-1))
        maps[:, here] = out.reshape(12, LANES)[:, :width]
    return maps


def _about_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _spread(shape: PulseShape, detuning: np.ndarray, place: np.ndarray) -> float:
    """Return the offset that all but some thousandth of spins stay below anywhere in the pulse [Hz].

    `detuning` is ``[spin]`` [Hz] and `place` ``[3, spin]`` [m].
    """
    strongest = shape.gradient.detach().abs().amax(0).numpy() if len(shape.gradient) else np.zeros(3)
    if not detuning.size:
        return 0.0
    return float(np.quantile(np.abs(detuning) + strongest @ np.abs(place), 0.999))


@numba.njit(cache=True, inline="always")
def turn(cycles: float) -> tuple[float, float]:
    """Return cosine and sine of ``2 pi cycles``, to 1e-15, in operations that vectorise over lanes."""
    x = math.pi * (cycles - math.floor(cycles + 0.5))
    q = x * x
    s = x * (
        ((((((((_S9 * q + _S8) * q + _S7) * q + _S6) * q + _S5) * q + _S4) * q + _S3) * q + _S2) * q + _S1) * q + _S0
    )
    c = (
        ((((((((_C10 * q + _C9) * q + _C8) * q + _C7) * q + _C6) * q + _C5) * q + _C4) * q + _C3) * q + _C2) * q + _C1
    ) * q + _C0
    return c * c - s * s, 2 * s * c


@numba.njit(cache=True, fastmath=FAST)
def fill_maps(out, steps, lane):
    """Write the map of each spin of a block.

    Rows are `LANES` long and lie in flat arrays, so that the compiler sees that they do not overlap.

    Parameters
    ----------
    out
        ``[12 * LANES]``: the matrix column by column, then the vector.
    steps
        As from `pulse_steps`.
    lane
        ``[(12 + 2 channel) * LANES]``: x, y, z [m]; off-resonance [Hz]; relaxation rates R1, R2 [1/s]; six
        rows of scratch; relative transmit field of each channel (real, imaginary).
    """
    count, channels = len(steps), (steps.shape[1] - 9) // 4
    out[:] = 0.0
    for i in range(LANES):
        out[i], out[4 * LANES + i], out[8 * LANES + i] = 1.0, 1.0, 1.0
    passed = -1.0
    for k in range(count + 1):
        # Relaxation of the second half of the last step and the first half of this one.
        span = 0.5 * ((steps[k, 0] if k < count else 0.0) + (steps[k - 1, 0] if k > 0 else 0.0))
        if abs(span - passed) > 1e-12:
            for i in range(LANES):
                lane[10 * LANES + i] = math.exp(-lane[4 * LANES + i] * span)
                lane[11 * LANES + i] = math.exp(-lane[5 * LANES + i] * span)
            passed = span
        _relax(out, lane)
        if k == count:
            break
        lane[6 * LANES : 10 * LANES] = 0.0
        for c in range(channels):
            j = 9 + 4 * c
            _add_channel(lane, lane[(12 + 2 * c) * LANES :], steps[k, j], steps[k, j + 1])
            _add_channel(lane[2 * LANES :], lane[(12 + 2 * c) * LANES :], steps[k, j + 2], steps[k, j + 3])
        _quaternions(steps[k], lane)
        for column in range(4):
            _rotate(out[3 * column * LANES :], lane)


@numba.njit(fastmath=FAST, **INNER)
def _add_channel(lane, field, real, imag):
    for i in range(LANES):
        lane[6 * LANES + i] += real * field[i] - imag * field[LANES + i]
        lane[7 * LANES + i] += real * field[LANES + i] + imag * field[i]


@numba.njit(fastmath=FAST, **INNER)
def _relax(out, lane):
    for i in range(LANES):
        keep1, keep2 = lane[10 * LANES + i], lane[11 * LANES + i]
        out[i] *= keep2
        out[LANES + i] *= keep2
        out[2 * LANES + i] *= keep1
        out[3 * LANES + i] *= keep2
        out[4 * LANES + i] *= keep2
        out[5 * LANES + i] *= keep1
        out[6 * LANES + i] *= keep2
        out[7 * LANES + i] *= keep2
        out[8 * LANES + i] *= keep1
        out[9 * LANES + i] *= keep2
        out[10 * LANES + i] *= keep2
        out[11 * LANES + i] = 1.0 + (out[11 * LANES + i] - 1.0) * keep1


@numba.njit(fastmath=FAST, error_model="numpy", **INNER)
def _quaternions(step, lane):
    """Replace B1's integrals in the scratch rows by the unit quaternion of the turn about the effective field."""
    two_pi = 2 * math.pi
    length, gx, gy, gz, hx = step[0], step[1], step[2], step[3], step[4]
    hy, hz, extra, late = step[5], step[6], step[7], step[8]
    for i in range(LANES):
        ax, ay = two_pi * lane[6 * LANES + i], two_pi * lane[7 * LANES + i]
        bx, by = two_pi * lane[8 * LANES + i], two_pi * lane[9 * LANES + i]
        x, y, z = lane[i], lane[LANES + i], lane[2 * LANES + i]
        az = -two_pi * (lane[3 * LANES + i] * length + gx * x + gy * y + gz * z + extra)
        bz = -two_pi * (hx * x + hy * y + hz * z + late)
        wx, wy, wz = ax + by * az - bz * ay, ay + bz * ax - bx * az, az + bx * ay - by * ax
        angle = math.sqrt(wx * wx + wy * wy + wz * wz + 1e-200)
        c, s = turn(angle / (2 * two_pi))
        s /= angle
        lane[6 * LANES + i], lane[7 * LANES + i] = c, s * wx
        lane[8 * LANES + i], lane[9 * LANES + i] = s * wy, s * wz


@numba.njit(fastmath=FAST, **INNER)
def _rotate(column, lane):
    """Rotate a column of each map by the unit quaternion (a, b), ``v + 2 a (b x v) + 2 b x (b x v)``."""
    for i in range(LANES):
        a, bx, by, bz = lane[6 * LANES + i], lane[7 * LANES + i], lane[8 * LANES + i], lane[9 * LANES + i]
        x, y, z = column[i], column[LANES + i], column[2 * LANES + i]
        tx, ty, tz = 2 * (by * z - bz * y), 2 * (bz * x - bx * z), 2 * (bx * y - by * x)
        column[i] = x + a * tx + by * tz - bz * ty
        column[LANES + i] = y + a * ty + bz * tx - bx * tz
        column[2 * LANES + i] = z + a * tz + bx * ty - by * tx
