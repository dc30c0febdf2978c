"""A finite RF pulse as the steps of a fourth-order Magnus expansion, as many as the accuracy needs."""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.timeline import PulseShape

TOLERANCE = 1e-5
"""Error of a magnetisation of 1 that one pulse may add by joined segments or by splitting off relaxation."""

_HEAD = 9  # columns of a step before those of the channels


def hard_step(flip_angle: float, weights: np.ndarray) -> np.ndarray:
    """Return the step of an instantaneous pulse [rad], channels weighted by `weights`, as `pulse_steps` does."""
    step = np.zeros((1, _HEAD + 4 * len(weights)))
    step[0, _HEAD::4], step[0, _HEAD + 1 :: 4] = (
        weights.real * flip_angle / math.tau,
        weights.imag * flip_angle / math.tau,
    )
    return step


def nominal_scale(flip_angle: float, nominal: float) -> float:
    """Return what B1 of a shape is multiplied with to turn by `flip_angle` [rad]."""
    if nominal == 0:
        raise ProtocolError("a pulse shape has a flip angle of 0: give the flip angle that its b1 produces")
    return flip_angle / nominal


def pulse_steps(
    shape: PulseShape,
    weights: np.ndarray,
    *,
    spread: float,
    rate: float,
    field: float,
    frequency: float = 0.0,
    shift: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> np.ndarray:
    """Return a pulse in steps that `fill_maps` takes, as many as the accuracy needs.

    A step of length ``h`` holds the waveforms' integrals ``a = int w dt`` and first moments
    ``b = int (t - t_mid) w dt / h``; the rotation vector is ``2 pi a + (2 pi)^2 b x a`` to fourth order.

    Parameters
    ----------
    shape
        Waveforms.
    weights
        Factor of each channel, ``[channel]``: the shim times the flip angle's scale.
    spread
        Largest offset that matters [Hz].
    rate
        Largest relaxation rate [1/s].
    field
        Largest relative transmit field.
    frequency
        Offset of the carrier [Hz], in whose frame steps turn.
    shift
        Displacement of all spins [m], ``[3]``.
    tolerance
        Error of the whole pulse.

    Returns
    -------
    numpy.ndarray
        ``[step, 9 + 4 channel]``: length [s]; integral and first moment of the gradient along x, y, z; integral and
        first moment of an offset of all spins; then of each channel the integral and the first moment of B1 (real,
        imaginary) [cycles].
    """
    wave = shape.b1.detach().numpy().astype(complex)
    wave = wave[:, None] * weights if wave.ndim == 1 else wave * weights
    ends = np.concatenate(([0.0], np.cumsum(shape.duration.detach().numpy())))
    strength = np.abs(wave).sum(1) * field
    angle = math.tau * float(strength @ np.diff(ends))
    turning = math.tau * math.hypot(strength.max(initial=0.0), spread)
    h = min(_step_length(angle, turning, rate, tolerance), max(ends[-1], 1e-12))
    grid = _grid(ends, h)
    values = np.concatenate((shape.gradient.detach().numpy(), wave), 1)
    zeroth, first = _integrals(ends, values, grid)
    steps = np.zeros((len(grid) - 1, _HEAD + 4 * wave.shape[1]))
    steps[:, 0] = np.diff(grid)
    steps[:, 1:4], steps[:, 4:7] = zeroth[:, :3].real, first[:, :3].real
    moved = np.zeros(3) if shift is None else shift
    steps[:, 7], steps[:, 8] = steps[:, 1:4] @ moved - frequency * steps[:, 0], steps[:, 4:7] @ moved
    for column, part in enumerate((zeroth.real, zeroth.imag, first.real, first.imag)):
        steps[:, _HEAD + column :: 4] = part[:, 3:]
    return steps


def _step_length(angle: float, turning: float, rate: float, tolerance: float) -> float:
    """Return the step whose errors stay below `tolerance` [s].

    For a pulse of ``angle = int |w1| dt`` [rad] on spins that turn at up to `turning` [rad/s], errors are near
    ``angle turning^4 h^4 / 720`` by joined segments, whose waveforms vary no faster than spins turn, and
    ``angle rate turning h^2 / 20`` by splitting off relaxation.
    """
    magnus = (720 * tolerance / max(angle * turning**4, 1e-300)) ** 0.25
    return min(magnus, math.sqrt(20 * tolerance / max(angle * rate * turning, 1e-300)))


def _grid(ends: np.ndarray, h: float) -> np.ndarray:
    """Return step ends: runs of short segments joined up to `h`, long segments split into parts of at most `h`."""
    grid = [0.0]
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        if end - start > h:
            if start > grid[-1]:
                grid.append(start)
            count = math.ceil((end - start) / h)
            grid += [start + (end - start) * (k + 1) / count for k in range(count)]
        elif end - grid[-1] > h * (1 + 1e-9):
            grid.append(start)
    if ends[-1] > grid[-1]:
        grid.append(float(ends[-1]))
    return np.array(grid)


def _integrals(ends: np.ndarray, values: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``int w dt`` and ``int (t - t_mid) w dt / h`` over each step of a piecewise constant `values`."""
    both = np.union1d(ends, grid)
    length, middle = np.diff(both), (both[1:] + both[:-1]) / 2
    here = values[np.clip(np.searchsorted(ends, middle, side="right") - 1, 0, len(values) - 1)]
    step = np.clip(np.searchsorted(grid, middle, side="right") - 1, 0, len(grid) - 2)
    zeroth = np.zeros((len(grid) - 1, values.shape[1]), complex)
    first = np.zeros_like(zeroth)
    np.add.at(zeroth, step, here * length[:, None])
    lever = middle - ((grid[1:] + grid[:-1]) / 2)[step]
    np.add.at(first, step, here * (length * lever / np.diff(grid)[step])[:, None])
    return zeroth, first
