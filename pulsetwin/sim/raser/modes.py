"""The signal of coupled modes of inverted spins that emit by themselves.

With the inversion ``n`` of a mode in units of the threshold and its transverse amplitude ``a`` in half of these, the
resonator couples all modes through their sum ``S``, the signal (Lehmkuhl et al., Sci. Adv. 8, abp8483, 2022; the pairs
of modes of its equations add up to ``S``):

    da/dt = (2 pi i f - 1/T2*) a + n S / T2*
    dn/dt = -n/T1 - coupling Re(conj(a) S) / T2* + exp(-t/decay) (source - rate n)

The resonator is taken to follow at once.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.raser.adjoint import differentiate_projection
from pulsetwin.sim.raser.kernel import ROWS, play_projection
from pulsetwin.sim.raser.propagate import propagate
from pulsetwin.sim.raser.tiles import TILE, tiled
from pulsetwin.sim.raser.waveform import FINEST

_OF_MODES = ("inversion", "frequency", "start", "pump_source", "pump_rate")
_OF_PROJECTIONS = ("t1", "t2", "coupling", "pump_decay")
_STATE = 3  # rows
_TOLERANCES = 1e-12, 1e-2


def play(
    inversion: Tensor | ArrayLike,
    frequency: Tensor | ArrayLike,
    start: Tensor | ArrayLike,
    *,
    t1: Tensor | ArrayLike,
    t2: Tensor | ArrayLike,
    coupling: Tensor | ArrayLike = 1.0,
    pump_source: Tensor | ArrayLike = 0.0,
    pump_rate: Tensor | ArrayLike = 0.0,
    pump_decay: Tensor | ArrayLike = math.inf,
    dwell: float,
    samples: int,
    tolerance: float = 1e-7,
) -> Tensor:
    """Return the signal of projections, complex128 ``[projection, sample]``, the first sample at the start.

    All parameters may have gradients. On the CPU the compiled kernel plays, in as many threads as numba has, and the
    adjoint of its steps differentiates; on other devices tensor operations do.

    Parameters
    ----------
    inversion
        Of each mode at the start, in units of the threshold of all: their sum is how far the sample is above it,
        ``[projection, mode]``.
    frequency
        [Hz], ``[mode]`` or ``[projection, mode]``; the nearer to 0 the faster.
    start
        Transverse amplitude of each mode at the start, of which 1 is half of the threshold's inversion, complex
        ``[projection, mode]``.
    t1, t2
        T1 and T2* [s], one or ``[projection]``.
    coupling
        1 where the signal is in the units above; ``1 / |gain|^2`` where it and `start` are `gain` times as large. One
        or ``[projection]``.
    pump_source, pump_rate
        What the pump adds to the inversion, and the share of the inversion that it takes, in a second at the start
        [1/s], one or ``[mode]`` or ``[projection, mode]``. A pump of rate g towards d has the source g d.
    pump_decay
        Time in which the pump falls to 1/e [s], one or ``[projection]``.
    dwell
        From sample to sample [s].
    samples
        Of a projection.
    tolerance
        Error allowed, about, relative to the largest signal, 1e-12 to 1e-2.

    Raises
    ------
    ShapeError
        If the parameters do not fit each other.
    ProtocolError
        If a value makes no sense, or the modes change too fast for the dwell.
    """
    _check(dwell, samples, tolerance)
    values = _broadcast((inversion, frequency, start, pump_source, pump_rate), (t1, t2, coupling, pump_decay))
    if values[0].device.type == "cpu":
        return _Compiled.apply(dwell, samples, tolerance, *values)
    return propagate(*values, dwell=dwell, samples=samples, tolerance=tolerance)


class _Compiled(torch.autograd.Function):
    """The compiled kernel and its adjoint."""

    @staticmethod
    def forward(ctx: Any, dwell: float, samples: int, tolerance: float, *values: Tensor) -> Tensor:
        needed = any(ctx.needs_input_grad)
        signal, modes = np.empty((len(values[0]), samples), np.complex128), values[0].shape[1]
        states, constants, rates = _tables(values)

        def one(number: int) -> NDArray[np.int8]:
            levels = np.empty(max(1, (samples - 1) << -FINEST), np.int8)  # untouched memory is not taken
            given = states[number], modes, constants[number], rates[number]
            steps = play_projection(*given, dwell, samples, tolerance, levels, signal[number])
            if steps == 0 and samples > 1:
                raise ProtocolError(f"projection {number} changes too fast: give a dwell shorter than {dwell:g} s")
            return levels[:steps].copy() if needed else levels[:0]

        ctx.levels = _each(one, len(signal))
        ctx.dwell = dwell
        ctx.save_for_backward(*values)
        return torch.from_numpy(signal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, signal_bar = ctx.saved_tensors, gradient.resolve_conj().contiguous().numpy()
        projections, modes = values[0].shape
        of_modes, of_rates = np.zeros((projections, 6, modes)), np.zeros((projections, 4))
        states, constants, rates = _tables(values)

        def one(number: int) -> None:
            given = states[number], modes, constants[number], rates[number]
            differentiate_projection(
                *given, ctx.dwell, ctx.levels[number], signal_bar[number], of_modes[number], of_rates[number]
            )

        _each(one, projections)
        re, im, inversion, omega, source, rate = torch.from_numpy(of_modes).unbind(1)
        *by_inverse, by_fall = torch.from_numpy(of_rates).unbind(1)
        t1, t2, _, decay = values[5:]
        times = -by_inverse[0] / t1**2, -by_inverse[1] / t2**2, by_inverse[2], -by_fall / decay**2
        return (None, None, None, inversion, 2 * math.pi * omega, torch.complex(re, im), source, rate, *times)


def _each(job: Any, count: int) -> list[Any]:
    """Return what a job returns of each number, in as many threads as numba has."""
    if numba.get_num_threads() == 1 or count == 1:
        return [job(number) for number in range(count)]
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        return list(pool.map(job, range(count)))


def _tables(values: tuple[Tensor, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return what the kernel takes of each projection: the states and room, constants and rates."""
    inversion, frequency, start, source, rate, t1, t2, coupling, decay = (value.detach().numpy() for value in values)
    states = tiled(np.stack([start.real, start.imag, inversion], 1), ROWS // TILE - _STATE)
    constants = tiled(np.stack([2 * np.pi * frequency, source, rate], 1))
    return states, constants, np.stack([1 / t1, 1 / t2, coupling, 1 / decay], 1)


def _check(dwell: float, samples: int, tolerance: float) -> None:
    """Raise `ProtocolError` unless the sampling makes sense."""
    if not 0 < dwell < math.inf:
        raise ProtocolError(f"dwell {dwell}: give a time above 0 [s]")
    if not isinstance(samples, int | np.integer) or samples < 1:
        raise ProtocolError(f"samples {samples}: give a whole number, 1 or more")
    if not _TOLERANCES[0] <= tolerance <= _TOLERANCES[1]:
        raise ProtocolError(f"tolerance {tolerance}: give {_TOLERANCES[0]:g} to {_TOLERANCES[1]:g}")


def _broadcast(of_modes: tuple[Any, ...], of_projections: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Return parameters as float64 or complex128, ``[projection, mode]`` or ``[projection]``, after a check."""
    device = next((value.device for value in of_modes + of_projections if isinstance(value, Tensor)), None)
    kinds = {name: torch.complex128 if name == "start" else torch.float64 for name in _OF_MODES + _OF_PROJECTIONS}
    pairs = zip(kinds.items(), of_modes + of_projections, strict=True)
    values = {name: torch.as_tensor(value, dtype=kind, device=device) for (name, kind), value in pairs}
    shape = values["inversion"].shape
    if len(shape) != 2 or not min(shape):
        raise ShapeError(f"inversion is {tuple(shape)}: give [projection, mode], one at least of each")
    for name, value in values.items():
        wanted = shape if name in _OF_MODES else shape[:1]
        try:
            values[name] = value.expand(wanted)
        except RuntimeError:
            raise ShapeError(f"{name} is {tuple(value.shape)}, which is not one for each of {tuple(wanted)}") from None
        _check_values(name, value.detach())
    return tuple(values.values())


def _check_values(name: str, value: Tensor) -> None:
    """Raise `ProtocolError` unless all values of a parameter make sense."""
    if name in ("t1", "t2", "pump_decay"):
        good, range_ = value > 0, "times above 0 [s]"
    elif name in ("coupling", "pump_rate"):
        good, range_ = (value >= 0) & value.isfinite(), "0 or more, and finite"
    else:
        good, range_ = value.isfinite(), "finite values"
    if not bool(good.all()):
        raise ProtocolError(f"{name} is {value[~good].flatten()[0].item():g}: give {range_}")
