"""Training of the networks for RASER images on a stream of simulated scans, which an interrupt only halts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.agreement import similarity_of_windows, ssim_uniform
from pulsetwin.recon.raser.examples import Examples, Pool, domain_of, one_example, stacked
from pulsetwin.recon.raser.network import Networks, new_networks, projector
from pulsetwin.recon.raser.network_file import load_networks, save_networks
from pulsetwin.recon.raser.purpose import Purpose

_SEEN_FIRST = 16  # batches of examples before the first step
_HELD_OUT = 1 << 31  # added to the seed: of images that are not trained with
_LASTING = ("seed", "batch", "fresh", "rate")  # settings of a training that is to go on
_RISE = 0.05  # share of the steps in which the rate rises
_OF_SQUARES, _OF_SSIM, _WINDOW = 10.0, 0.2, 7  # weights in the loss beside that of the profiles, and pixels of SSIM


@dataclass(frozen=True, slots=True)
class Training:
    """How networks are trained.

    Parameters
    ----------
    steps
        How many. The rate rises and falls over all of them.
    batch
        Images of a step.
    fresh
        New images of a step; each is drawn about ``batch / fresh`` times.
    rate
        Of learning, at its highest.
    seed
        Of the first weights and of all images, from 0 to below 2^31.
    every
        Steps between looks at images held out, `held_out` of them at a signal-to-noise ratio of 1000, and checkpoints.
    held_out
        How many.
    """

    steps: int = 2500
    batch: int = 16
    fresh: int = 4
    rate: float = 2e-3
    seed: int = 0
    every: int = 50
    held_out: int = 32

    def __post_init__(self) -> None:
        counts = self.steps, self.batch, self.fresh, self.every, self.held_out
        if min(counts) < 1 or not self.rate > 0 or not 0 <= self.seed < _HELD_OUT:
            raise ProtocolError(f"{self}: give numbers above 0, and a seed of 0 or more, below {_HELD_OUT}")


def train(
    path: str | Path, purpose: Purpose, training: Training, *, resume: bool = False, progress: Progress = silent,
    tell: Callable[[int, dict[str, float]], None] = lambda step, figures: None,
) -> Networks:  # fmt: skip
    """Train networks and write them to a file, that an interrupt leaves as of the last checkpoint.

    Parameters
    ----------
    path
        The file, see `network_file`.
    purpose
        What they are for.
    training
        How.
    resume
        Whether to go on from the file; how many steps there are in all may be another number than before.
    progress
        Called with steps done, their number and what is done.
    tell
        Called with steps done and `figures_of` what was held out.

    Raises
    ------
    MismatchError
        If a training that is to go on is over, has as many steps already, or was for something else.
    FileError
        If it cannot be read.
    """
    networks, told, state = _begun(purpose, training) if not resume else _resumed(path, purpose, training)
    optimiser = torch.optim.AdamW(networks.modules.parameters(), training.rate)
    _restore(optimiser, networks, state)
    pool, areas = Pool(purpose, training.seed, told["images"]), projector(purpose)
    pool.play(_SEEN_FIRST * training.batch)
    held = held_out(purpose, training)
    parts = [*told["parts"], [told["steps"], training.steps]]  # where each began, and over how many the rate falls
    for step in range(told["steps"], training.steps):
        for group in optimiser.param_groups:
            group["lr"] = training.rate * _schedule(step / training.steps)
        pool.play(training.fresh)
        loss = _loss(networks, pool.batch(training.batch), areas)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(networks.modules.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, training.steps, "train")
        done = step + 1
        if done % training.every == 0 or done == training.steps:
            figures = figures_of(networks, held)
            about = {name: getattr(training, name) for name in _LASTING}
            about |= {"steps": done, "images": pool.played, "parts": parts, "held_out": figures}
            save_networks(path, networks, about, None if done == training.steps else _kept(optimiser, networks))
            tell(done, figures)
    return networks


def held_out(purpose: Purpose, training: Training, snr: float = 1000.0) -> Examples:
    """Return examples that are not trained with."""
    seed, domain = training.seed + _HELD_OUT, domain_of(purpose)
    return stacked([one_example(purpose, domain, seed, number, snr) for number in range(training.held_out)])


def figures_of(networks: Networks, examples: Examples) -> dict[str, float]:
    """Return mean squared error and SSIM of images, linear from mended profiles and after both networks.

    Each image is scaled by what suits the truth best.
    """
    with torch.no_grad():
        _, linear, images = networks(examples.seen)
    told = {}
    for name, found in (("profiles", linear), ("both", images)):
        pairs = list(_scaled(found, examples.images))
        told[f"mse_{name}"] = float(np.mean([np.mean((one - truth) ** 2) for one, truth in pairs]))
        told[f"ssim_{name}"] = float(np.mean([ssim_uniform(one, truth) for one, truth in pairs]))
    return told


def _scaled(found: Tensor, wanted: Tensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for one, truth in zip(found.double().numpy(), wanted.double().numpy(), strict=True):
        yield one * float((one * truth).sum() / max((one**2).sum(), 1e-12)), truth


def _schedule(share: float) -> float:
    """Return the rate after a share of the steps, relative to its highest."""
    if share < _RISE:
        return (share + 1e-3) / (_RISE + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * (share - _RISE) / (1 - _RISE))


def _loss(networks: Networks, examples: Examples, areas: Tensor) -> Tensor:
    """Return squares of the errors of profiles and image, and what SSIM lacks of 1."""
    sinogram, _, images = networks(examples.seen)
    truth = (examples.images.flatten(1) @ areas.T).view_as(sinogram)
    truth = truth / truth.mean(2, keepdim=True)
    squares = (images - examples.images).square().mean()
    unlike = 1 - _similarity(images, examples.images)
    return functional.smooth_l1_loss(sinogram, truth, beta=0.5) + _OF_SQUARES * squares + _OF_SSIM * unlike


def _similarity(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean structural similarity with a flat window and a range of 1, see `agreement.ssim_uniform`."""
    return similarity_of_windows(found, wanted, lambda one: functional.avg_pool2d(one[:, None], _WINDOW, 1), 1.0).mean()


def _kept(optimiser: torch.optim.Optimizer, networks: Networks) -> dict[str, Tensor]:
    """Return the moments of the optimiser by weight."""
    names = {id(one): name for name, one in networks.modules.named_parameters()}
    return {
        f"{part}.{names[id(weight)]}": value
        for weight, moments in optimiser.state.items()
        for part, value in moments.items()
    }


def _restore(optimiser: torch.optim.Optimizer, networks: Networks, state: dict[str, Tensor]) -> None:
    weights = dict(networks.modules.named_parameters())
    for key, value in state.items():
        part, name = key.split(".", 1)
        optimiser.state[weights[name]][part] = value


def _begun(purpose: Purpose, training: Training) -> tuple[Networks, dict[str, Any], dict[str, Tensor]]:
    return new_networks(purpose, seed=training.seed), {"steps": 0, "images": 0, "parts": []}, {}


def _resumed(
    path: str | Path, purpose: Purpose, training: Training
) -> tuple[Networks, dict[str, Any], dict[str, Tensor]]:
    networks, told, state = load_networks(path)
    changed = [name for name in _LASTING if told.get(name) != getattr(training, name)]
    if networks.purpose != purpose or changed:
        before = ", ".join(f"{name} {told.get(name)}" for name in _LASTING)
        raise MismatchError(f"{path} is for {networks.purpose} with {before}: resume with the same settings")
    if not state:
        raise MismatchError(f"the training of {path} is over after {told['steps']} steps: train anew")
    if told["steps"] >= training.steps:
        raise MismatchError(f"{path} has {told['steps']} of {training.steps} steps already: ask for more")
    return networks, told, state
