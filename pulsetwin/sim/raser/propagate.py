"""Play modes by tensor operations, on any device and differentiable: all projections take the same steps.

The method, the error control and the samples between steps are those of `kernel` and `waveform`. Steps are found
without gradients; where there are any, they are then played again in checkpointed parts, of which only the ends are
kept, so that memory grows with the root of the time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.raser.kernel import EASY, PACE, longest, smooth_ticks
from pulsetwin.sim.raser.waveform import COARSEST, FINEST, WEIGHTS


class _Laws(NamedTuple):
    """Angular frequencies, source and rate of the pump ``[projection, mode]``, and rates ``[projection, 1]``."""

    omega: Tensor
    source: Tensor
    rate: Tensor
    relaxed: Tensor
    gain: Tensor
    coupling: Tensor
    fall: Tensor


class _State(NamedTuple):
    """Amplitudes and inversions ``[projection, mode]``."""

    a: Tensor
    n: Tensor

    def plus(self, other: _State, factor: float) -> _State:
        """Return ``self + factor * other``."""
        return _State(self.a + factor * other.a, self.n + factor * other.n)


def propagate(
    inversion: Tensor, frequency: Tensor, start: Tensor, source: Tensor, rate: Tensor, t1: Tensor, t2: Tensor,
    coupling: Tensor, decay: Tensor, *, dwell: float, samples: int, tolerance: float,
) -> Tensor:  # fmt: skip
    """Return what `modes.play` does; the first five are ``[projection, mode]``, the others ``[projection]``."""
    columns = [value[:, None] for value in (1 / t1, 1 / t2, coupling, 1 / decay)]
    laws, state = _Laws(2 * math.pi * frequency, source, rate, *columns), _State(start, inversion)
    with torch.no_grad():
        signal, levels = _controlled(state, laws, dwell, samples, tolerance)
    if not (torch.is_grad_enabled() and any(value.requires_grad for value in (*state, *laws))):
        return signal
    every = max(1, math.ceil(math.sqrt(len(levels))))
    parts, tick = [state.a.sum(1, keepdim=True)], 0
    for first in range(0, len(levels), every):
        part = levels[first : first + every]
        *state, piece = checkpoint(_part, tick, part, dwell, *state, *laws, use_reentrant=False)
        parts.append(piece)
        tick += sum(1 << (level - FINEST) for level in part)
    return torch.cat(parts, 1)


def _controlled(state: _State, laws: _Laws, dwell: float, samples: int, tolerance: float) -> tuple[Tensor, list[int]]:
    """Return the signal and the levels of the steps that it takes."""
    node = _node(state, laws, 0.0)
    parts, levels, tick, last, level = [node[0][:, None]], [], 0, (samples - 1) << -FINEST, COARSEST
    gain, total = laws.gain[:, 0], state.n.sum(1).clamp(min=0)
    allowed = PACE * tolerance**0.75 * gain * (1 + total)
    fastest, smooth = laws.omega.abs().amax(1), smooth_ticks(dwell, tolerance)
    while tick < last:
        rate = float((fastest + state.n.sum(1).clamp(min=0) * gain).max())
        level = min(level, int(longest(tick, last, smooth / max(rate, 1e-300))))
        step, begin = dwell * 2.0**level, dwell * tick * 2.0**FINEST
        after, error = _advance(state, laws, begin, step)
        worst = float((error / (allowed * step)).max())
        if not worst <= 1:
            if level == FINEST:
                raise ProtocolError(f"a projection changes too fast: give a dwell shorter than {dwell:g} s")
            level -= 1
            continue
        then = _node(after, laws, begin + step)
        parts.append(_samples(node, then, tick, level, step))
        state, node = after, then
        levels.append(level)
        tick += 1 << (level - FINEST)
        if worst * EASY < 1:
            level += 1
    return torch.cat(parts, 1), levels


def _part(
    tick: int, levels: list[int], dwell: float, a: Tensor, n: Tensor, *laws: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the state after some steps, and the samples after the first state."""
    state, given = _State(a, n), _Laws(*laws)
    node, parts = _node(state, given, dwell * tick * 2.0**FINEST), []
    for level in levels:
        step, begin = dwell * 2.0**level, dwell * tick * 2.0**FINEST
        state, _ = _advance(state, given, begin, step)
        then = _node(state, given, begin + step)
        parts.append(_samples(node, then, tick, level, step))
        node = then
        tick += 1 << (level - FINEST)
    return *state, torch.cat(parts, 1)


def _advance(state: _State, laws: _Laws, begin: float, step: float) -> tuple[_State, Tensor]:
    """Return the state after a step and its relative error, as estimated, ``[projection]``."""
    turn = torch.exp(torch.complex(-laws.gain.expand_as(laws.omega), laws.omega) * (step / 2))
    keep = torch.exp(-laws.relaxed * (step / 2))
    turned = _State(turn * state.a, keep * state.n)
    k = _slope(state, laws, begin)
    k1 = _State(turn * k.a, keep * k.n)
    k2 = _slope(turned.plus(k1, step / 2), laws, begin + step / 2)
    k3 = _slope(turned.plus(k2, step / 2), laws, begin + step / 2)
    late = turned.plus(k3, step)
    k4 = _slope(_State(turn * late.a, keep * late.n), laws, begin + step)
    sum_ = turned.plus(k1, step / 6).plus(k2, step / 3).plus(k3, step / 3)
    after = _State(turn * sum_.a, keep * sum_.n).plus(k4, step / 6)
    k5 = _slope(after, laws, begin + step)
    amplitude, inversion = after.a.abs().square().sum(1), after.n.square().sum(1)
    moved, turned_n = (k4.a - k5.a).abs().square().sum(1), (k4.n - k5.n).square().sum(1)
    tiny = torch.finfo(amplitude.dtype).tiny
    change = torch.maximum(moved / (amplitude + tiny), turned_n / (amplitude + inversion + tiny))
    return after, 0.1 * step * change.sqrt()


def _slope(state: _State, laws: _Laws, time: float) -> _State:
    """Return what coupling and pump add to the state in a second."""
    signal = state.a.sum(1, keepdim=True)
    lost = laws.gain * laws.coupling * (state.a.conj() * signal).real
    pumped = torch.exp(-laws.fall * time) * (laws.source - laws.rate * state.n)
    return _State(laws.gain * signal * state.n, pumped - lost)


def _node(state: _State, laws: _Laws, time: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the signal and its first two derivatives, ``[projection]``."""
    along = torch.complex(-laws.gain.expand_as(laws.omega), laws.omega)
    slope = _slope(state, laws, time)
    a = along * state.a + slope.a
    n = slope.n - laws.relaxed * state.n
    first, gain = a.sum(1), laws.gain[:, 0]
    return state.a.sum(1), first, (along * a).sum(1) + gain * (n.sum(1) * state.a.sum(1) + state.n.sum(1) * first)


def _samples(node: tuple[Tensor, ...], then: tuple[Tensor, ...], tick: int, level: int, step: float) -> Tensor:
    """Return the samples after `tick` up to the end of a step between two nodes, ``[projection, sample]``."""
    end = then[0][:, None]
    if level <= 0:
        return end if (tick + (1 << (level - FINEST))) % (1 << -FINEST) == 0 else end[:, :0]
    rows = torch.as_tensor(WEIGHTS, device=end.device)[:: 1 << (COARSEST - level)][1:]
    scale = torch.tensor([1, step, step**2] * 2, dtype=rows.dtype, device=end.device)
    between = torch.stack(node + then, 1) @ (rows * scale).T.to(end.dtype)
    return torch.cat([between, end], 1)
