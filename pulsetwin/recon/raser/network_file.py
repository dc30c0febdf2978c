"""The file that networks for RASER images are kept in: safetensors, with what they are for, and their training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError
from pulsetwin.recon.network_file import digest_of
from pulsetwin.recon.raser.network import Networks, new_networks
from pulsetwin.recon.raser.purpose import Purpose

_KIND = "pulsetwin RASER networks 1"
_STATE = "state."  # of names of tensors that are no weights


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
    purpose = json.dumps(asdict(networks.purpose), sort_keys=True)
    told = {
        "format": _KIND, "purpose": purpose, "training": json.dumps(dict(training)),
        "sha256": digest_of(purpose, networks.modules),
    }  # fmt: skip
    tensors = networks.modules.state_dict() | {f"{_STATE}{name}": one for name, one in (state or {}).items()}
    with atomic_file(path, force=True) as temporary:
        save_file({name: one.contiguous() for name, one in tensors.items()}, temporary, told)


def load_networks(path: str | Path) -> tuple[Networks, dict[str, Any], dict[str, Tensor]]:
    """Return networks, how they were trained, and the state of a training that is not over.

    Raises
    ------
    FileError
        If the file holds no such networks, or is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            told, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileError(path, "cannot be read as networks", "train them by: pulsetwin train raser") from error
    if told.get("format") != _KIND:
        raise FileError(path, "holds no RASER networks of pulsetwin", "train them by: pulsetwin train raser")
    state = {name.removeprefix(_STATE): tensors.pop(name) for name in list(tensors) if name.startswith(_STATE)}
    try:
        networks = new_networks(Purpose(**json.loads(told["purpose"])))
        networks.modules.load_state_dict(tensors)
        training, digest = json.loads(told["training"]), told["sha256"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(path, "has weights of other networks", "train them anew") from error
    if digest_of(told["purpose"], networks.modules) != digest:
        raise FileError(path, "was changed: its weights do not match their SHA-256", "train them anew")
    return networks, training, state
