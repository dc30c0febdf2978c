"""Small networks from channels of an image to others: voxel by voxel, or with each voxel's neighbours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.network_file import digest_of, read_network, write_network

_KIND = "image network"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is made of: convolutions, each but the last with a rectifier.

    Parameters
    ----------
    inputs, outputs
        Channels.
    width
        Channels between layers.
    layers
        Hidden ones, at least 1.
    kernel
        Voxels along an edge of what a convolution sees, odd: 1 is a multilayer perceptron of each voxel.
    """

    inputs: int
    outputs: int
    width: int = 64
    layers: int = 3
    kernel: int = 1


@dataclass(frozen=True, slots=True)
class ImageNetwork:
    """A network and what it is for.

    Parameters
    ----------
    architecture
        Of the module.
    purpose
        What its inputs and outputs are: numbers, texts and lists of them.
    module
        Maps ``[image, input, y, x]`` to ``[image, output, y, x]``, float32.
    """

    architecture: Architecture
    purpose: dict[str, Any]
    module: nn.Module

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what they are for."""
        return digest_of(json.dumps([asdict(self.architecture), self.purpose], sort_keys=True), self.module)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Weights by name, detached."""
        return {name: value.detach() for name, value in self.module.state_dict().items()}

    def __call__(self, channels: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the outputs ``[image, output, y, x]`` of ``[image, input, y, x]``, by other `weights` if given."""
        if weights is None:
            return self.module(channels)
        return torch.func.functional_call(self.module, dict(weights), (channels,))

    def with_weights(self, weights: Mapping[str, Tensor]) -> ImageNetwork:
        """Return the network with other weights."""
        other = new_image_network(self.architecture, self.purpose)
        other.module.load_state_dict(weights)
        return other


def new_image_network(architecture: Architecture, purpose: Mapping[str, Any], *, seed: int = 0) -> ImageNetwork:
    """Return a network with random weights.

    Parameters
    ----------
    architecture
        What it is made of.
    purpose
        What it is for.
    seed
        Of the weights; nothing else draws from it.

    Raises
    ------
    ProtocolError
        If a number is below 1, or the kernel even.
    """
    a = architecture
    if min(asdict(a).values()) < 1 or a.kernel % 2 == 0:
        raise ProtocolError(f"network of {a}: give numbers of 1 or more, and an odd kernel")
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for before in (a.inputs, *(a.layers - 1) * (a.width,)):
            layers += [nn.Conv2d(before, a.width, a.kernel, padding=a.kernel // 2), nn.ReLU()]
        layers.append(nn.Conv2d(a.width, a.outputs, a.kernel, padding=a.kernel // 2))
    return ImageNetwork(a, dict(purpose), nn.Sequential(*layers))


def save_image_network(path: str | Path, network: ImageNetwork) -> None:
    """Write a network, whole or not at all; an existing file is replaced."""
    content = {
        "architecture": asdict(network.architecture), "purpose": network.purpose,
        "weights": network.module.state_dict(), "sha256": network.digest,
    }  # fmt: skip
    write_network(path, _KIND, content)


def load_image_network(path: str | Path) -> ImageNetwork:
    """Return a network. No code of the file is run.

    Raises
    ------
    FileError
        If the file is no network, of another version, or damaged.
    """
    return read_network(path, _KIND, "save_image_network", _rebuilt)[0]


def _rebuilt(content: Mapping[str, Any]) -> ImageNetwork:
    network = new_image_network(Architecture(**content["architecture"]), content["purpose"])
    network.module.load_state_dict(content["weights"])
    return network
