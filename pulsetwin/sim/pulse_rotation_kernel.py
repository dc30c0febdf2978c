"""The rotations of many voxels by a pulse in steps, and their adjoint, in blocks of voxels that stay in fast cache.

Rows are `LANES` long and lie in flat arrays, as in `rotations`. A block's `lane` holds x, y, z [m], the offset [Hz],
integral and first moment of B1 over a step (real, imaginary), and the field of each channel (real, imaginary);
`turned` the product so far, alpha and beta (real, imaginary).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from pulsetwin.sim.rotations import FAST, LANES, turn


@numba.njit(cache=True, nogil=True)
def turn_voxels(steps, wave, place, field):
    """Return the Cayley-Klein parameters of a pulse in each voxel (real and imaginary alpha, beta), ``[4, voxel]``.

    Parameters
    ----------
    steps
        Integral over each step of the gradient along x, y, z [1/m] and of 1 [s], then their first moments about the
        step's middle over its length, ``[step, 8]``.
    wave
        Integral over each step of B1 [cycles], and its first moment likewise (real, imaginary of both),
        ``[step, channel, 4]``.
    place
        Position [m] and offset from the carrier [Hz], ``[4, voxel]``.
    field
        Relative transmit field (real, imaginary), ``[channel, 2, voxel]``.
    """
    voxels, channels = place.shape[1], len(field)
    result = np.empty((4, voxels))
    lane, turned = np.zeros((8 + 2 * channels) * LANES), np.empty(4 * LANES)
    for first in range(0, voxels, LANES):
        count = min(LANES, voxels - first)
        _fill(lane, place, field, first, count)
        turned[:LANES], turned[LANES:] = 1.0, 0.0
        for k in range(len(steps)):
            _add_channels(lane, wave[k])
            _turn_block(turned, lane, steps[k])
        for row in range(4):
            result[row, first : first + count] = turned[row * LANES : row * LANES + count]
    return result


@numba.njit(cache=True, nogil=True)
def turn_voxels_adjoint(steps, wave, place, field, result, slope):
    """Return the gradients to the first four arguments of `turn_voxels` of a sum ``slope . result``.

    Steps are undone one by one from the end, so that nothing need be kept from the way there.
    """
    voxels, channels = place.shape[1], len(field)
    to_steps, to_wave = np.zeros_like(steps), np.zeros_like(wave)
    to_place, to_field = np.empty_like(place), np.empty_like(field)
    lane, turned = np.zeros((8 + 2 * channels) * LANES), np.empty(8 * LANES)
    local, bar = np.empty(6 * LANES), np.empty((4 + 2 * channels) * LANES)
    for first in range(0, voxels, LANES):
        count = min(LANES, voxels - first)
        _fill(lane, place, field, first, count)
        turned[:], bar[:] = 0.0, 0.0
        for row in range(4):
            turned[row * LANES : row * LANES + count] = result[row, first : first + count]
            turned[(4 + row) * LANES : (4 + row) * LANES + count] = slope[row, first : first + count]
        for k in range(len(steps) - 1, -1, -1):
            _add_channels(lane, wave[k])
            _turn_back(local, turned, lane, steps[k])
            _add_place_slopes(bar, to_steps[k], local, lane, steps[k])
            for c in range(channels):
                here = (8 + 2 * c) * LANES
                _add_field_slopes(bar[here - 4 * LANES :], to_wave[k, c], local, lane[here:], wave[k, c])
        for row in range(4):
            to_place[row, first : first + count] = bar[row * LANES : row * LANES + count]
        for c in range(channels):
            for part in range(2):
                row = 4 + 2 * c + part
                to_field[c, part, first : first + count] = bar[row * LANES : row * LANES + count]
    return to_steps, to_wave, to_place, to_field


@numba.njit(cache=True)
def _fill(lane, place, field, first, count):
    lane[:] = 0.0
    for row in range(4):
        lane[row * LANES : row * LANES + count] = place[row, first : first + count]
    for c in range(len(field)):
        for part in range(2):
            row = 8 + 2 * c + part
            lane[row * LANES : row * LANES + count] = field[c, part, first : first + count]


@numba.njit(cache=True)
def _add_channels(lane, wave):
    lane[4 * LANES : 8 * LANES] = 0.0
    for c in range(len(wave)):
        _add_channel(lane, lane[(8 + 2 * c) * LANES :], wave[c])


@numba.njit(cache=True, fastmath=FAST)
def _add_channel(lane, field, wave):
    x, y, late_x, late_y = wave[0], wave[1], wave[2], wave[3]
    for i in range(LANES):
        real, imag = field[i], field[LANES + i]
        lane[4 * LANES + i] += x * real - y * imag
        lane[5 * LANES + i] += x * imag + y * real
        lane[6 * LANES + i] += late_x * real - late_y * imag
        lane[7 * LANES + i] += late_x * imag + late_y * real


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _turn_block(turned, lane, step):
    """Multiply the rotations by that of a step, the turn by ``a + b x a`` of `pulse_steps`, from the left."""
    two_pi = 2 * math.pi
    gx, gy, gz, length = step[0], step[1], step[2], step[3]
    hx, hy, hz, late = step[4], step[5], step[6], step[7]
    for i in range(LANES):
        ax, ay = two_pi * lane[4 * LANES + i], two_pi * lane[5 * LANES + i]
        bx, by = two_pi * lane[6 * LANES + i], two_pi * lane[7 * LANES + i]
        x, y, z, offset = lane[i], lane[LANES + i], lane[2 * LANES + i], lane[3 * LANES + i]
        az = -two_pi * (gx * x + gy * y + gz * z + length * offset)
        bz = -two_pi * (hx * x + hy * y + hz * z + late * offset)
        wx, wy, wz = ax + by * az - bz * ay, ay + bz * ax - bx * az, az + bx * ay - by * ax
        angle = math.sqrt(wx * wx + wy * wy + wz * wz + 1e-200)
        c, s = turn(angle / (2 * two_pi))
        s /= angle
        # The step's alpha is (c, -s wz), its beta (s wy, -s wx).
        p, q, r = s * wz, s * wy, s * wx
        a, b, d, e = turned[i], turned[LANES + i], turned[2 * LANES + i], turned[3 * LANES + i]
        turned[i] = c * a + p * b - q * d + r * e
        turned[LANES + i] = c * b - p * a - q * e - r * d
        turned[2 * LANES + i] = q * a + r * b + c * d - p * e
        turned[3 * LANES + i] = q * b - r * a + c * e + p * d


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _turn_back(local, turned, lane, step):
    """Undo a step: rows 0 to 3 of `turned` are the rotation, 4 to 7 the slopes to it.

    Writes to `local` the slopes to the step's turn: of the integral (x, y, z), then of the first moment.
    """
    two_pi = 2 * math.pi
    gx, gy, gz, length = step[0], step[1], step[2], step[3]
    hx, hy, hz, late = step[4], step[5], step[6], step[7]
    for i in range(LANES):
        ax, ay = two_pi * lane[4 * LANES + i], two_pi * lane[5 * LANES + i]
        bx, by = two_pi * lane[6 * LANES + i], two_pi * lane[7 * LANES + i]
        x, y, z, offset = lane[i], lane[LANES + i], lane[2 * LANES + i], lane[3 * LANES + i]
        az = -two_pi * (gx * x + gy * y + gz * z + length * offset)
        bz = -two_pi * (hx * x + hy * y + hz * z + late * offset)
        wx, wy, wz = ax + by * az - bz * ay, ay + bz * ax - bx * az, az + bx * ay - by * ax
        square = wx * wx + wy * wy + wz * wz + 1e-200
        angle = math.sqrt(square)
        c, s = turn(angle / (2 * two_pi))
        s /= angle
        p, q, r = s * wz, s * wy, s * wx
        a, b, d, e = turned[i], turned[LANES + i], turned[2 * LANES + i], turned[3 * LANES + i]
        a, b, d, e = (
            c * a - p * b + q * d - r * e, c * b + p * a + q * e + r * d,
            c * d - q * a - r * b + p * e, c * e - q * b + r * a - p * d,
        )  # fmt: skip
        turned[i], turned[LANES + i], turned[2 * LANES + i], turned[3 * LANES + i] = a, b, d, e
        f, g, h, k = turned[4 * LANES + i], turned[5 * LANES + i], turned[6 * LANES + i], turned[7 * LANES + i]
        to_c, to_p = f * a + g * b + h * d + k * e, f * b - g * a - h * e + k * d
        to_q, to_r = h * a + k * b - f * d - g * e, f * e - g * d + h * b - k * a
        turned[4 * LANES + i], turned[5 * LANES + i] = c * f - p * g + q * h - r * k, c * g + p * f + q * k + r * h
        turned[6 * LANES + i], turned[7 * LANES + i] = c * h - q * f - r * g + p * k, c * k - q * g + r * f - p * h
        # The slope of sin(x/2)/x over x, whose digits cancel near 0.
        bend = (0.5 * c - s) / square if square > 1e-3 else square / 960 - 1 / 24
        common = bend * (to_r * wx + to_q * wy + to_p * wz) - 0.5 * s * to_c
        ux, uy, uz = s * to_r + common * wx, s * to_q + common * wy, s * to_p + common * wz
        local[i] = ux + uy * bz - uz * by
        local[LANES + i] = uy + uz * bx - ux * bz
        local[2 * LANES + i] = uz + ux * by - uy * bx
        local[3 * LANES + i] = ay * uz - az * uy
        local[4 * LANES + i] = az * ux - ax * uz
        local[5 * LANES + i] = ax * uy - ay * ux


@numba.njit(cache=True, fastmath=FAST)
def _add_place_slopes(bar, to_step, local, lane, step):
    two_pi = 2 * math.pi
    for row in range(4):
        whole, late = -two_pi * step[row], -two_pi * step[4 + row]
        to_whole, to_late = 0.0, 0.0
        for i in range(LANES):
            along, later, value = local[2 * LANES + i], local[5 * LANES + i], lane[row * LANES + i]
            bar[row * LANES + i] += whole * along + late * later
            to_whole += along * value
            to_late += later * value
        to_step[row] -= two_pi * to_whole
        to_step[4 + row] -= two_pi * to_late


@numba.njit(cache=True, fastmath=FAST)
def _add_field_slopes(bar, to_wave, local, field, wave):
    two_pi = 2 * math.pi
    x, y, late_x, late_y = two_pi * wave[0], two_pi * wave[1], two_pi * wave[2], two_pi * wave[3]
    to_x, to_y, to_late_x, to_late_y = 0.0, 0.0, 0.0, 0.0
    for i in range(LANES):
        p, q, r, s = local[i], local[LANES + i], local[3 * LANES + i], local[4 * LANES + i]
        real, imag = field[i], field[LANES + i]
        bar[i] += x * p + y * q + late_x * r + late_y * s
        bar[LANES + i] += x * q - y * p + late_x * s - late_y * r
        to_x += real * p + imag * q
        to_y += real * q - imag * p
        to_late_x += real * r + imag * s
        to_late_y += real * s - imag * r
    to_wave[0] += two_pi * to_x
    to_wave[1] += two_pi * to_y
    to_wave[2] += two_pi * to_late_x
    to_wave[3] += two_pi * to_late_y
