"""Figures of a report: drawn one by one, so that one that fails costs a warning and not the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pulsetwin.export.figures import to_png
from pulsetwin.export.report import Picture
from pulsetwin.progress import Progress, silent

Planned = tuple[str, str, str, Callable[[], Any]]
"""Name, section, caption and drawing function of a figure."""


def drawn(planned: Sequence[Planned], folder: Path, progress: Progress = silent) -> tuple[list[Picture], list[str]]:
    """Return the figures, written to a new folder as ``NAME.png``, and a sentence for each that could not be drawn."""
    pictures, problems = [], []
    folder.mkdir()
    for done, (name, section, caption, draw) in enumerate(planned):
        progress(done, len(planned), "drawing figures")
        try:
            picture = Picture(name, section, caption, to_png(draw()))
        except Exception as error:
            problems.append(f"figure '{name}' could not be drawn: {error}")
            continue
        (folder / f"{name}.png").write_bytes(picture.png)
        pictures.append(picture)
    progress(len(planned), len(planned), "drawing figures")
    return pictures, problems
