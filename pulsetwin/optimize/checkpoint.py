"""Where a run stands, in a file: tensors, numbers and names only, written whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError

_WHAT = "pulsetwin optimisation"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, replacing an older one in one rename.

    Parameters
    ----------
    path
        File to write; its folder is made.
    state
        Tensors, numbers, texts, and lists and dicts of them.
    """
    with atomic_file(path, force=True) as temporary:
        torch.save({"what": _WHAT, **state}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state that a checkpoint holds; no code in it is run.

    Raises
    ------
    FileError
        If the file is missing, damaged, or no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileError(path, "no such checkpoint", "begin the run anew without --resume") from None
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise FileError(path, "the checkpoint is damaged", "delete it and begin the run anew") from error
    if not isinstance(state, dict) or state.get("what") != _WHAT:
        raise FileError(path, "is no checkpoint of an optimisation", "delete it and begin the run anew")
    return state
