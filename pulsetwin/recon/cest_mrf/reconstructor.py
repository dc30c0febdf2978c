"""The network that tells exchange parameters from a voxel's images and known maps, and the file it is kept in.

A voxel at a time: its normalised signals and what is known of it (T1, T2, B0, B1 ...) go through fully connected layers
to a share of each parameter's range. Inputs are centred and scaled by what was seen in training, and nothing depends on
which voxels are told together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pulsetwin.errors import MismatchError, ShapeError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.cest_mrf.problem import Bounds, Estimate, Known, Problem, predicted_in_blocks
from pulsetwin.recon.network_file import digest_of, read_network, write_network

_KIND = "CEST-MRF network"
_WIDTH, _HIDDEN = 256, 3
_LEAST_SPREAD = 1e-6
_BLOCK = 1 << 15  # voxels told at a time


@dataclass(frozen=True, slots=True)
class Reconstructor:
    """A network and what it is for.

    Parameters
    ----------
    free
        What it tells, and between which bounds.
    given
        Names of the known parameters it sees, in their order after the signals.
    purpose
        `purpose_of` the measurement.
    module
        From features ``[voxel, measurement + given]`` to the place in each range before the sigmoid, ``[voxel, free]``.
    """

    free: dict[str, tuple[float, float]]
    given: tuple[str, ...]
    purpose: str
    module: nn.Sequential

    def tell(self, seen: Tensor) -> Tensor:
        """Return parameters ``[voxel, free]``, float64, of features ``[voxel, measurement + given]``."""
        low, high = torch.tensor(list(self.free.values()), dtype=torch.float64).T
        return low + (high - low) * torch.sigmoid(self.module(seen).double())

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what they are for."""
        return digest_of(json.dumps([self.free, self.given, self.purpose]), self.module)


class _Standardised(nn.Module):
    """Features of mean 0 and standard deviation 1, as they were in training."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))

    def forward(self, seen: Tensor) -> Tensor:
        return (seen - self.middle) / self.spread


def new_reconstructor(
    problem: Problem, free: Bounds, seen: Tensor, given: Sequence[str], *, seed: int
) -> Reconstructor:
    """Return a network with random weights.

    Parameters
    ----------
    problem
        What is measured.
    free
        What is sought.
    seen
        Features to standardise by, ``[voxel, measurement + given]``.
    given
        Names of the known parameters.
    seed
        Of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _layers(seen.shape[1], len(free))
    first = module[0]
    # float64, in which the mean of equal float32 values is that value
    first.middle.copy_(seen.double().mean(0))
    spread = seen.double().std(0, correction=0)
    first.spread.copy_(torch.where(spread > _LEAST_SPREAD, spread, 1.0))
    ranges = {name: (float(low), float(high)) for name, (low, high) in free.items()}
    return Reconstructor(ranges, tuple(given), purpose_of(problem, (*free, *given)), module)


def features(data: np.ndarray, given: Known) -> Tensor:
    """Return what a network sees, float32 ``[voxel, measurement + given]``.

    Raises
    ------
    ShapeError
        If a known parameter has not a value for each voxel.
    """
    for name, values in given.items():
        if np.shape(values) != (len(data),):
            raise ShapeError(f"{name} has the shape {np.shape(values)} where {len(data)} voxels need a value each")
    return torch.from_numpy(np.column_stack((data, *given.values())).astype(np.float32))


def estimated(
    reconstructor: Reconstructor, data: np.ndarray, problem: Problem, given: Known, *, threads: int = 1,
    progress: Progress = silent,
) -> Estimate:  # fmt: skip
    """Return what a network tells of voxels, and how well that explains them.

    Parameters
    ----------
    reconstructor
        That was trained.
    data
        Normalised signals, ``[voxel, measurement]``.
    problem
        What was measured.
    given
        What is known of each voxel.
    threads
        Of the simulation.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    MismatchError
        If the network was trained for another measurement or other known parameters.
    """
    check_purpose(reconstructor, problem, reconstructor.free, given)
    ordered = {name: given[name] for name in reconstructor.given}
    told = told_values(reconstructor, data, ordered)
    names = [*reconstructor.free, *ordered]
    table = np.column_stack((told, *ordered.values()))
    signals = predicted_in_blocks(problem, names, table, threads, progress, "residual")
    return Estimate(dict(zip(reconstructor.free, told.T, strict=True)), {}, np.square(signals - data).sum(1))


def told_values(reconstructor: Reconstructor, data: np.ndarray, given: Known) -> np.ndarray:
    """Return what a network tells of voxels, ``[voxel, free]``; `given` in the network's order."""
    with torch.inference_mode():
        parts = [reconstructor.tell(part) for part in features(data, given).split(_BLOCK)]
    return torch.cat(parts).numpy()


def check_purpose(reconstructor: Reconstructor, problem: Problem, free: Bounds, given: Known) -> None:
    """Raise a `MismatchError` if a network is not for this measurement, these bounds and these known parameters."""
    if set(reconstructor.given) != set(given):
        needs, has = ("; ".join(sorted(names)) or "none" for names in (reconstructor.given, given))
        raise MismatchError(f"the network sees the maps {needs}, given are {has}: give those it was trained with")
    if dict(reconstructor.free) != {name: tuple(bounds) for name, bounds in free.items()}:
        raise MismatchError(f"the network tells {reconstructor.free}, sought are {dict(free)}: seek what it tells")
    if reconstructor.purpose != purpose_of(problem, (*reconstructor.free, *reconstructor.given)):
        raise MismatchError("the network was trained for another sequence, pool model or normalisation: train it anew")


def purpose_of(problem: Problem, varied: Sequence[str]) -> str:
    """Return a digest of all that signals depend on besides the parameters that are `varied`."""
    model, program = problem.model, problem.program
    fixed = {name: value for name, value in model.parameters() if name not in varied}
    field = model.b0, model.gamma, model.scale, [(pool.name, pool.lineshape) for pool in model.pools]
    result = hashlib.sha256(json.dumps([fixed, field, problem.observe, problem.normalisation, program.mode]).encode())
    for array in (
        program.frequency, program.amplitude, program.duration, program.turn, program.chain, program.product,
        program.product_turn, program.path, program.path_turn,
    ):  # fmt: skip
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def save_reconstructor(path: str | Path, reconstructor: Reconstructor) -> None:
    """Write a network, whole or not at all; an existing file is replaced."""
    content = {
        "free": reconstructor.free, "given": list(reconstructor.given), "purpose": reconstructor.purpose,
        "weights": reconstructor.module.state_dict(), "sha256": reconstructor.digest,
    }  # fmt: skip
    write_network(path, _KIND, content)


def load_reconstructor(path: str | Path) -> Reconstructor:
    """Return a network. No code of the file is run.

    Raises
    ------
    FileError
        If the file is no network, of another version, or damaged.
    """
    return read_network(path, _KIND, "save_reconstructor", _rebuilt)[0]


def _rebuilt(content: Mapping[str, Any]) -> Reconstructor:
    module = _layers(len(content["weights"]["0.middle"]), len(content["free"]))
    module.load_state_dict(content["weights"])
    free = {name: (low, high) for name, (low, high) in content["free"].items()}
    return Reconstructor(free, tuple(content["given"]), content["purpose"], module)


def _layers(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = [_Standardised(inputs)]
    for before in (inputs, *(_HIDDEN - 1) * (_WIDTH,)):
        layers += [nn.Linear(before, _WIDTH), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(_WIDTH, outputs))
