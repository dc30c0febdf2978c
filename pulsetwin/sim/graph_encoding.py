"""Phases and decays of voxels during a readout as a real matrix, so that the readout of all states is one product."""

from __future__ import annotations

import numba
import numpy as np

from pulsetwin.sim.graph_lanes import (
    CYCLE,
    FAST,
    LANES,
    ONE,
    R2,
    R2_PRIME,
    TWO,
    add_positions,
    add_scaled,
    exponential,
    half_turn,
    turns_of,
)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _wave(wave, turn, tissue, time):  # pragma: no cover
    """Fill `wave` with ``exp(-2 pi i turn - t / T2 - |t| / T2')``, real and imaginary parts."""
    for v in range(LANES):
        s, c = half_turn(turn[v])
        size = exponential(-time * tissue[R2, v] - abs(time) * tissue[R2_PRIME, v])
        wave[v] = size * (ONE - TWO * s * s)
        wave[LANES + v] = -size * TWO * s * c


@numba.njit(cache=True, nogil=True)
def fill_waves(waves, blocks, samples, worker, workers):  # pragma: no cover
    """Fill ``exp(-2 pi i (k r + t b0) - t / T2 - |t| / T2')`` of voxels and samples, ``[sample, block, 2 * LANES]``.

    `samples` are k [1/m] and time [s] from the reference sample on, ``[sample, 4]``.
    """
    turn = np.empty(LANES, np.float32)
    for i in range(worker, len(blocks.tissue), workers):
        for s in range(len(samples)):
            turns_of(turn, blocks.place[i], samples[s])
            _wave(waves[s, i], turn, blocks.tissue[i], np.float32(samples[s, 3]))


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
def _fill_rows(in_phase, quadrature, wave, coil):  # pragma: no cover
    for v in range(LANES):
        re = coil[0, v] * wave[v] - coil[1, v] * wave[LANES + v]
        im = coil[0, v] * wave[LANES + v] + coil[1, v] * wave[v]
        in_phase[v] = re
        in_phase[LANES + v] = -im
        quadrature[v] = im
        quadrature[LANES + v] = re


@numba.njit(cache=True, nogil=True)
def fill_encoding(matrix, waves, coil, worker, workers):  # pragma: no cover
    """Fill the matrix of a readout, ``[sample, 2, block, 2 * LANES]``: rows for real and imaginary part of the signal.

    `coil` is its sensitivity, ``[block, 2, LANES]``.
    """
    for i in range(worker, len(coil), workers):
        for s in range(len(waves)):
            _fill_rows(matrix[s, 0, i], matrix[s, 1, i], waves[s, i], coil[i])


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


@numba.njit(cache=True, nogil=True)
def add_encoding_adjoint(bar, waves, samples, coil, coil_bar, maps, worker, workers):  # pragma: no cover
    """Add the gradients of the coil and of the maps, given the cotangent of the matrix of a readout, `bar`."""
    q, u = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for i in range(worker, len(coil), workers):
        rates = maps.tissue[i]
        for s in range(len(samples)):
            time = np.float32(samples[s, 3])
            _wave_adjoint(q, u, coil_bar[i], bar[s, 0, i], bar[s, 1, i], waves[s, i], coil[i])
            add_positions(maps.place[i], u, samples[s])
            add_scaled(rates[R2], -time, q)
            add_scaled(rates[R2_PRIME], -abs(time), q)
