"""Files and scanners that verbs are given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pulsetwin.atomic import require_writable
from pulsetwin.errors import FileError, OutputExistsError

if TYPE_CHECKING:
    from pulsetwin.scanner import Scanner


def existing(name: str, *, folder: bool = False) -> Path:
    """Return a file's path, or raise if it is missing, or a folder unless one will do."""
    path = Path(name)
    if path.is_dir() and not folder:
        raise FileError(path, "is a folder", "give the file itself")
    if not path.exists():
        raise FileError(path, "no such file", "check the path")
    return path


def writable(output: str, inputs: Iterable[str | Path], *, folder: bool = False, force: bool) -> None:
    """Raise unless `output`, a file or a `folder`, can be written without loss: before any long job, over no input."""
    for name in inputs:
        if _same(Path(output), Path(name)):
            raise OutputExistsError(f"{output} is read, and would be overwritten: give the output another name")
    require_writable(output, folder=folder, force=force)


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder, links and spellings apart."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def scanner(name: str) -> Scanner:
    """Return a preset, or the scanner of a TOML file."""
    from pulsetwin.scanner import Scanner

    return Scanner.load(name) if name.endswith(".toml") else Scanner.preset(name)
