"""Noise of a scan without a noise scan, from the image's own background.

The rim that readout oversampling adds outside the field of view is not used: the receiver's filter damps the noise
there, by more than half at its edge.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.fft import ifft
from pulsetwin.recon.grid import profile_transforms
from pulsetwin.recon.layout import Layout
from pulsetwin.recon.whiten import whitening


def background_noise(images: Tensor, block: int = 4) -> Tensor:
    """Return noise samples from the emptiest parts of fully sampled coil images.

    The image is cut into blocks; those whose power is within what chance allows of the emptiest tenth count as
    background. Whole blocks are taken, signs and all, so that their distribution stays that of the noise.

    Parameters
    ----------
    images
        Coil images ``[coil, z, y, x]``.
    block
        Edge of a block in y and x [voxels].

    Returns
    -------
    Tensor
        Complex noise samples ``[coil, sample]``.

    Raises
    ------
    ProtocolError
        If fewer background voxels than five per coil are found, or the image is smaller than a block.
    """
    coils, _, ny, nx = images.shape
    rows, columns = ny // block, nx // block
    if not rows * columns:
        raise ProtocolError(f"{nx} x {ny} voxels show no background: give a noise scan (--noise)")
    cut = images[:, :, : rows * block, : columns * block]
    blocks = cut.unflatten(3, (columns, block)).unflatten(2, (rows, block)).movedim(4, 3).flatten(4).flatten(1, 3)
    power = _scale_free_power(blocks)
    order = torch.argsort(power)
    floor = power[order[: max(1, len(order) // 10)]].median()
    empty = torch.nonzero(power < floor * _chance_limit(coils, block * block))[:, 0]
    if len(empty) * block * block < 5 * coils:
        raise ProtocolError(
            f"only {len(empty) * block * block} background voxels for {coils} coils: give a noise scan (--noise)"
        )
    return blocks[:, empty].flatten(1)


def _scale_free_power(blocks: Tensor) -> Tensor:
    """Mean power of each block over coils, each coil scaled by its own quiet level, ``[block]``."""
    power = blocks.real.square().mean(-1) + blocks.imag.square().mean(-1)
    quiet = torch.stack([torch.quantile(coil, 0.1) for coil in power.double()])  # of all, it takes 2^24 values at most
    return (power / quiet.clamp(min=1e-300)[:, None]).mean(0)


def _chance_limit(coils: int, voxels: int) -> float:
    """Ratio to the quietest tenth that noise alone seldom exceeds: mean plus four deviations of the mean power."""
    spread = 1 / np.sqrt(voxels * min(coils, 4))
    return float((1 + 4 * spread) / max(1 - 1.3 * spread, 0.3))


def whiten_by_background(hybrid: Tensor, plan: Layout, said: list[str]) -> bool:
    """Whiten ``[contrast, slice, kz, ky, coil, x]`` in place by the background of the first fully sampled slice.

    Whitening by the covariance of ``n`` samples of ``p`` coils inflates signal-to-noise ratios by ``sqrt(n / (n - p))``
    (Reed, Mallett and Brennan 1974, doi:10.1109/TAES.1974.307893), which is taken back here. Returns whether whitening
    was possible; either way a sentence is appended to `said`.
    """
    if not (plan.counts()[0, plan.slices // 2] > 0).all():
        said.append("no noise scan and lines are missing: the noise is unknown and was not whitened")
        return False
    images = ifft(hybrid[0, plan.slices // 2].permute(2, 0, 1, 3), (1, 2))
    try:
        noise = background_noise(images)
        spread = 1 - noise.shape[0] / noise.shape[1]
        matrix = (whitening(noise / _line_gain(plan)) * spread**0.5).to(hybrid.dtype)
    except ProtocolError as problem:
        said.append(f"no noise scan: the noise was not whitened ({problem})")
        return False
    for image in hybrid.flatten(0, 3).split(4096):
        image.copy_(torch.matmul(matrix, image))
    said.append(f"no noise scan: the noise was estimated from {noise.shape[1]} background voxels")
    return True


def noise_std(plan: Layout) -> np.ndarray:
    """Return the noise of a fully sampled, whitened, combined image, per real part, float32 ``[z, y, x]``."""
    nx, ny, nz = plan.shape
    gain = np.mean(_gains(plan), axis=0)
    level = gain / np.sqrt(2 * max(plan.averages, 1))
    return np.broadcast_to(level.astype(np.float32), (plan.slices * nz, ny, nx)).copy()


def _line_gain(plan: Layout) -> float:
    """Noise gain of the transform along x, averaged."""
    return float(np.mean(_gains(plan)))


def _gains(plan: Layout) -> list[np.ndarray]:
    """Return the noise gains of the transforms along x that readouts use: others stand for nothing."""
    assert plan.readouts.trajectory is not None
    used = np.unique(plan.readouts.trajectory.shape_index)
    transforms = profile_transforms(plan)
    return [transforms[index].noise_gain for index in used]
