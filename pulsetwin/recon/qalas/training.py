"""How a network learns to map a QALAS: for how long, on how much at a time, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.qalas.network import ARCHITECTURES

SETTLED = 1.386
"""Median of chi-square with two degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    architecture
        ``fast``, voxel by voxel, or ``paper``, slice by slice; that of a network which is trained further.
    steps
        At most. The rate of ``fast`` rises and falls over all of them.
    batch
        Voxels (``fast``) or slices (``paper``) of a step.
    rate
        Of learning, at its highest.
    settled
        Running median over voxels of ``|residual|^2 / noise^2`` that ends the training; 0 for never.
    seed
        Of the first weights and of what is drawn for each step.
    checkpoint
        A network file, written every `every` steps and at the end: a training that was interrupted goes on from it with
        the same result, one that is over is not repeated.
    every
        Steps between checkpoints.
    """

    architecture: str = "fast"
    steps: int = 1000
    batch: int = 8192
    rate: float = 1e-2
    settled: float = SETTLED
    seed: int = 0
    checkpoint: str | Path | None = None
    every: int = 100

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ProtocolError(f"no QALAS network {self.architecture!r}; there are {', '.join(ARCHITECTURES)}")
        if min(self.steps, self.batch, self.every) < 1 or not self.rate > 0 or not self.settled >= 0:
            raise ProtocolError(
                f"training of {self.steps} steps of {self.batch} at a rate of {self.rate}, checkpoint every "
                f"{self.every}, until {self.settled}: give positive numbers"
            )

    @classmethod
    def paper(cls, slices: int, *, epochs: int = 500, **options: Any) -> Training:
        """Return the training of Jun et al. 2023, doi:10.1002/mrm.29786: batches of four slices, Adam at 1e-3.

        Parameters
        ----------
        slices
            That are not empty.
        epochs
            Times that each slice is seen, at most.
        options
            Of `Training`.
        """
        batch = min(4, slices)
        return cls(**{"architecture": "paper", "steps": epochs * -(-slices // batch), "batch": batch, "rate": 1e-3,
                      **options})  # fmt: skip

    @classmethod
    def further(cls, architecture: str, slices: int) -> Training:
        """Return the training, on another scan, of a network that was trained before: a quarter of the usual one.

        That of ``fast`` is at a third of the usual rate, which would unlearn much of what was learnt before.

        Parameters
        ----------
        architecture
            Of the network.
        slices
            That are not empty.
        """
        return cls.paper(slices, epochs=125) if architecture == "paper" else cls(steps=250, rate=3e-3)
