"""What networks learn from: random images played anew while they learn, in a pool that gives each several times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.features import features
from pulsetwin.recon.raser.purpose import Purpose
from pulsetwin.recon.raser.symmetry import turned_features, turned_images
from pulsetwin.sim.raser.training_data import Domain, one_image

_NOISY = 100.0, 5000.0  # signal-to-noise ratios
_GAIN = 0.04  # standard deviation of the logarithm of kappa: how well a scan tells it


class Examples(NamedTuple):
    """Features ``[image, angle, channel, mode]`` and the images ``[image, y, x]``, their largest pixel 1."""

    seen: Tensor
    images: Tensor


def domain_of(purpose: Purpose) -> Domain:
    """Return what is played for a purpose: Becker et al. 2025, with two modes in a pixel and unsure T1 and T2*.

    One image in four is pumped.
    """
    p = purpose
    return Domain(
        matrix=p.matrix, finer=2, angles=p.angles, modes=p.modes, bandwidth=p.bandwidth,
        t1=(0.9 * p.t1, 1.1 * p.t1), t2=(0.97 * p.t2, 1.03 * p.t2),
        total=(0.9 * p.over_threshold, 1.1 * p.over_threshold), pumped=(0.25, 0.5),
    )  # fmt: skip


def one_example(purpose: Purpose, domain: Domain, seed: int, number: int, snr: float | None = None) -> Examples:
    """Return an image of the seed, without the first axis: with noise and a kappa that is slightly wrong.

    Parameters
    ----------
    purpose
        Of the networks.
    domain
        What is played; other settings than its variations are those of the purpose.
    seed, number
        The image, and all that is random about it, follows from them.
    snr
        Mean peak of the signals over the noise; random if None.
    """
    played = one_image(domain, seed, number)
    rng = np.random.default_rng([seed, number, 1])
    low, high = np.log(_NOISY)
    ratio = np.exp(rng.uniform(low, high)) if snr is None else snr
    signal = played["signal"]
    noise = np.abs(signal).max(1).mean() / ratio
    signal = signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    parameters = Parameters(purpose.t1, purpose.t2, float(np.exp(_GAIN * rng.standard_normal())))
    seen = features(signal, domain.dwell, purpose.modes, purpose.bandwidth, parameters, purpose.over_threshold)
    image = played["image"] / played["image"].max()
    return Examples(torch.from_numpy(seen), torch.from_numpy(image.astype(np.float32)))


def stacked(examples: list[Examples]) -> Examples:
    """Return examples with a first axis."""
    return Examples(*(torch.stack(parts) for parts in zip(*examples, strict=True)))


class Pool:
    """The last examples played; batches are drawn from it, each with some new ones.

    Parameters
    ----------
    purpose
        Of the networks.
    seed
        Of the images and of what is drawn.
    begun
        How many images were played before, by an earlier part of the training.
    size
        Examples that are kept.
    """

    def __init__(self, purpose: Purpose, seed: int, begun: int = 0, size: int = 3000) -> None:
        self._purpose, self._domain, self._seed, self._size = purpose, domain_of(purpose), seed, size
        self._kept: list[Examples] = []
        self._generator = torch.Generator().manual_seed(seed + begun)
        self.played = begun

    def play(self, count: int) -> None:
        """Add new examples."""
        for _ in range(count):
            example = one_example(self._purpose, self._domain, self._seed, self.played)
            if len(self._kept) < self._size:
                self._kept.append(example)
            else:
                self._kept[self.played % self._size] = example
            self.played += 1

    def batch(self, count: int) -> Examples:
        """Return examples drawn at random, turned at random."""
        rows = torch.randint(len(self._kept), (count,), generator=self._generator)
        half, mirrored = (bool(one) for one in torch.randint(2, (2,), generator=self._generator))
        seen, images = stacked([self._kept[row] for row in rows.tolist()])
        return Examples(turned_features(seen, half, mirrored), turned_images(images, half, mirrored))
