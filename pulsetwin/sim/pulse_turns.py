"""A finite pulse's turns of voxels as Cayley-Klein parameters, less the free precession around its centre.

On the CPU by compiled kernels with an analytic adjoint, elsewhere by batched operations that autograd follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from pulsetwin.sim.pulse_rotation_kernel import turn_voxels, turn_voxels_adjoint
from pulsetwin.sim.pulse_steps import pulse_steps
from pulsetwin.sim.timeline import PulseShape

_ELEMENTS = 1 << 20  # steps times voxels that batched operations work on at a time: 16 MB each


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A pulse in steps: integrals over each, and first moments about its middle over its length.

    Parameters
    ----------
    turn
        Of the gradient along x, y, z [1/m] and of 1 [s], then the moments likewise, ``[step, 8]``.
    wave
        Of B1 [cycles], then its moment, complex ``[step, channel, 2]``.
    joined
        Whether any step joins segments; if none does, all moments are 0.
    """

    turn: Tensor
    wave: Tensor
    joined: bool


def centred_turns(shape: PulseShape, place: Tensor, field: Tensor, tolerance: float) -> Tensor:
    """Return alpha and beta ``[2, voxel]`` of a pulse without the free precession before and after its centre.

    Parameters
    ----------
    shape
        Waveforms.
    place
        Position [m] and offset from the carrier [Hz], ``[4, voxel]``.
    field
        Relative transmit field times the pulse's scale, complex ``[channel, voxel]``.
    tolerance
        Error that joining segments may add.
    """
    names = ("duration", "b1", "gradient")
    shape = replace(shape, **{name: getattr(shape, name).to(place.device) for name in names})
    steps = steps_of(shape, place.detach(), field.detach(), tolerance)
    alpha, beta = fused_turns(steps, place, field) if place.device.type == "cpu" else batched_turns(steps, place, field)
    turn = _with_time(shape.gradient)
    ends = torch.cat((shape.duration.new_zeros(1), shape.duration.cumsum(0)))
    before = ends.clamp(max=shape.center).diff() @ turn
    before, after = math.pi * (torch.stack((before, shape.duration @ turn - before)) @ place)
    return torch.stack((alpha * _phasor(-before - after), beta * _phasor(after - before)))


def _with_time(gradient: Tensor) -> Tensor:
    return torch.cat((gradient, torch.ones_like(gradient[:, :1])), 1)


def _phasor(angle: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle)


def steps_of(shape: PulseShape, place: Tensor, field: Tensor, tolerance: float) -> Steps:
    """Return the steps of a pulse in voxels of this place and field; for the arguments see `centred_turns`."""
    step, middle = (value.to(place.device) for value in _joined(shape, place, field, tolerance))
    count, span = int(step[-1]) + 1, shape.duration.detach()
    wave = shape.b1.to(torch.complex128).reshape(len(step), -1)

    def summed(value: Tensor) -> tuple[Tensor, Tensor]:
        none = value.new_zeros(count, value.shape[1])
        whole, late = (none.index_add(0, step, value * weight[:, None]) for weight in (span, span * middle))
        return whole, late if count < len(span) else none

    turn, waves = torch.cat(summed(_with_time(shape.gradient)), 1), torch.stack(summed(wave), 2)
    return Steps(turn, waves, count < len(span))


def _joined(shape: PulseShape, place: Tensor, field: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return the step of each segment, and its middle less the step's over the step's length, ``[segment]``.

    Steps are those of the engine of isochromats, but for its divisions of segments: a turn by constant fields is exact.
    They are short enough for the nominal flip angle, and as long as the segments where B1 carries gradients, so that
    gradients at a flip angle of 0 are as accurate.
    """
    if shape.b1.requires_grad:
        return torch.arange(len(shape.b1)), torch.zeros(len(shape.b1), dtype=torch.float64)
    still = replace(shape, **{name: getattr(shape, name).detach().cpu() for name in ("duration", "b1", "gradient")})
    spread = (shape.gradient.detach().abs().amax(0) @ place[:3].abs() + place[3].abs()).max()
    weights = np.ones(1 if still.b1.ndim == 1 else still.b1.shape[1])
    strength = {"rate": 0.0, "field": max(1.0, float(field.abs().max()))}
    taken = pulse_steps(still, weights, spread=float(spread), tolerance=tolerance, **strength)
    length = still.duration.numpy()
    ends, stops = np.cumsum(length), np.cumsum(taken[:, 0])
    nearest = stops[np.clip(np.searchsorted(stops, ends - 1e-3 * length), 0, len(stops) - 1)]
    last = np.abs(nearest - ends) < 1e-3 * length
    step = np.concatenate(([0], np.cumsum(last[:-1])))
    bounds = np.concatenate(([0.0], ends[:-1][last[:-1]], ends[-1:]))
    centre, whole = (bounds[1:] + bounds[:-1]) / 2, np.diff(bounds)
    return torch.from_numpy(step), torch.from_numpy((ends - length / 2 - centre[step]) / whole[step])


def fused_turns(steps: Steps, place: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and beta ``[voxel]`` of all steps in turn, by kernels on the CPU."""
    parts = torch.view_as_real(field.resolve_conj()).movedim(2, 1)
    rows = _Turned.apply(steps.turn, torch.view_as_real(steps.wave).flatten(2), place, parts)
    return torch.complex(rows[0], rows[1]), torch.complex(rows[2], rows[3])


class _Turned(torch.autograd.Function):
    """`turn_voxels`; an autograd function, so that its gradients can be analytic."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        given = tuple(value.detach().contiguous() for value in given)
        result = torch.from_numpy(turn_voxels(*(value.numpy() for value in given)))
        ctx.save_for_backward(*given, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, ...]:
        given = (value.contiguous().numpy() for value in (*ctx.saved_tensors, slope))
        return tuple(torch.from_numpy(value) for value in turn_voxels_adjoint(*given))


def batched_turns(steps: Steps, place: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `fused_turns` does, on any device; voxels are treated in chunks, again in the backward pass."""
    wide = max(1, _ELEMENTS // len(steps.turn))
    taped = torch.is_grad_enabled() and any(value.requires_grad for value in (place, field, steps.wave, steps.turn))
    parts = []
    for begin in range(0, place.shape[1], wide):
        here = (steps, place[:, begin : begin + wide], field[:, begin : begin + wide])
        parts.append(checkpoint(_chunk_turns, *here, use_reentrant=False) if taped else _chunk_turns(*here))
    alpha, beta = torch.cat(parts, 1)
    return alpha, beta


def _chunk_turns(steps: Steps, place: Tensor, field: Tensor) -> Tensor:
    return torch.stack(_product(*_step_turns(steps, place, field)))


def _step_turns(steps: Steps, place: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and beta of each step, ``[step, voxel]``: turns by ``a + b x a``, see `pulse_steps`."""
    across, along = math.tau * (steps.wave[..., 0] @ field), -math.tau * (steps.turn[:, :4] @ place)
    if steps.joined:
        late, later = math.tau * (steps.wave[..., 1] @ field), -math.tau * (steps.turn[:, 4:] @ place)
        across, along = across + 1j * (later * across - along * late), along + (late.conj() * across).imag
    # Below the clamp the half-angle's sine over the angle is 1/2 to all digits; at 0 a root has no slope.
    square = across.real.square() + across.imag.square() + along.square()
    angle = square.clamp_min(1e-40).sqrt()
    share = torch.sin(angle / 2) / angle
    return torch.complex(torch.cos(angle / 2), -share * along), -1j * share * across


def _product(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the product of rotations ``[step, voxel]``, the last leftmost, by halves."""
    while len(alpha) > 1:
        pairs = len(alpha) // 2 * 2
        a, b, c, d = alpha[:pairs:2], beta[:pairs:2], alpha[1:pairs:2], beta[1:pairs:2]
        alpha, beta = (
            torch.cat((c * a - d.conj() * b, alpha[pairs:])), torch.cat((d * a + c.conj() * b, beta[pairs:])),
        )  # fmt: skip
    return alpha[0], beta[0]
