"""What theory says a simple sequence measures: textbook formulae and direct sums, nothing of the twin's engines.

Each voxel is a box. An excitation, or each echo of a train, has an amplitude from a formula; from that instant on its
signal decays and turns by ``exp(-t / T2 - |t| / T2' - 2 pi i B0 t)``. Times and k-space come from pypulseq. Left out:
what spoilers leave behind, diffusion, and gradients and relaxation during pulses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pypulseq as pp
from numpy.typing import NDArray

from pulsetwin.sim.phantom import Phantom

Array = NDArray[np.float64]

GRADIENTS = np.array([1.0, -1.0, 1.0])  # a transverse scan plays x to the right, y to the back, z to the head


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where and when samples are taken: k [1/m] ``[line, sample, 3]``, time since the line's own instant [s], and the
    number of the excitation or echo that each line belongs to."""

    k: Array
    time: Array
    instant: NDArray[np.int64]


def gradient_echoes(seq: pp.Sequence) -> Sampling:
    """Return the sampling of `seq`, timed from the excitations."""
    k, excitation, _, time = _traced(seq)
    instant = np.searchsorted(excitation, time[:, 0]) - 1
    return Sampling(k, time - excitation[instant][:, None], instant)


def spin_echoes(seq: pp.Sequence) -> Sampling:
    """Return the sampling of a train of equally spaced spin echoes, timed from the echoes."""
    k, excitation, refocusing, time = _traced(seq)
    instant = np.searchsorted(refocusing, time[:, 0]) - 1
    echo = excitation[0] + 2 * (refocusing[0] - excitation[0]) * (instant + 1)
    return Sampling(k, time - echo[:, None], instant)


def excited(phantom: Phantom, degrees: float) -> NDArray[np.complex128]:
    """Return the transverse magnetisation of one excitation from equilibrium, ``[1, z, y, x]``."""
    return -1j * np.sin(np.deg2rad(degrees) * _b1(phantom))[None]


def spoiled(phantom: Phantom, degrees: float, repetition_time: float, pulses: int) -> NDArray[np.complex128]:
    """Return the transverse magnetisation after each pulse of an ideally spoiled train, ``[pulse, z, y, x]``.

    Longitudinal magnetisation starts at equilibrium and tends to the steady state of Ernst and Anderson 1966::

        Mz <- Mz cos(alpha) exp(-TR / T1) + 1 - exp(-TR / T1)
    """
    angle, (t1, _, _) = np.deg2rad(degrees) * _b1(phantom), _times(phantom)
    left = np.exp(-repetition_time / t1)
    longitudinal, result = np.ones_like(angle), np.empty((pulses, *angle.shape), np.complex128)
    for pulse in range(pulses):
        result[pulse] = -1j * np.sin(angle) * longitudinal
        longitudinal = longitudinal * np.cos(angle) * left + 1 - left
    return result


def echo_train(
    phantom: Phantom, degrees: float, refocusing: float, echo_spacing: float, echoes: int
) -> NDArray[np.complex128]:
    """Return the echoes of a CPMG train by extended phase graphs (Hennig 1988), ``[echo, z, y, x]``.

    `degrees` excite and `refocusing` degrees refocus, both scaled by B1. States are counted in units of what half an
    echo spacing dephases; what regrows never echoes, since crushers take it.
    """
    angle, (t1, t2, _) = np.deg2rad(refocusing) * _b1(phantom), _times(phantom)
    e1, e2 = np.exp(-echo_spacing / 2 / t1), np.exp(-echo_spacing / 2 / t2)
    excitation = np.deg2rad(degrees) * _b1(phantom)
    states = np.zeros((3, 2 * echoes + 2, *angle.shape))  # F+, F- and Z without factors of i, all real by CPMG
    states[:2, 0] = np.sin(excitation)
    result = np.empty((echoes, *angle.shape), np.complex128)
    keep, swap = np.cos(angle / 2) ** 2, np.sin(angle / 2) ** 2
    for echo in range(echoes):
        states = _dephased(states, e1, e2)
        plus, minus, z = states
        states = np.stack((
            keep * plus + swap * minus + np.sin(angle) * z,
            swap * plus + keep * minus - np.sin(angle) * z,
            np.cos(angle) * z - np.sin(angle) / 2 * (plus - minus),
        ))  # fmt: skip
        states = _dephased(states, e1, e2)
        result[echo] = -1j * states[0, 0]
    return result


def signal(phantom: Phantom, sampling: Sampling, amplitude: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return what the coils of `phantom` receive, ``[coil, line, sample]``.

    Parameters
    ----------
    phantom
        One slice.
    sampling
        From `gradient_echoes` or `spin_echoes`.
    amplitude
        Transverse magnetisation at each instant, ``[instant, z, y, x]``.
    """
    filled = phantom.proton_density.numpy() > 0
    axes = [(np.arange(n) - n // 2) * size for n, size in zip(phantom.grid, phantom.size[::-1], strict=True)]
    place = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1)[filled] * GRADIENTS
    t2, t2_prime = phantom.t2.numpy()[filled], phantom.t2_prime.numpy()[filled]
    weight = (phantom.coils.numpy() * phantom.proton_density.numpy())[:, filled]
    turn = 2j * np.pi * phantom.b0.numpy()[filled]
    voxel = np.sinc(sampling.k * np.array(phantom.size)).prod(-1)
    result = np.empty((len(weight), *sampling.time.shape), np.complex128)
    for line, (k, time, instant) in enumerate(zip(sampling.k, sampling.time, sampling.instant, strict=True)):
        t = time[:, None]
        kernel = np.exp(-2j * np.pi * k @ place.T - t * (1 / t2 + turn) - np.abs(t) / t2_prime)
        result[:, line] = voxel[line] * ((weight * amplitude[instant][filled]) @ kernel.T)
    return result


def cartesian_image(samples: NDArray[np.complex128], k: Array, fov: float, matrix: int) -> NDArray[np.complex128]:
    """Sort samples ``[coil, line, sample]`` into k-space and transform it, ``[coil, y, x]`` along the gradients.

    White noise stays so.
    """
    column, row = (np.rint(k[..., axis] * fov).astype(int) + matrix // 2 for axis in (0, 1))
    grid = np.zeros((len(samples), matrix, matrix), np.complex128)
    grid[:, row, column] = samples
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(grid, (1, 2)), norm="ortho"), (1, 2))


def radial_image(samples: NDArray[np.complex128], k: Array, fov: float, matrix: int) -> NDArray[np.complex128]:
    """Sum spokes ``[coil, spoke, sample]`` through the centre, each sample weighed by its area, ``[coil, y, x]``.

    White noise of deviation 1 gets that of the root of the sum of the squared areas, over `matrix`.
    """
    place = (np.arange(matrix) - matrix // 2) / matrix
    turns = np.exp(2j * np.pi * k[..., :2, None] * fov * place)  # [spoke, sample, axis, voxel]
    weighed = samples * spoke_areas(k, fov)
    return np.einsum("cls,lsy,lsx->cyx", weighed, turns[:, :, 1], turns[:, :, 0], optimize=True) / matrix


def spoke_areas(k: Array, fov: float) -> Array:
    """Return the area of k-space nearest each sample of spokes through the centre, ``[spoke, sample]``.

    In Nyquist cells. A spoke owns half of the angle to either neighbour, a sample half of the way to its own.
    """
    along = k[:, -1, :2] - k[:, 0, :2]
    angle = np.arctan2(along[:, 1], along[:, 0]) % np.pi
    order = np.argsort(angle)
    gap = np.diff(np.append(angle[order], angle[order[0]] + np.pi))
    share = np.empty_like(angle)
    share[order] = (gap + np.roll(gap, 1)) / 2
    radius = np.linalg.norm(k[..., :2], axis=-1) * fov
    step = np.linalg.norm(along, axis=-1)[:, None] * fov / (k.shape[1] - 1)
    return share[:, None] * np.where(radius < step / 2, step**2 / 4, radius * step)


def _dephased(states: Array, e1: Array, e2: Array) -> Array:
    """Let half an echo spacing pass."""
    result = np.empty_like(states)
    result[0, 1:], result[1, :-1], result[2] = states[0, :-1], states[1, 1:], states[2]
    result[1, -1], result[0, 0] = 0, states[1, 1]
    result[:2] *= e2
    result[2] *= e1
    return result


def _traced(seq: pp.Sequence) -> tuple[Array, Array, Array, Array]:
    """Return k ``[line, sample, 3]``, times of the excitations and refocusing pulses, and of the samples."""
    k, _, excitation, refocusing, time = seq.calculate_kspace()
    count = next(block.adc.num_samples for block in map(seq.get_block, seq.block_events) if block.adc is not None)
    return k.T.reshape(-1, count, 3), np.asarray(excitation), np.asarray(refocusing), time.reshape(-1, count)


def _b1(phantom: Phantom) -> Array:
    return phantom.b1[0].abs().numpy()


def _times(phantom: Phantom) -> list[Array]:
    """Return T1, T2 and T2' [s], infinite where nothing is."""
    empty = phantom.proton_density.numpy() <= 0
    return [np.where(empty, np.inf, getattr(phantom, name).numpy()) for name in ("t1", "t2", "t2_prime")]
