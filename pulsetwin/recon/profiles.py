"""From the samples of one readout to its profile along x: an FFT where the samples are even, a matrix where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from pulsetwin.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class ProfileTransform:
    """Linear map from samples ``[..., sample]`` to the profile on the voxels along x ``[..., x]``.

    The scale is that of an orthonormal transform: evenly sampled white noise keeps its variance.

    Parameters
    ----------
    apply
        The map.
    noise_gain
        Standard deviation of the profile for white unit noise in the samples, float64 ``[x]``.
    """

    apply: Callable[[Tensor], Tensor]
    noise_gain: np.ndarray

    def __call__(self, samples: Tensor) -> Tensor:
        """Return the profiles ``[..., x]`` of `samples` ``[..., sample]``."""
        return self.apply(samples)


def profile_transform(position: np.ndarray, fov: float, voxels: int) -> ProfileTransform:
    """Return the transform of a readout with samples at `position` to a profile over `fov`.

    Even samples are transformed by FFT; uneven ones (sampling on gradient ramps) by the least-squares solution of
    ``s(k) = sum_x p(x) exp(-2 pi i k x)`` over the field of view that the widest gap between samples supports.

    Parameters
    ----------
    position
        k-space position of each sample along x [1/m], monotonic in either direction, ``[sample]``.
    fov
        Field of view [m].
    voxels
        Number of voxels over `fov`.

    Raises
    ------
    ProtocolError
        If the samples do not run in one direction, or are too far apart for `fov`.
    """
    cycles = np.asarray(position, np.float64) * fov
    steps = np.diff(cycles)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise ProtocolError("the samples of a readout do not run along x in one direction: use method='nufft'")
    widest = float(np.abs(steps).max())
    if widest > 1.05:
        raise ProtocolError(
            f"samples are {widest:.2f}/FOV apart along x, too far for a field of view of {fov:.3f} m: "
            "check the FOV definition of the .seq"
        )
    grid = max(round(voxels / widest), voxels)
    even = float(np.abs(steps - steps.mean()).max()) < 1e-3 * widest
    if even and abs(voxels / widest - grid) < 5e-3 * grid and len(cycles) <= grid:
        return _by_fft(cycles, voxels, grid)
    return _by_matrix(cycles, voxels)


def delayed(position: np.ndarray, delay: float) -> np.ndarray:
    """Return where a readout's samples fall if its gradient lags by `delay` [samples]; `position` is ``[sample]``."""
    sample = np.arange(len(position))
    return CubicSpline(sample, position)(sample - delay) if delay else position


def _voxel_positions(grid: int, voxels: int) -> np.ndarray:
    """Voxel positions as fractions of the field of view, centred at ``grid // 2``."""
    return (np.arange(grid) - grid // 2) / voxels


def _by_fft(cycles: np.ndarray, voxels: int, grid: int) -> ProfileTransform:
    """Transform even samples: inverse FFT over the sampled field of view, the shift of the first sample, crop."""
    start = grid // 2 - voxels // 2
    position = _voxel_positions(grid, voxels)
    step = np.sign(cycles[-1] - cycles[0])
    turn = np.exp(2j * np.pi * (cycles[0] if step > 0 else cycles[-1]) * position)
    phase = torch.from_numpy(turn[start : start + voxels].astype(np.complex64))
    cells = (np.arange(start, start + voxels) - grid // 2) % grid

    def apply(samples: Tensor) -> Tensor:
        forward = samples if step > 0 else samples.flip(-1)
        profile = torch.fft.ifft(forward, n=grid, norm="ortho")
        return profile[..., torch.from_numpy(cells).to(samples.device)] * phase.to(samples.device, samples.dtype)

    gain = np.full(voxels, np.sqrt(len(cycles) / grid))
    return ProfileTransform(apply, gain)


def _by_matrix(cycles: np.ndarray, voxels: int) -> ProfileTransform:
    """Transform uneven samples: least squares over the widest field of view the samples support."""
    widest = float(np.abs(np.diff(cycles)).max())
    grid = max(2 * int(np.ceil(voxels / widest / 2)) if widest < 0.98 else voxels, voxels)
    encode = np.exp(-2j * np.pi * np.outer(cycles, _voxel_positions(grid, voxels)))
    weight = np.sqrt(np.abs(np.gradient(cycles)))[:, None]
    decode = np.linalg.pinv(weight * encode, rcond=1e-2) * weight.T * np.sqrt(grid)
    start = grid // 2 - voxels // 2
    decode = decode[start : start + voxels]
    matrix = torch.from_numpy(decode.T.copy())

    def apply(samples: Tensor) -> Tensor:
        return samples @ matrix.to(samples.device, samples.dtype)

    return ProfileTransform(apply, np.linalg.norm(decode, axis=1))
