"""How CEST-MRF networks learn: for how long, on how much at a time, and from what noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.cest_mrf.reconstructor import Reconstructor


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    steps
        How many; the rate rises and falls over all of them.
    batch
        Voxels of a step.
    rate
        Of learning, at its highest.
    noise
        Standard deviation of what is added to the normalised signals that the network sees, anew each time; None for
        that of the data, see `noise_of`.
    seed
        Of the first weights and of all that is drawn.
    """

    steps: int
    batch: int
    rate: float = 3e-3
    noise: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.rate > 0 or not (self.noise is None or self.noise >= 0):
            raise ProtocolError(
                f"training of {self.steps} steps of {self.batch} at a rate of {self.rate} with noise of {self.noise}: "
                "give positive numbers"
            )


def noise_of(data: np.ndarray) -> float:
    """Return the standard deviation of the noise of signals, ``[voxel, measurement]``.

    Signals of all tissues span few directions; of the covariance's eigenvalues, the lower half are those of noise.

    Raises
    ------
    ShapeError
        If there are not more voxels than measurements.
    """
    voxels, measurements = data.shape
    if voxels <= measurements:
        raise ShapeError(
            f"{voxels} voxels of {measurements} measurements do not tell their noise: give more voxels, or the noise"
        )
    low = np.linalg.eigvalsh(np.cov(data.T))[: measurements // 2]
    return float(np.sqrt(max(np.median(low), 0.0)))


class Learner:
    """Steps of AdamW down a loss, at a rate that rises and falls once."""

    def __init__(self, reconstructor: Reconstructor, rate: float, updates: int) -> None:
        reconstructor.module.train()
        self._optimiser = torch.optim.AdamW(reconstructor.module.parameters(), rate)
        # one more than are taken, which the schedule would otherwise not allow after the last
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimiser, rate, total_steps=updates + 1)

    def step(self, loss: Tensor) -> None:
        """Change the weights."""
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()


def with_noise(seen: Tensor, measurements: int, noise: float, generator: torch.Generator) -> Tensor:
    """Return features with noise on those that are signals."""
    added = noise * torch.randn(len(seen), measurements, generator=generator)
    return torch.cat((seen[:, :measurements] + added, seen[:, measurements:]), 1)
