"""The file that networks for RASER images are kept in, with what they are for, and their training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from pulsetwin.recon.network_file import read_network, write_network
from pulsetwin.recon.raser.network import Networks, new_networks
from pulsetwin.recon.raser.purpose import Purpose

_KIND = "RASER networks"


def save_networks(
    path: str | Path, networks: Networks, training: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> None:
    """Write networks, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    path
        The file.
    networks
        What to keep.
    training
        How they were trained, as JSON can tell it.
    state
        What a training needs to go on.
    """
    write_network(path, _KIND, {
        "purpose": asdict(networks.purpose), "weights": networks.modules.state_dict(), "training": training,
        "state": state or {}, "sha256": networks.digest,
    })  # fmt: skip


def load_networks(path: str | Path) -> tuple[Networks, dict[str, Any], dict[str, Tensor]]:
    """Return networks, how they were trained, and the state of a training that is not over.

    Raises
    ------
    FileError
        If the file holds no such networks, or is damaged.
    """
    networks, content = read_network(path, _KIND, "`pulsetwin train raser`", _built)
    return networks, content["training"], content["state"]


def _built(content: dict[str, Any]) -> Networks:
    networks = new_networks(Purpose(**content["purpose"]))
    networks.modules.load_state_dict(content["weights"])
    return networks
