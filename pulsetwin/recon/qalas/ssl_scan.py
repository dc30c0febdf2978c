"""A QALAS scan as networks see it: rows of voxels, or whole slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.recon.qalas.network import Network, features, unit

_LEAST_NOISE = 1e-5  # of the largest signals: noiseless data are fitted that far


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan as the network sees it, signals and noise in units of the third value.

    `inputs` are features ``[voxel, 6]`` or ``[slice, 6, y, x]``; `first` the first voxel of each slice and the last
    one's end; `mask` where voxels are, ``[slice, y, x]``; both None where slices do not matter.
    """

    data: Tensor
    noise: Tensor
    scale: float
    b1: Tensor
    inputs: Tensor
    mask: Tensor | None
    first: list[int] | None

    @property
    def parts(self) -> int:
        """Number of what batches are drawn from."""
        return len(self.inputs)

    def voxels(self, part: Tensor) -> Tensor:
        """Return which voxels some voxels or slices are."""
        if self.first is None:
            return part
        return torch.cat([torch.arange(self.first[k], self.first[k + 1]) for k in part.tolist()])


def scan_of(architecture: str, data: np.ndarray, b1: np.ndarray, noise: np.ndarray | float, mask: np.ndarray) -> Scan:
    """Return the scan as an architecture sees it; the arguments are those of `ssl.train`."""
    signal, field = torch.from_numpy(data), torch.from_numpy(np.asarray(b1, np.float32))
    scale = float(unit(signal))
    signal = (signal / scale).float()
    deviation = torch.from_numpy(np.broadcast_to(np.asarray(noise) / scale, len(data)).astype(np.float32))
    seen = features(architecture, signal, field)
    here = first = None
    if architecture == "paper":
        here = torch.from_numpy(mask[mask.any((1, 2))])
        first = [0, *here.flatten(1).sum(1).cumsum(0).tolist()]
        volume = seen.new_zeros(*here.shape, seen.shape[1])
        volume[here] = seen
        seen = volume.movedim(-1, 1).contiguous()
    return Scan(signal, deviation.clamp_min(_LEAST_NOISE), scale, field, seen, here, first)


def output_of(network: Network, scan: Scan, part: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the module gives for some voxels or slices, ``[voxel, head]``, and which voxels these are."""
    output = network.module(scan.inputs[part])
    return output if scan.mask is None else output.movedim(1, -1)[scan.mask[part]], scan.voxels(part)


def drawn(scan: Scan, batch: int, seed: int, step: int) -> Tensor:
    """Return the voxels or slices of a step: voxels at random, each slice once before any comes again.

    They depend on nothing but the seed and the number of the step.
    """
    if scan.mask is None:
        generator = torch.Generator().manual_seed((seed << 32) + step)
        return torch.randint(scan.parts, (min(batch, scan.parts),), generator=generator)
    epoch, turn = divmod(step, -(-scan.parts // batch))
    generator = torch.Generator().manual_seed((seed << 32) + epoch)
    return torch.randperm(scan.parts, generator=generator)[turn * batch : (turn + 1) * batch]
