"""Networks from QALAS signals and B1 to T1, T2, proton density and inversion efficiency, and the file they are kept in.

``fast`` sees one voxel: its signals over their length, and B1. The proton density is what fits best (projection), so
the network need not know the scale. ``paper`` is that of Jun et al. 2023, with B1 as a sixth image: it normalises each
feature over the slice, so that a voxel's values depend on its slice; T1, T2 and density come from linear heads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.network_file import digest_of, read_network, write_network
from pulsetwin.recon.qalas.fit import EFFICIENCY_RANGE, T1_RANGE, T2_RANGE
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming

ARCHITECTURES = ("fast", "paper")
_KIND = "QALAS network"
_WIDTH = 64
_PAPER_T1, _PAPER_T2 = 5.0, 2.5  # what the paper's heads reach [s]
_SLOPE = 0.2  # of the paper's rectifiers


@dataclass(frozen=True, slots=True)
class Network:
    """A network and what it is for.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    timing
        Of the sequence whose signals it was trained on.
    ie
        Bounds of the inversion efficiency that it tells.
    module
        Maps features ``[voxel, 6]`` to ``[voxel, 3]`` (``fast``) or ``[slice, 6, y, x]`` to ``[slice, 4, y, x]``.
    """

    architecture: str
    timing: QalasTiming
    ie: tuple[float, float]
    module: nn.Module

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what they are for."""
        about = {"architecture": self.architecture, "timing": _plain(self.timing), "ie": list(self.ie)}
        return digest_of(json.dumps(about, sort_keys=True), self.module)

    def tissue(self, output: Tensor, data: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return T1, T2 [s], PD, efficiency ``[voxel]`` and the signals that these give ``[voxel, 5]``.

        Parameters
        ----------
        output
            Of `module`, ``[voxel, head]``.
        data
            Signals with their signs, ``[voxel, 5]``; of ``paper`` in units of `unit`.
        b1
            Relative transmit field, ``[voxel]``.
        """
        share = torch.sigmoid(output).unbind(-1)
        low, high = self.ie
        ie = low + (high - low) * share[2]
        if self.architecture == "fast":
            t1, t2 = (
                least * (most / least) ** part for part, (least, most) in zip(share, (T1_RANGE, T2_RANGE), strict=False)
            )
            shape = signals(self.timing, t1, t2, ie=ie, b1=b1)
            pd = (shape * data).sum(-1) / shape.square().sum(-1).clamp_min(1e-20)
        else:
            t1, t2, pd = _PAPER_T1 * share[0], _PAPER_T2 * share[1], share[3] / math.sin(self.timing.flip_angles[-1])
            shape = signals(self.timing, t1.clamp_min(T1_RANGE[0]), t2.clamp_min(T2_RANGE[0]), ie=ie, b1=b1)
        return t1, t2, pd, ie, pd[:, None] * shape


def new_network(
    architecture: str, timing: QalasTiming, ie: tuple[float, float] = EFFICIENCY_RANGE, *, seed: int = 0
) -> Network:
    """Return a network with random weights.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    timing
        Of the sequence.
    ie
        Bounds of the inversion efficiency.
    seed
        Of the weights; nothing else draws from it.
    """
    if architecture not in ARCHITECTURES:
        raise ProtocolError(f"no QALAS network {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(architecture, timing, ie, _fast() if architecture == "fast" else _paper())


def save_network(path: str | Path, network: Network, *, training: Mapping[str, Any] | None = None) -> None:
    """Write a network, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    path
        The file.
    network
        What to keep.
    training
        State of a training that is to go on: tensors, numbers and text only.
    """
    content = {
        "architecture": network.architecture, "timing": _plain(network.timing), "ie": list(network.ie),
        "weights": network.module.state_dict(), "sha256": network.digest, "training": dict(training or {}),
    }  # fmt: skip
    write_network(path, _KIND, content)


def load_network(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Return a network and the state of its training, empty if that is over. No code of the file is run.

    Raises
    ------
    FileError
        If the file is no network, of another version, or damaged.
    """
    network, content = read_network(path, _KIND, "save_network", _rebuilt)
    return network, content["training"]


def _rebuilt(content: Mapping[str, Any]) -> Network:
    timing = {name: tuple(x) if isinstance(x, list) else x for name, x in content["timing"].items()}
    network = new_network(content["architecture"], QalasTiming(**timing), tuple(content["ie"]))
    network.module.load_state_dict(content["weights"])
    return network


def features(architecture: str, data: Tensor, b1: Tensor) -> Tensor:
    """Return what the network sees of each voxel, ``[voxel, 6]``.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    data
        Signals with their signs, ``[voxel, 5]``; of ``paper`` in units of `unit`.
    b1
        Relative transmit field, ``[voxel]``.
    """
    if architecture == "fast":
        data = 2 * data / data.norm(dim=-1, keepdim=True).clamp_min(1e-20)
        b1 = 4 * (b1 - 1)  # inputs of a size near 1
    return torch.cat((data, b1[:, None]), -1)


def unit(data: Tensor) -> Tensor:
    """Return the signal that counts as 1.

    The paper's density head ends at ``1 / sin(flip)``: in units of the largest signal, tissue that is not at
    equilibrium when it is measured would need more, and its T1 would come out a third too short.
    """
    strong = data[:, -1].abs().double()
    return 3 * strong.kthvalue(max(math.ceil(0.999 * len(strong)), 1)).values.float()


def _fast() -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (CONTRASTS + 1, _WIDTH, _WIDTH):
        layers += [nn.Linear(before, _WIDTH), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(_WIDTH, 3))


def _paper() -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (CONTRASTS + 1, _WIDTH, _WIDTH, _WIDTH):
        layers += [nn.Conv2d(before, _WIDTH, 1, bias=False), nn.InstanceNorm2d(_WIDTH), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(_WIDTH, 4, 1, bias=False))


def _plain(timing: QalasTiming) -> dict[str, Any]:
    return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(timing).items()}
