"""`summary.json`: what was done, with which inputs and settings, how long it took and how well it went."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin import __version__
from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData
from pulsetwin.volume import Images

SCHEMA = 1
CHUNK = 1 << 22


def summarise(
    raw: RawData,
    images: Images,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    timings: Mapping[str, float],
    outputs: list[str],
) -> dict[str, Any]:
    """Return the content of `summary.json`; every key is described in `docs/reference/summary.md`.

    Parameters
    ----------
    raw, images
        What was read and what was reconstructed.
    settings
        The arguments of the run.
    inputs
        Role (``scan``, ``seq``, ``reference``, ...) to the facts of `file_facts`.
    timings
        Name of each step to its duration [s].
    outputs
        Paths written, relative to the output folder.
    """
    return {
        "schema": SCHEMA,
        "pulsetwin": __version__,
        "settings": dict(settings),
        "inputs": dict(inputs),
        "timings_s": dict(timings),
        "images": {
            "shape_contrast_z_y_x": images.values.shape,
            "voxel_size_mm": images.voxel_size,
            "affine_ras_mm": images.affine,
            "contrasts": images.contrasts,
        },
        "quality": dict(images.quality),
        "warnings": all_warnings(raw, images),
        "header": dict(raw.header),
        "definitions": dict(raw.definitions),
        "outputs": outputs,
    }


def all_warnings(raw: RawData, images: Images) -> list[str]:
    """Return every warning of the reader and of the reconstruction, once each, in order."""
    return list(dict.fromkeys((*raw.warnings, *images.warnings)))


def file_facts(path: str | Path, progress: Progress = silent) -> dict[str, Any]:
    """Return name, size [bytes] and SHA-256 of a file, read in parts; of a folder that of its files in turn."""
    path, digest, done = Path(path), hashlib.sha256(), 0
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        size = sum(one.stat().st_size for one in files)
        for one in files:
            with one.open("rb") as file:
                while part := file.read(CHUNK):
                    digest.update(part)
                    done += len(part)
                    progress(done, max(size, done), f"hashing {path.name}"[:28])
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    return {"file": path.name, "bytes": done, "sha256": digest.hexdigest()}


def provenance(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what a report says of where it came from: version and digests of files, by role as of `file_facts`."""
    files = {f"{role}: {one['file']}": f"SHA-256 {one['sha256']}" for role, one in inputs.items()}
    return {"pulsetwin": __version__, **files}


def to_json(content: Any) -> str:
    """Return strict JSON: arrays become lists, complex numbers [real, imaginary], and NaN and infinity null."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def write_json(path: str | Path, content: Any, *, force: bool = False) -> None:
    """Write strict JSON (see `to_json`), atomically."""
    with atomic_file(path, force=force) as temporary:
        temporary.write_text(to_json(content), encoding="utf-8")


def previous_outputs(folder: str | Path) -> tuple[str, ...]:
    """Return the outputs an earlier run in `folder` listed in its `summary.json`, none if there is no such list."""
    try:
        outputs = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(name for name in outputs if isinstance(name, str)) if isinstance(outputs, list) else ()


def _plain(value: Any) -> Any:
    """Turn numpy and other values into what strict JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
