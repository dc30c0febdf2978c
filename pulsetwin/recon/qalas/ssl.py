"""QALAS maps by a network that learns from the scan itself: what it tells must give the signals (self-supervision).

Nothing is known but signals, B1 and the noise. A network fits what voxels have in common before it fits their noise, so
training ends where the residual is that of an inversion efficiency that does not follow each voxel's noise: where the
median of chi-square is that of five signals less PD, T1 and T2 of each voxel. Going on would end at the least-squares
fit, whose chi-square has one degree of freedom.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import require_writable
from pulsetwin.errors import MismatchError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.qalas.fit import EFFICIENCY_RANGE, Fitted
from pulsetwin.recon.qalas.network import Network, load_network, new_network, save_network
from pulsetwin.recon.qalas.ssl_scan import Scan, drawn, output_of, scan_of
from pulsetwin.recon.qalas.training import Training
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

_MEMORY = 0.95  # of the running median of chi-square, from batch to batch
_BLOCK = 1 << 15  # voxels estimated at a time

State = dict[str, Any]


def learnt(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    noise: np.ndarray | float,
    *,
    mask: np.ndarray,
    training: Training | None = None,
    network: Network | None = None,
    ie: tuple[float, float] = EFFICIENCY_RANGE,
    progress: Progress = silent,
) -> Fitted:
    """Return estimates by a network of this scan, by one that was trained before, or by one that is trained further.

    Parameters
    ----------
    data, timing, b1, noise, mask, ie, progress
        As of `train`.
    training
        How the network is trained on this scan; if None, as usual, or not at all where there is a `network`.
    network
        That was trained before.

    Raises
    ------
    MismatchError
        If the network is used as it is, but was trained for another timing or other bounds.
    """
    if network is not None and network.ie != tuple(ie):
        raise MismatchError(f"the network tells efficiencies within {network.ie}, not {ie}: pass its own bounds as ie")
    if network is None or training is not None:
        how = {"mask": mask, "training": training or Training(), "network": network, "ie": ie, "progress": progress}
        network = train(data, timing, b1, noise, **how)
    elif network.timing != timing:
        raise MismatchError("the network was trained for another timing: train it further, with training=Training(...)")
    return estimate(network, data, b1, mask=mask, progress=progress)


def train(
    data: np.ndarray,
    timing: QalasTiming,
    b1: np.ndarray,
    noise: np.ndarray | float,
    *,
    mask: np.ndarray,
    training: Training,
    network: Network | None = None,
    ie: tuple[float, float] = EFFICIENCY_RANGE,
    progress: Progress = silent,
) -> Network:
    """Return a network that was trained on one scan, from random weights or further from those of `network`.

    Parameters
    ----------
    data
        Signals with their signs, ``[voxel, 5]``.
    timing
        Of the scan.
    b1
        Relative transmit field, ``[voxel]``.
    noise
        Standard deviation, ``[voxel]`` or one value.
    mask
        Where the voxels are, bool ``[z, y, x]``, in this order.
    training
        How.
    network
        Where to begin (fine-tuning); it is left as it is.
    ie
        Bounds of the inversion efficiency; those of `network` if it is given.
    progress
        Called with steps done, their greatest number and what is done.

    Raises
    ------
    MismatchError
        If the checkpoint is of another scan or training, or `network` of another architecture.
    """
    if network is not None and network.architecture != training.architecture:
        raise MismatchError(
            f"the network is {network.architecture!r}, the training of {training.architecture!r}: give one of its kind"
        )
    fresh = new_network(training.architecture, timing, ie if network is None else network.ie, seed=training.seed)
    if network is not None:
        fresh.module.load_state_dict(network.module.state_dict())
    scan, purpose = scan_of(training.architecture, data, b1, noise, mask), _purpose(fresh, data, b1, noise, training)
    state = _kept(fresh, training, purpose)
    if not state.get("over"):
        _run(fresh, scan, training, state, purpose, progress)
    return fresh


def estimate(
    network: Network, data: np.ndarray, b1: np.ndarray, *, mask: np.ndarray, progress: Progress = silent
) -> Fitted:
    """Return what a network tells of voxels.

    Parameters
    ----------
    network
        Of `train` or `network.load_network`.
    data, b1, mask
        As of `train`.
    progress
        Called with voxels done, their number and what is done.
    """
    scan = scan_of(network.architecture, data, b1, 1.0, mask)
    network.module.eval()
    parts = []
    count = _BLOCK if scan.mask is None else 1
    with torch.inference_mode():
        for part in torch.arange(scan.parts).split(count):
            output, voxels = output_of(network, scan, part)
            rows = network.tissue(output, scan.data[voxels], scan.b1[voxels])
            misfit = (rows[4] - scan.data[voxels]).square().sum(-1)
            parts.append(torch.stack((*rows[:4], misfit)).double())
            progress(int(voxels[-1]) + 1, len(data), "network")
    t1, t2, pd, ie, misfit = torch.cat(parts, 1).numpy()
    return Fitted(t1, t2, scan.scale * pd, ie, scan.scale**2 * misfit)


def _run(
    network: Network, scan: Scan, training: Training, state: State, purpose: str, progress: Progress
) -> None:  # fmt: skip
    """Train, from `state` on if there is one."""
    network.module.train()
    optimiser, schedule = _optimiser(network, training)
    step, level = 0, float("inf")
    if state:
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        step, level = state["step"], state["level"]
    while step < training.steps and level > training.settled:
        chi = _chi_square(network, scan, drawn(scan, training.batch, training.seed, step))
        optimiser.zero_grad()
        chi.mean().backward()
        optimiser.step()
        schedule.step()
        middle = float(chi.detach().median())
        level = middle if step == 0 else _MEMORY * level + (1 - _MEMORY) * middle
        step += 1
        if training.checkpoint is not None and step % training.every == 0:
            save_network(training.checkpoint, network, training={
                "purpose": purpose, "over": False, "step": step, "level": level,
                "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(),
            })  # fmt: skip
        progress(step, training.steps, "training")
    if step < training.steps:
        progress(training.steps, training.steps, "training")
    if training.checkpoint is not None:
        save_network(training.checkpoint, network, training={"purpose": purpose, "over": True, "step": step})


def _chi_square(network: Network, scan: Scan, part: Tensor) -> Tensor:
    """Return ``|residual|^2 / noise^2`` of the voxels of a batch, ``[voxel]``."""
    output, voxels = output_of(network, scan, part)
    data = scan.data[voxels]
    told = network.tissue(output, data, scan.b1[voxels])[4]
    return ((told - data) / scan.noise[voxels, None]).square().sum(-1)


def _optimiser(
    network: Network, training: Training
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    weights = network.module.parameters()
    if training.architecture == "paper":
        optimiser = torch.optim.Adam(weights, training.rate)
        return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    optimiser = torch.optim.AdamW(weights, training.rate)
    # one step more than are taken, which the schedule would otherwise not allow after the last
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, total_steps=training.steps + 1)


def _purpose(network: Network, data: np.ndarray, b1: np.ndarray, noise: np.ndarray | float, training: Training) -> str:
    """Return a digest of all that the result depends on."""
    settings = {name: value for name, value in asdict(training).items() if name not in ("checkpoint", "every")}
    result = hashlib.sha256(repr(sorted(settings.items())).encode() + network.digest.encode())
    for array in (data, b1, np.asarray(noise)):
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def _kept(network: Network, training: Training, purpose: str) -> State:
    """Return the state of an earlier training, its weights put into `network`; empty if there is none."""
    if training.checkpoint is None or not Path(training.checkpoint).exists():
        if training.checkpoint is not None:
            require_writable(training.checkpoint)
        return {}
    kept, state = load_network(training.checkpoint)
    if state.get("purpose") != purpose:
        raise MismatchError(
            f"{training.checkpoint} is of another scan or training: give another file, or pass it as the network to "
            "begin with"
        )
    network.module.load_state_dict(kept.module.state_dict())
    return state
