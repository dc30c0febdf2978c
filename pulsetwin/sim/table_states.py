"""The states that a sequence needs, position by position, from a trial with a few extreme tissues.

A state is a spatial frequency and a time of precession that transverse or longitudinal magnetisation carries. Both are
whole numbers of grains, and a sum of them with fixed random weights, modulo 2^64, names a state: names add up as states
do, and the name of the opposite state is the opposite number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsetwin.sim.table_plan import K_GRAIN, TIME_GRAIN, Plan
from pulsetwin.sim.table_pulses import PulseMaps, turned_phase

_WEIGHTS = np.random.default_rng(20240607).integers(1, 2**62, 4) * 2 + 1
_SETTLED = 1e-4  # change from period to period of what is emitted, of the largest, at which it is steady
_PERIODS = 60  # at most until then
Names = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """States before and after the pulse at each position, opposite ones mirrored, the one without phase in the middle.

    Parameters
    ----------
    start
        First state of each position and the total, ``[position + 1]``.
    name, place
        Of each state, ``[state]``; place is k and time in grains, int64 ``[state, 4]``.
    largest
        Largest transverse magnetisation of the trial in each state after the pulse, ``[state]``.
    periods
        Played until magnetisation was steady; 1 for a sequence that repeats nothing.
    """

    start: NDArray[np.int64]
    name: Names
    place: NDArray[np.int64]
    largest: NDArray[np.float64]
    periods: int


@dataclass(slots=True, eq=False)
class _Trial:
    """Magnetisation ``[state, tissue]`` of the trial."""

    name: Names
    place: NDArray[np.int64]
    plus: NDArray[np.complex128]
    along: NDArray[np.complex128]


def needed_states(
    plan: Plan, pulses: int, maps: PulseMaps, rates: NDArray[np.float64], tolerance: float, most: int
) -> States:
    """Return the states above `tolerance` in any of a few tissues.

    Parameters
    ----------
    plan
        What is repeated.
    pulses
        Of the whole sequence, which bounds the periods.
    maps
        Of the pulses for these tissues.
    rates
        1 / T1, 1 / T2 [1/s] and diffusion coefficient [m^2/s] of the tissues, ``[3, tissue]``.
    tolerance
        Least magnetisation of a state.
    most
        States of a position at most, the strongest.
    """
    tissues = rates.shape[1]
    state = _Trial(
        np.zeros(1, np.int64),
        np.zeros((1, 4), np.int64),
        np.zeros((1, tissues), complex),
        np.ones((1, tissues), complex),
    )
    found: list[list[tuple[Names, NDArray[np.int64], NDArray[np.float64]]]] = [[] for _ in range(plan.positions)]
    periods, before, limit = 0, None, max(1, -(-(pulses - plan.prelude) // plan.period))
    order, now = list(range(plan.positions)), np.zeros((plan.positions, tissues), complex)
    while True:
        for position in order:
            _pulse(state, maps, plan.pulse_kind[position], plan.phase[position])
            found[position].append((state.name, state.place, np.abs(state.plus).max(1)))
            now[position] = state.plus[len(state.name) // 2]
            state = _rest(state, plan, plan.rest_kind[position], rates, tolerance, most)
        periods += 1
        steady = now[plan.prelude :].copy()
        if before is not None and np.abs(steady - before).max() < _SETTLED * np.abs(steady).max():
            break
        if periods >= min(limit, _PERIODS):
            break
        before, order = steady, list(range(plan.prelude, plan.positions))
    return _united(found, periods)


def _pulse(state: _Trial, maps: PulseMaps, kind: int, phase: float) -> None:
    p, q, r, u, w, s, z = turned_phase(maps.values[kind], phase)
    plus, mirrored, middle = state.plus, state.plus[::-1].conj(), len(state.name) // 2
    state.plus = p * plus + q * mirrored + r * state.along
    state.along = u * plus + u.conj() * mirrored + w * state.along
    state.plus[middle] += s
    state.along[middle] += z


def _rest(
    state: _Trial, plan: Plan, kind: int, rates: NDArray[np.float64], tolerance: float, most: int
) -> _Trial:  # fmt: skip
    """Let states relax, diffuse and move on, and keep the strong ones."""
    r1, r2, diffusion = rates
    moved, still = attenuation(plan, kind, state.place)
    plus = state.plus * np.exp(-plan.free[kind] * r2 - np.outer(moved, diffusion))
    along = state.along * np.exp(-plan.free[kind] * r1 - np.outer(still, diffusion))
    along[len(along) // 2] += 1 - np.exp(-plan.free[kind] * r1)
    step = plan.moment[kind]
    there, to = state.name + named(step), state.place + step
    name, first = np.unique(np.concatenate((there, -there, state.name)), return_index=True)
    place = np.concatenate((to, -to, state.place))[first]
    result = _Trial(name, place, *(np.zeros((len(name), plus.shape[1]), complex) for _ in range(2)))
    result.plus[np.searchsorted(name, there)] = plus
    result.along[np.searchsorted(name, state.name)] = along
    size = np.maximum(np.abs(result.plus), np.abs(result.along)).max(1)
    size = np.maximum(size, size[::-1])
    floor = max(tolerance, np.partition(size, -most)[-most] if len(size) > most else 0.0)
    keep = (size >= floor) | (name == 0)
    return _Trial(name[keep], place[keep], result.plus[keep], result.along[keep])


def attenuation(
    plan: Plan, kind: int, place: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Return the b-values [s/m^2] of transverse and longitudinal states during a time between pulses, ``[state]``."""
    k = place[:, :3] * K_GRAIN
    still = 4 * np.pi**2 * plan.length[kind] * (k**2).sum(1)
    return still + 4 * np.pi**2 * (2 * k @ plan.path[kind] + plan.square[kind]), still


def named(place: NDArray[np.int64]) -> Names:
    """Return the names of states ``[..., 4]``."""
    with np.errstate(over="ignore"):
        return np.asarray((place * _WEIGHTS).sum(-1))


def wave_of(place: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return k [1/m] ``[..., 3]`` and time [s] of states."""
    return place[..., :3] * K_GRAIN, place[..., 3] * TIME_GRAIN


def _united(found: list[list[tuple[Names, NDArray[np.int64], NDArray[np.float64]]]], periods: int) -> States:
    """Return what was found at each position in any period."""
    names, places, sizes = [], [], []
    for parts in found:
        name, place, size = (np.concatenate([part[column] for part in parts]) for column in range(3))
        unique, first, which = np.unique(name, return_index=True, return_inverse=True)
        largest = np.zeros(len(unique))
        np.maximum.at(largest, which, size)
        names.append(unique)
        places.append(place[first])
        sizes.append(largest)
    start = np.cumsum([0, *(len(name) for name in names)])
    return States(start, np.concatenate(names), np.concatenate(places), np.concatenate(sizes), periods)
