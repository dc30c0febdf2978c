"""What the closed form of QALAS leaves of the signals: spoiling that is not perfect.

RF spoiling with a gradient leaves echoes of earlier excitations, fewer the more spins diffuse: 0.2 % of the largest
contrast in tissue, 0.7 % in fluid. They are the difference between the closed form and extended phase graphs of the
very `.seq`, with its real pulses and diffusion, in the steady state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.sim.signal_models.spline_table import SplineTable
from pulsetwin.sim.table_kernel import compile_states, play_tissues
from pulsetwin.sim.table_plan import Plan, repeated
from pulsetwin.sim.table_pulses import tissue_maps
from pulsetwin.sim.table_states import named, needed_states
from pulsetwin.sim.timeline import Timeline

Array = NDArray[np.float64]

# First and last knot, and their number, of ln T1 [s], ln T2 [s] and B1.
_AXES = ((math.log(0.15), math.log(7.0), 6), (math.log(0.01), math.log(5.0), 8), (0.55, 1.45, 11))
_DIFFUSION = ((0.1, 0.8e-9), (1.0, 3e-9))  # T2 [s] and diffusion coefficient [m^2/s] of tissue and of fluid
_STATE = 3e-3  # least magnetisation of a state, relative to the sine of the flip angle
_MOST_STATES = 4000
_STEADY = 1 << 30  # pulses: as many as it takes


def spoiling_table(
    timeline: Timeline,
    at: Tensor,
    timing: QalasTiming,
    closed_form: Callable[[Tensor, Tensor, Tensor], Tensor],
    diffusion: float | None = None,
) -> SplineTable | None:
    """Return what to add to the closed form for a density of 1, over ln T1, ln T2 and B1: five contrasts.

    Parameters
    ----------
    timeline
        The sequence.
    at
        When each pulse is, since the start of the first repetition [s].
    timing
        Its times.
    closed_form
        From T1, T2 [s] and B1, each ``[...]``, to signals ``[..., 5]``.
    diffusion
        Coefficient [m^2/s]; by default 0.8e-9 up to a T2 of 0.1 s, rising to 3e-9 at 1 s, as in tissue and fluid.

    Returns
    -------
    SplineTable or None
        None if the repetitions of the sequence are not alike.
    """
    plan, pulses = repeated(timeline), _first_excitations(at, timing)
    plan = replace(plan, moment=plan.moment * (1, 1, 1, 0))  # on resonance, states are the same at any time
    if pulses is None or plan.period > timeline.pulses / 2:
        return None
    lines = [torch.linspace(low, high, count, dtype=torch.float64) for low, high, count in _AXES]
    log_t1, log_t2, b1 = (x.flatten() for x in torch.meshgrid(*lines, indexing="ij"))
    t1, t2 = log_t1.exp(), log_t2.exp()
    found = _graphs(timeline, plan, pulses, tissues(t1, t2, b1, diffusion))
    values = torch.from_numpy(found) - closed_form(t1, t2, b1)
    first, step = zip(*((low, (high - low) / (count - 1)) for low, high, count in _AXES), strict=True)
    return SplineTable.of(values.reshape(*(count for _, _, count in _AXES), CONTRASTS), first, step)


def tissues(t1: Tensor, t2: Tensor, b1: Tensor, diffusion: float | None) -> Array:
    """Return T1, T2 [s], diffusion coefficient [m^2/s], B1 and an offset of 0, ``[tissue, 5]``."""
    if diffusion is None:
        (low, slow), (high, fast) = _DIFFUSION
        part = ((t2 / low).log() / math.log(high / low)).clamp(0, 1)
        moves = slow * (fast / slow) ** part
    else:
        moves = torch.full_like(t1, diffusion)
    return torch.stack((t1, t2, moves, b1, torch.zeros_like(t1)), 1).numpy()


def _first_excitations(at: Tensor, timing: QalasTiming) -> NDArray[np.int64] | None:
    """Return the pulse that begins each train of the first repetition, None if one is not where the timing says."""
    starts = torch.tensor(timing.train_starts, dtype=at.dtype)
    distance, nearest = (at[None] - starts[:, None]).abs().min(1)
    return nearest.numpy() if bool((distance < 1e-6).all()) else None


def _graphs(timeline: Timeline, plan: Plan, pulses: NDArray[np.int64], tissue: Array) -> Array:
    """Return the signals of tissues at pulses of the steady state, along the axis of each pulse, ``[tissue, 5]``."""
    extreme = _extremes(tissue)
    rates = np.stack((1 / extreme[:, 0], 1 / extreme[:, 1], extreme[:, 2]))
    least = _STATE * math.sin(float(timeline.flip_angle[pulses[0]]))
    states = needed_states(plan, _STEADY, tissue_maps(timeline, plan, extreme), rates, least, _MOST_STATES)
    program = compile_states(plan, states, named(np.zeros((1, 4), np.int64)))
    maps = tissue_maps(timeline, plan, tissue)
    played = play_tissues(program, maps, np.stack((1 / tissue[:, 0], 1 / tissue[:, 1], tissue[:, 2])))
    position = plan.prelude + (pulses - plan.prelude) % plan.period
    found = played[len(played) - plan.period + position - plan.prelude, 0]  # of the last period
    late = maps.after[plan.pulse_kind[position]]
    turn = 1j * np.exp(-1j * plan.phase[position])
    return np.asarray((found * turn[:, None]).real * np.exp(np.outer(late, 1 / tissue[:, 1]))).T


def _extremes(tissue: Array) -> Array:
    """Return tissues with every combination of the least and the largest T1, T2 and B1, and the least diffusion."""
    low, high = tissue.min(0), tissue.max(0)
    ends = [(low[column], high[column]) for column in (0, 1, 3)]
    return np.array([(t1, t2, low[2], b1, 0.0) for t1, t2, b1 in product(*ends)])
