"""Many tissues through the states of a whole sequence, tissues side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from pulsetwin.sim.rotations import FAST, INNER
from pulsetwin.sim.table_plan import Plan
from pulsetwin.sim.table_pulses import PulseMaps
from pulsetwin.sim.table_states import States, attenuation, named

LANES = 16
"""Tissues side by side."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Where states go, and what they lose on the way.

    Parameters
    ----------
    order
        Positions in order of play: prelude and periods until all is steady.
    start
        First state of each position and the total.
    pulse, rest
        Kind of pulse and of the time after it at each position.
    phase
        Of the pulse at each position [rad].
    plus_to, along_to
        State of the next position that transverse and longitudinal states become, -1 for none, int32 ``[state]``.
    plus_loss, along_loss
        Row of `losses` for each state, int32 ``[state]``.
    losses
        Time during which they relax [s] and b-value [s/m^2], ``[row, 2]``.
    emits
        State of each position that is seen, -1 where it is not there, int32 ``[position, seen]``.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    pulse: NDArray[np.int64]
    rest: NDArray[np.int64]
    phase: NDArray[np.float64]
    plus_to: NDArray[np.int32]
    along_to: NDArray[np.int32]
    plus_loss: NDArray[np.int32]
    along_loss: NDArray[np.int32]
    losses: NDArray[np.float64]
    emits: NDArray[np.int32]


def compile_states(plan: Plan, states: States, seen: NDArray[np.int64]) -> Program:
    """Return the program of the states of a plan, of which those with the names `seen` are recorded."""
    start, total = states.start, len(states.name)
    plus_to, along_to = (np.full(total, -1, np.int32) for _ in range(2))
    emits = np.full((plan.positions, len(seen)), -1, np.int32)
    b_plus, b_along = np.zeros(total), np.zeros(total)
    for position in range(plan.positions):
        here = slice(start[position], start[position + 1])
        following = position + 1 if position + 1 < plan.positions else plan.prelude
        there = states.name[start[following] : start[following + 1]]
        kind = int(plan.rest_kind[position])
        plus_to[here] = _places(states.name[here] + named(plan.moment[kind]), there)
        along_to[here] = _places(states.name[here], there)
        emits[position] = _places(seen, states.name[here])
        b_plus[here], b_along[here] = attenuation(plan, kind, states.place[here])
    free = plan.free[np.repeat(plan.rest_kind, np.diff(start))]
    rows = np.stack((np.tile(free, 2), np.concatenate((b_plus, b_along))), 1)
    _, first, which = np.unique(np.round(rows / (1e-9, 1.0)), axis=0, return_index=True, return_inverse=True)
    plus_loss, along_loss = np.split(which.ravel().astype(np.int32), 2)
    period = np.arange(plan.prelude, plan.positions)
    return Program(
        np.concatenate((np.arange(plan.prelude), np.tile(period, states.periods))), start, plan.pulse_kind,
        plan.rest_kind, plan.phase, plus_to, along_to, plus_loss, along_loss, rows[first], emits,
    )  # fmt: skip


def play_tissues(program: Program, maps: PulseMaps, rates: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return transverse magnetisation just after each pulse of the program's order, ``[pulse, seen, tissue]``.

    Parameters
    ----------
    program
        What is played.
    maps
        Of its pulses for each tissue.
    rates
        1 / T1, 1 / T2 [1/s] and diffusion coefficient [m^2/s], ``[3, tissue]``.
    """
    tissues = rates.shape[1]
    result = np.empty((len(program.order), program.emits.shape[1], tissues), np.complex64)

    def work(first: int) -> None:
        which = np.minimum(np.arange(first, first + LANES), tissues - 1)
        chosen = np.ascontiguousarray(rates[:, which])
        kept = [np.exp(-np.outer(program.losses[:, 0], chosen[row]) - np.outer(program.losses[:, 1], chosen[2]))
                for row in (0, 1)]  # fmt: skip
        found = _run(
            program.order, program.start, program.pulse, program.phase, program.plus_to, program.along_to,
            program.plus_loss, program.along_loss, kept[1], kept[0], program.emits,
            np.ascontiguousarray(maps.values[:, :, which]),
        )  # fmt: skip
        last = min(first + LANES, tissues)
        result[:, :, first:last] = found[:, :, : last - first]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for done in [pool.submit(work, first) for first in range(0, tissues, LANES)]:
            done.result()
    return result


@numba.njit(cache=True, nogil=True, fastmath=True)
def add_shares(signal, sample, line, share, seen):
    """Add to ``signal[sample]`` of each readout its share ``[readout, image]`` of what its line sees of images.

    `sample` is the first of each readout, `line` the number of its line in `seen`, ``[line, image, sample]``.
    """
    for readout in range(len(sample)):
        part = signal[sample[readout] : sample[readout] + seen.shape[2]]
        for image in range(seen.shape[1]):
            weight, course = share[readout, image], seen[line[readout], image]
            for s in range(len(part)):
                part[s] += weight * course[s]


def _places(names: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return where sorted names have each name, -1 if they have not."""
    place = np.minimum(np.searchsorted(among, names), len(among) - 1)
    return np.where(among[place] == names, place, -1).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _run(order, start, pulse, phase, plus_to, along_to, plus_loss, along_loss, kept2, kept1, emits, maps):
    """Return what is seen after each pulse; of longitudinal states, which mirror each other, half are kept."""
    most = np.max(np.diff(start))
    plus, along = np.zeros((2, most, 2, LANES)), np.zeros((2, most, 2, LANES))
    result = np.zeros((len(order), emits.shape[1], LANES), np.complex64)
    turned = np.empty((7, 2, LANES))
    along[0, (start[order[0] + 1] - start[order[0]]) // 2, 0] = 1.0
    for n in range(len(order)):
        now, position = n % 2, order[n]
        begin, count = start[position], start[position + 1] - start[position]
        _turn(turned, maps[pulse[position]], phase[position])
        for k in range(count // 2 + 1):
            _mix(plus[now, k], plus[now, count - 1 - k], along[now, k], turned, k == count // 2)
        for e in range(emits.shape[1]):
            if emits[position, e] >= 0:
                for i in range(LANES):
                    result[n, e, i] = complex(plus[now, emits[position, e], 0, i], plus[now, emits[position, e], 1, i])
        plus[1 - now], along[1 - now] = 0.0, 0.0
        for k in range(count):
            to, row = plus_to[begin + k], plus_loss[begin + k]
            if to >= 0:
                _move(plus[now, k], plus[1 - now, to], kept2[row])
        for k in range(count // 2 + 1):
            to, row = along_to[begin + k], along_loss[begin + k]
            if to >= 0:
                _move(along[now, k], along[1 - now, to], kept1[row])
                if k == count // 2:
                    for i in range(LANES):
                        along[1 - now, to, 0, i] += 1.0 - kept1[row, i]
    return result


@numba.njit(fastmath=FAST, **INNER)
def _turn(out, values, phase):
    """Write the map of a pulse with a phase."""
    one = complex(np.cos(phase), np.sin(phase))
    for row in range(7):
        factor = complex(1.0, 0.0)
        if row == 1:
            factor = one * one
        elif row == 2 or row == 5:
            factor = one
        elif row == 3:
            factor = one.conjugate()
        for i in range(LANES):
            value = values[row, i] * factor
            out[row, 0, i], out[row, 1, i] = value.real, value.imag


@numba.njit(fastmath=FAST, **INNER)
def _mix(here, there, z, m, middle):
    """Apply a map to a transverse state, its opposite and the longitudinal state between them."""
    for i in range(LANES):
        a, b, c, d, e, f = here[0, i], here[1, i], there[0, i], there[1, i], z[0, i], z[1, i]
        px, py, qx, qy, rx, ry = m[0, 0, i], m[0, 1, i], m[1, 0, i], m[1, 1, i], m[2, 0, i], m[2, 1, i]
        ux, uy, w = m[3, 0, i], m[3, 1, i], m[4, 0, i]
        x = px * a - py * b + qx * c + qy * d + rx * e - ry * f
        y = px * b + py * a + qy * c - qx * d + rx * f + ry * e
        v = px * c - py * d + qx * a + qy * b + rx * e + ry * f
        t = px * d + py * c + qy * a - qx * b - rx * f + ry * e
        p = ux * a - uy * b + ux * c - uy * d + w * e
        q = ux * b + uy * a - ux * d - uy * c + w * f
        if middle:
            x, y, p, q = x + m[5, 0, i], y + m[5, 1, i], p + m[6, 0, i], 0.0
            v, t = x, y
        here[0, i], here[1, i], there[0, i], there[1, i], z[0, i], z[1, i] = x, y, v, t, p, q


@numba.njit(fastmath=FAST, **INNER)
def _move(source, target, kept):
    for i in range(LANES):
        target[0, i] = source[0, i] * kept[i]
        target[1, i] = source[1, i] * kept[i]
