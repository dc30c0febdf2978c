"""Settings that people write: TOML files, and what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pulsetwin.errors import FileError


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    FileError
        If the file cannot be read or is not TOML.
    """
    return read_toml_and_text(path)[0]


def read_toml_and_text(path: str | Path) -> tuple[dict[str, Any], str]:
    """Return the tables of a TOML file, and its text; raises as `read_toml`."""
    try:
        text = Path(path).read_text("utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the name and the permissions") from None
    except (ValueError, RecursionError) as error:  # damaged TOML, text that is not UTF-8, numbers of too many digits
        raise FileError(path, f"is not TOML ({error})", "correct it there") from None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``", did you mean 'NAME'?"`` of the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(str(name), list(known), 1, 0.4)
    return f", did you mean {near[0]!r}?" if near else ""
