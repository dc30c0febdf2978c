"""The file a trained network is kept in: its weights, what they are for, and a digest by which damage shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError

_VERSION = 1


class Digested(Protocol):
    """A network that tells the SHA-256 of its weights and of what they are for."""

    @property
    def digest(self) -> str:
        """SHA-256, as of `digest_of`."""


Network = TypeVar("Network", bound=Digested)


def digest_of(about: str, module: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and of what they are for."""
    result = hashlib.sha256(about.encode())
    for name, value in sorted(module.state_dict().items()):
        result.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return result.hexdigest()


def write_network(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    path
        The file.
    kind
        Of network, as ``QALAS network``.
    content
        Tensors, numbers and text, its `digest` as ``sha256`` among them.
    """
    with atomic_file(path, force=True) as temporary:
        torch.save({"format": f"pulsetwin {kind}", "version": _VERSION, **content}, temporary)


def read_network(
    path: str | Path, kind: str, writer: str, build: Callable[[dict[str, Any]], Network]
) -> tuple[Network, dict[str, Any]]:
    """Return a network and the content of its file. No code of the file is run.

    Parameters
    ----------
    path
        The file.
    kind
        Of network, as `write_network` was told.
    writer
        Name of the function that writes such files.
    build
        From the content to the network.

    Raises
    ------
    FileError
        If the file is no network, of another version, or damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, torch.serialization.pickle.UnpicklingError) as error:
        raise FileError(path, "cannot be read as a network", "train it anew") from error
    if not isinstance(content, dict) or content.get("format") != f"pulsetwin {kind}":
        raise FileError(path, f"is no {kind} of pulsetwin", f"give one that {writer} wrote")
    if content.get("version") != _VERSION:
        raise FileError(path, f"is of version {content.get('version')}, not {_VERSION}", "train it anew")
    try:
        network, digest = build(content), content["sha256"]
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise FileError(path, "has weights of another network", "train it anew") from error
    if network.digest != digest:
        raise FileError(path, "was changed: its weights do not match their SHA-256", "train it anew")
    return network, content
