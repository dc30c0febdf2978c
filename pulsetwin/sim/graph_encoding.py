"""Phases and decays of voxels during a readout as a real matrix, so that the readout of all states is one product."""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_kernel import (
    CYCLE,
    FAST,
    LANES,
    ONE,
    R2,
    R2_PRIME,
    TWO,
    ZERO,
    exponential,
    half_turn,
    turns_of,
)
from pulsetwin.sim.graph_sums import add_places, add_positions, add_scaled, dot


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _wave(wave, turn, place, tissue, k):  # pragma: no cover
    """Fill `wave` with ``exp(-2 pi i (k r + t b0) - t / T2 - |t| / T2')``, real and imaginary parts."""
    turns_of(turn, place, k)
    time = np.float32(k[3])
    for v in range(LANES):
        s, c = half_turn(turn[v])
        size = exponential(-time * tissue[R2, v] - abs(time) * tissue[R2_PRIME, v])
        wave[v] = size * (ONE - TWO * s * s)
        wave[LANES + v] = -size * TWO * s * c


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _fill_rows(in_phase, quadrature, wave, coil):  # pragma: no cover
    for v in range(LANES):
        re = coil[0, v] * wave[v] - coil[1, v] * wave[LANES + v]
        im = coil[0, v] * wave[LANES + v] + coil[1, v] * wave[v]
        in_phase[v] = re
        in_phase[LANES + v] = -im
        quadrature[v] = im
        quadrature[LANES + v] = re


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", parallel=True)
def fill_encoding(matrix, blocks, coil, samples, workers):  # pragma: no cover
    """Fill the matrix of a readout, ``[sample, 2, block, 2 * LANES]``: rows for real and imaginary part of the signal.

    `coil` is its sensitivity, ``[block, 2, LANES]``, and `samples` are k [1/m] and time [s] from the reference sample
    on, ``[sample, 4]``.
    """
    for worker in numba.prange(workers):
        wave, turn = np.empty(2 * LANES, np.float32), np.empty(LANES, np.float32)
        for block in range(worker, len(blocks.tissue), workers):
            for s in range(len(samples)):
                _wave(wave, turn, blocks.place[block], blocks.tissue[block], samples[s])
                _fill_rows(matrix[s, 0, block], matrix[s, 1, block], wave, coil[block])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _wave_adjoint(q, u, coil_bar, in_phase, quadrature, wave, coil):  # pragma: no cover
    """Add to the coil's cotangent; fill `q` and `u` with those of the logarithm of the wave and of minus its phase."""
    for v in range(LANES):
        re, im = in_phase[v] + quadrature[LANES + v], quadrature[v] - in_phase[LANES + v]
        coil_bar[0, v] += re * wave[v] + im * wave[LANES + v]
        coil_bar[1, v] += im * wave[v] - re * wave[LANES + v]
        e_re = coil[0, v] * wave[v] - coil[1, v] * wave[LANES + v]
        e_im = coil[0, v] * wave[LANES + v] + coil[1, v] * wave[v]
        q[v] = re * e_re + im * e_im
        u[v] = CYCLE * (re * e_im - im * e_re)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", parallel=True)
def add_encoding_adjoint(bar, blocks, coil, samples, coil_bar, maps, sample_bar, workers):  # pragma: no cover
    """Add the gradients of maps and samples, given the cotangent of the matrix of a readout, `bar`.

    `maps` are the gradients of ``blocks``, and `sample_bar` has a sum for each worker, ``[worker, sample, 4]``.
    """
    for worker in numba.prange(workers):
        wave, turn = np.empty(2 * LANES, np.float32), np.empty(LANES, np.float32)
        q, u = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
        for block in range(worker, len(blocks.tissue), workers):
            tissue, rates = blocks.tissue[block], maps.tissue[block]
            for s in range(len(samples)):
                _wave(wave, turn, blocks.place[block], tissue, samples[s])
                _wave_adjoint(q, u, coil_bar[block], bar[s, 0, block], bar[s, 1, block], wave, coil[block])
                add_places(sample_bar[worker, s], u, blocks.place[block])
                add_positions(maps.place[block], u, samples[s])
                time = np.float32(samples[s, 3])
                sign = ONE if time > ZERO else -ONE if time < ZERO else ZERO
                sample_bar[worker, s, 3] -= dot(q, tissue[R2]) + sign * dot(q, tissue[R2_PRIME])
                add_scaled(rates[R2], -time, q)
                add_scaled(rates[R2_PRIME], -abs(time), q)
