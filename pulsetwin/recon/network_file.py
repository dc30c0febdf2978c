"""The file a trained network is kept in: safetensors, with what its weights are for, and a digest against damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError

_VERSION = 2
_TENSOR, _ITEMS = "tensor", "items"


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
        Tensors, numbers and text, and dicts and lists of them; its `digest` as ``sha256`` among them.
    """
    tensors: dict[str, Tensor] = {}
    told = json.dumps(_without_tensors(content, "", tensors))
    with atomic_file(path, force=True) as temporary:
        about = {"format": f"pulsetwin {kind}", "version": str(_VERSION), "content": told}
        temporary.write_bytes(_ordered(save(tensors, about)))


def _ordered(file: bytes) -> bytes:
    """Return a safetensors file with its header sorted, whose metadata come in random order: equal for equal content.

    The file is the header's length in 8 bytes, the header, JSON that spaces fill to a multiple of 8, and the tensors.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


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
        with safe_open(path, "pt") as file:
            about, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileError(path, "cannot be read as a network", "train it anew") from error
    if about.get("format") != f"pulsetwin {kind}":
        raise FileError(path, f"is no {kind} of pulsetwin", f"give one that {writer} wrote")
    if about.get("version") != str(_VERSION):
        raise FileError(path, f"is of version {about.get('version')}, not {_VERSION}", "train it anew")
    try:
        content = _with_tensors(json.loads(about["content"]), tensors)
        network, digest = build(content), content["sha256"]
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise FileError(path, "has weights of another network", "train it anew") from error
    if network.digest != digest:
        raise FileError(path, "was changed: its weights do not match their SHA-256", "train it anew")
    return network, content


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested values as JSON can tell them, their tensors put into `tensors`."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):  # as pairs, since keys need not be text
        return {_ITEMS: [[key, _without_tensors(one, f"{name}/{key}", tensors)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(one, f"{name}/{place}", tensors) for place, one in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return nested values as they were, tuples as lists."""
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(one, tensors) for key, one in value[_ITEMS]}
    return [_with_tensors(one, tensors) for one in value] if isinstance(value, list) else value
