"""The signals of 3D-QALAS in the steady state, in closed form.

Whatever happens within a repetition, longitudinal magnetisation goes from ``M`` to ``a M + b``, where the equilibrium
is 1: recovery, a train of perfectly spoiled excitations, and both preparations. So does a whole repetition, and the
steady state is ``b / (1 - a)`` at once, without repetitions being played.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

Affine = tuple[Tensor, Tensor]
"""``a`` and ``b`` of ``M -> a M + b``, each ``[...]``."""


class Preparations(Protocol):
    """What real pulses do: T2 preparation, inversion, each from when to when [s] in a repetition, and spoiling."""

    t2prep_start: float
    t2prep_end: float
    inversion_start: float
    inversion_end: float

    def both(self, t1: Tensor, t2: Tensor, b1: Tensor, offset: Tensor) -> tuple[Affine, Affine]:
        """Return the maps of longitudinal magnetisation by the T2 preparation and by the inversion."""

    def left(self, t1: Tensor, t2: Tensor, b1: Tensor) -> Tensor:
        """Return what to add to the signals of perfectly spoiled trains, for a density of 1, ``[..., 5]``."""


def signals(
    timing: QalasTiming,
    t1: Tensor,
    t2: Tensor,
    *,
    pd: Tensor | float = 1.0,
    ie: Tensor | float | None = None,
    b1: Tensor | float = 1.0,
    offset: Tensor | float = 0.0,
    pulses: Preparations | None = None,
) -> Tensor:
    """Return the steady-state signals ``S = PD sin(B1 flip) M`` of the first excitation of each train.

    Without `pulses` the preparations are those of publications: `ideal_t2prep`, and ``M -> -IE M`` without relaxation.
    Arguments broadcast; differentiable in all of them.

    Parameters
    ----------
    timing
        Times of a repetition.
    t1, t2
        Relaxation times [s], ``[...]``.
    pd
        Proton density, ``[...]``.
    ie
        Inversion efficiency, ``[...]``, by default 1, a perfect inversion. Not with `pulses`, which determine it.
    b1
        Relative transmit field, ``[...]``.
    offset
        Off-resonance [Hz], ``[...]``; only `pulses` depend on it.
    pulses
        What the real pulses do, from `qalas_pulses.calibrate`.

    Returns
    -------
    Tensor
        ``[..., 5]``.

    Raises
    ------
    ProtocolError
        If both `ie` and `pulses` are given.

    References
    ----------
    Kvernby et al. 2014, doi:10.1186/s12968-014-0102-0; Jun et al. 2023, doi:10.1002/mrm.29786.
    """
    if ie is not None and pulses is not None:
        raise ProtocolError("QALAS: pulses determine the inversion efficiency: give either pulses or ie")
    efficiency = 1.0 if ie is None else ie
    values = (
        torch.as_tensor(value, dtype=t1.dtype, device=t1.device) for value in (t1, t2, pd, efficiency, b1, offset)
    )
    t1, t2, pd, efficiency, b1, offset = torch.broadcast_tensors(*values)
    if pulses is None:
        prepared = ideal_t2prep(timing, t1, t2, b1), (-efficiency, torch.zeros_like(t1))
    else:
        prepared = pulses.both(t1, t2, b1, offset)
    before, (a, b) = _repetition(timing, timing if pulses is None else pulses, prepared, t1, b1)
    steady = b / (1 - a)
    sines = [torch.sin(angle * b1) for angle in timing.flip_angles]
    perfect = torch.stack([sine * (a * steady + b) for sine, (a, b) in zip(sines, before, strict=True)], -1)
    return pd[..., None] * (perfect if pulses is None else perfect + pulses.left(t1, t2, b1))


def ideal_t2prep(timing: QalasTiming, t1: Tensor, t2: Tensor, b1: Tensor) -> Affine:
    """Return the map of a T2 preparation whose refocusing is ideal and whose 90 degree pulses scale with B1.

    ``M -> (sin^2(pi B1 / 2) exp(-TE / T2) + cos^2(pi B1 / 2) exp(-TE / T1)) M``, without recovery.
    """
    stored = torch.cos(0.5 * math.pi * b1).square()
    kept = (1 - stored) * torch.exp(-timing.t2prep_te / t2) + stored * torch.exp(-timing.t2prep_te / t1)
    return kept, torch.zeros_like(kept)


def recovered(state: Affine, wait: float, t1: Tensor) -> Affine:
    """Return `state` after a `wait` [s]."""
    kept = torch.exp(-wait / t1)
    return state[0] * kept, state[1] * kept - torch.expm1(-wait / t1)


def after_train(state: Affine, timing: QalasTiming, flip_angle: float, t1: Tensor, b1: Tensor) -> Affine:
    """Return `state` after a train of excitations, each followed by an echo spacing.

    It is drawn towards ``(1 - E1) / (1 - E1 cos)`` by ``(E1 cos)^n``, ``E1 = exp(-spacing / T1)``.
    """
    kept, cosine = torch.exp(-timing.echo_spacing / t1), torch.cos(flip_angle * b1)
    driven = -torch.expm1(-timing.echo_spacing / t1) / (1 - kept * cosine)
    left = (kept * cosine) ** timing.train_length
    return state[0] * left, state[1] * left + driven * (1 - left)


def _repetition(
    timing: QalasTiming, window: Preparations | QalasTiming, prepared: tuple[Affine, Affine], t1: Tensor, b1: Tensor
) -> tuple[list[Affine], Affine]:
    """Return the maps from before the T2 preparation to the start of each train, and to the next T2 preparation.

    `prepared` are the maps of T2 preparation and inversion, whose times are those of `window`.
    """
    state, now, before = prepared[0], window.t2prep_end, []
    for number, (start, angle) in enumerate(zip(timing.train_starts, timing.flip_angles, strict=True)):
        if number == 1:
            state = recovered(state, window.inversion_start - now, t1)
            state, now = _then(state, prepared[1]), window.inversion_end
        state = recovered(state, start - now, t1)
        before.append(state)
        state, now = after_train(state, timing, angle, t1, b1), start + timing.train_duration
    return before, recovered(state, timing.repetition_time + window.t2prep_start - now, t1)


def _then(first: Affine, second: Affine) -> Affine:
    """Return one map followed by another."""
    return second[0] * first[0], second[0] * first[1] + second[1]
