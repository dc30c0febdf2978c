"""Outputs that appear whole or not at all: written beside the target under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pulsetwin.errors import OutputExistsError


def require_writable(path: str | Path, *, folder: bool = False, force: bool = False) -> None:
    """Raise `OutputExistsError` unless a file or a folder can be written at `path`: call it before any long job.

    Parameters
    ----------
    path
        Where the output is to appear; where a folder is wanted, an empty one counts as absent.
    folder
        Whether it is a folder, rather than a file.
    force
        Whether an existing output of that kind may be replaced.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise OutputExistsError(f"{path} is a folder; give the name of a file")
    if folder and os.path.lexists(path) and not path.is_dir():
        raise OutputExistsError(f"{path} is a file; give the name of a folder")
    if _occupied(path) and not force:
        raise OutputExistsError(f"{path} exists already; choose another name, or pass --force to replace it")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise OutputExistsError(f"{path} cannot be written: {parent} is a file; choose another place")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputExistsError(f"{path} cannot be written: no permission to write in {parent}; choose another place")


@contextmanager
def atomic_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; move it to `path` when the block ends without an error.

    Parameters
    ----------
    path
        The file to appear; its folder is created. The temporary name keeps the suffix.
    force
        Whether to replace an existing file.

    Raises
    ------
    OutputExistsError
        If `path` exists and `force` is false, or if it is a folder.
    """
    path = Path(path)
    require_writable(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        yield temporary
        require_writable(path, force=force)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, force: bool = False, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill; move it to `path` when the block ends without an error.

    A new folder appears in one rename. With `force`, an existing folder stays: each of its files that has a new
    version is replaced in one rename, `stale` files go, and everything else in it is left untouched.

    Parameters
    ----------
    path
        The folder to appear.
    force
        Whether to replace files of a folder that is not empty.
    stale
        Relative paths of an earlier output, removed from an existing folder unless written anew.

    Raises
    ------
    OutputExistsError
        If `path` is not empty and `force` is false, or if it is a file.
    """
    path = Path(path)
    require_writable(path, folder=True, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path.absolute())
    temporary.mkdir()
    try:
        yield temporary
        require_writable(path, folder=True, force=force)
        _move(temporary, path, stale)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _occupied(path: Path) -> bool:
    """Whether something would be overwritten at `path`."""
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _sibling(path: Path) -> Path:
    """Return an unused hidden name in the same folder, with the same suffix (and, when made, the usual rights)."""
    return path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")


def _move(temporary: Path, path: Path, stale: tuple[str, ...]) -> None:
    """Move a filled folder to `path`, into it where it exists."""
    if not _occupied(path):
        os.replace(temporary, path)
        return
    written = [file.relative_to(temporary) for file in sorted(temporary.rglob("*")) if not file.is_dir()]
    _require_replaceable(path, written)
    for name in stale:
        if Path(name) not in written and _inside(path, name):
            (path / name).unlink(missing_ok=True)
    for name in written:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary / name, path / name)


def _require_replaceable(path: Path, written: list[Path]) -> None:
    """Raise before the first file moves if a folder stands where a file must go, or a file where a folder must."""
    for name in written:
        if (path / name).is_dir():
            raise OutputExistsError(f"{path / name} is a folder; move it away, or choose another output")
        if (path / name).parent.exists() and not (path / name).parent.is_dir():
            raise OutputExistsError(f"{(path / name).parent} is a file; move it away, or choose another output")


def _inside(folder: Path, name: str) -> bool:
    """Whether `name` is a plain file inside `folder`, so that a tampered list cannot reach outside."""
    file = folder / name
    return file.is_file() and folder.resolve() in file.resolve().parents
