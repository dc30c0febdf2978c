"""The signal of long repetitive sequences from a table of tissues.

Where every repetition rewinds its phase encoding, spoils alike, and its pulses play no gradient, transverse
magnetisation after a pulse depends on the tissue of a voxel only. It is computed for some tissues, by extended phase
graphs with the real pulses, relaxation during them, and diffusion; once it is the same from period to period it is
repeated. Then each distinct readout encodes the few images that all are made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.sim.grid_encoding import grid_of
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.table_encoding import Readouts, brightness, grouped_readouts, seen_by_coils
from pulsetwin.sim.table_kernel import Program, add_shares, compile_states, play_tissues
from pulsetwin.sim.table_plan import MOST_RESTS, Plan, count_rests, repeated, turning_pulse
from pulsetwin.sim.table_pulses import tissue_maps
from pulsetwin.sim.table_states import States, named, needed_states, wave_of
from pulsetwin.sim.table_tissues import Basis, extremes, properties, tissue_basis
from pulsetwin.sim.timeline import Timeline

TOLERANCE = 1e-3
"""Error of the signal, relative to the largest magnetisation, that the table may have."""
_STATE = 1.0  # of the tolerance, for each state
_SEEN = 0.3  # of the tolerance, for each state that is not seen
_MOST_SEEN, _MOST_STATES = 256, 4_000
_RECORDED = 1 << 26  # numbers of the table in memory


def table_obstacle(timeline: Timeline, voxels: Voxels) -> str | None:
    """Return why the magnetisation of a voxel does not depend on its tissue alone, or None if it does."""
    position = voxels.position.detach().double().numpy()
    extent = np.abs(position).max(0) + np.array(voxels.size)
    if (pulse := turning_pulse(timeline, extent)) >= 0:
        return f"pulse {pulse} plays a gradient"
    if (rests := count_rests(timeline)) > MOST_RESTS:
        return f"phase encoding is not rewound: between pulses there are {rests} different moments and times"
    if voxels.pools:
        return "voxels have pools"
    if timeline.shim is not None or len(voxels.b1) > 1:
        return "transmission is parallel"
    if grid_of(position) is None:
        return "voxels lie on no grid"
    owner = torch.searchsorted(timeline.interval_start, timeline.sample_interval, right=True) - 1
    if bool((timeline.in_pulse[timeline.sample_interval] & (timeline.shape[owner] >= 0)).any()):
        return "samples lie within pulses"
    return None


def simulate_table(
    timeline: Timeline, voxels: Voxels, *, tol: float | None = None, seed: int = 0,
    out: NDArray[np.complex64] | None = None, progress: Progress = silent,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Return the signal, complex64 ``[coil, sample]``, and facts of the simulation.

    Left out: diffusion by the phase encoding and during readouts (1e-4 of the signal at 1 mm), and that spins of a
    line of T2' meet a pulse at different offsets.

    Parameters
    ----------
    timeline, voxels
        The sequence and the object.
    tol
        Error relative to the largest magnetisation, 1e-3 by default.
    seed
        Of the tissues at which interpolation is tried.
    out
        Where the signal is put, zeros ``[coil, sample]``: a memory-mapped file for scans that memory does not hold.
    progress
        Called with work done, its total and what is done.

    Raises
    ------
    ProtocolError
        If magnetisation does not depend on the tissue alone, or is not spoiled.
    """
    if obstacle := table_obstacle(timeline, voxels):
        raise ProtocolError(f"the tissue table does not apply: {obstacle}; use engine graphs or isochromats")
    tol = TOLERANCE if tol is None else tol
    plan, readouts = repeated(timeline), list(grouped_readouts(timeline))
    voxel = properties(voxels)
    some = extremes(voxel)
    largest = np.sin(min(np.pi / 2, float(timeline.flip_angle.abs().min().clamp(min=0.02))))
    rates = np.stack((1 / some[:, 0], 1 / some[:, 1], some[:, 2]))
    states = needed_states(
        plan, timeline.pulses, tissue_maps(timeline, plan, some), rates, _STATE * tol * largest, _MOST_STATES
    )
    seen = _seen(states, plan, voxels, readouts, _SEEN * tol)
    program = compile_states(plan, states, named(seen))
    columns, used = _columns(program, plan, readouts)
    basis = tissue_basis(voxel, lambda tissue: _played(timeline, plan, program, used, tissue), tol, seed)
    progress(1, 2, "tissues")
    signal = np.zeros((len(voxels.coils), timeline.samples), np.complex64) if out is None else out
    encode(signal, timeline, voxels, readouts, basis, columns, seen, tol)
    progress(2, 2, "readouts")
    facts = {
        "tissues": basis.tissues, "states": int(np.diff(states.start).max()), "states_seen": len(seen),
        "images": basis.course.shape[1], "estimated_error": basis.error, "tolerance": tol, "periods": states.periods,
    }  # fmt: skip
    return torch.from_numpy(signal), facts


def _seen(
    states: States, plan: Plan, voxels: Voxels, readouts: list[Readouts], tolerance: float
) -> NDArray[np.int64]:  # fmt: skip
    """Return the states that readouts see, int64 ``[seen, 4]``; the brightest of them is what the tolerance is of."""
    read = np.unique(plan.position(np.concatenate([one.pulse for one in readouts])))
    played = np.concatenate([np.arange(states.start[one], states.start[one + 1]) for one in read])
    _, first, which = np.unique(states.name[played], return_index=True, return_inverse=True)
    size, place = np.zeros(len(first)), states.place[played[first]]
    np.maximum.at(size, which, states.largest[played])
    k, time = wave_of(place)
    begin = time + min(float(one.time[0]) for one in readouts)
    end = time + max(float(one.time[-1]) for one in readouts)
    nearest = np.where(begin > 0, begin, np.where(end < 0, -end, 0.0))
    size = size * np.exp(-nearest / float(voxels.t2_prime.max())) * brightness(voxels, readouts, k)
    chosen = size > tolerance * size.max()
    if chosen.sum() > _MOST_SEEN:
        raise ProtocolError(f"the tissue table does not apply: {chosen.sum()} states are not spoiled; use isochromats")
    return place[chosen]


def _columns(
    program: Program, plan: Plan, readouts: list[Readouts]
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the column of each readout's pulse among those that are used, and which of the program these are."""
    played = len(program.order)

    def column(pulse: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(pulse < played, pulse, played - plan.period + (pulse - plan.prelude) % plan.period)

    used, which = np.unique(np.concatenate([column(one.pulse) for one in readouts]), return_inverse=True)
    return np.split(which.ravel(), np.cumsum([len(one.pulse) for one in readouts])[:-1]), used


def _played(
    timeline: Timeline, plan: Plan, program: Program, used: NDArray[np.int64], tissue: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """Return magnetisation of tissues as if it had relaxed since the centre of its pulse, ``[used * seen, tissue]``."""
    count = max(1, _RECORDED // max(program.emits.shape[1] * len(program.order), 1))
    parts = []
    for some in np.array_split(tissue, -(-len(tissue) // count)):
        maps = tissue_maps(timeline, plan, some)
        found = play_tissues(program, maps, np.stack((1 / some[:, 0], 1 / some[:, 1], some[:, 2])))[used]
        late = maps.after[program.pulse[program.order[used]]]
        found = found * np.exp(np.outer(late, 1 / some[:, 1]))[:, None]
        parts.append(found.reshape(-1, len(some)).astype(np.complex64))
    return np.concatenate(parts, 1)


def encode(
    signal: NDArray[np.complex64], timeline: Timeline, voxels: Voxels, readouts: list[Readouts], basis: Basis,
    columns: list[NDArray[np.int64]], seen: NDArray[np.int64], tol: float,
) -> None:  # fmt: skip
    """Add the samples of all readouts to a signal."""
    course = basis.course.reshape(-1, len(seen), basis.course.shape[1])
    size = np.abs(course) * np.abs(basis.weight).max(1)
    for number, place in enumerate(seen):
        terms = np.nonzero(size[:, number].max(0) > 0.02 * tol * size.max())[0]
        state = np.concatenate([np.atleast_1d(x) for x in wave_of(place)])
        for group, column in zip(readouts, columns, strict=True) if len(terms) else ():
            share = course[column, number][:, terms]
            images = basis.weight[terms]
            for coil, rows, found in seen_by_coils(voxels, group, images, state):
                shares = np.ascontiguousarray(share[:, rows])
                add_shares(np.asarray(signal[coil]), group.sample, group.line, shares, found)
    turn = np.exp(1j * timeline.sample_phase.numpy()).astype(np.complex64)
    for one in signal:
        one *= turn
