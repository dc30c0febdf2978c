"""Make docs/gallery.md and its figures: `python docs/make_gallery.py`, or with names of sequences to draw only those.

Each sequence of the library is designed by the line that the page shows, and drawn by `pulsetwin plot`.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from pulsetwin.cli import main
from pulsetwin.export.diagram import diagram
from pulsetwin.export.diagram_window import window_of_repetition
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, summary
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq

DOCS = Path(__file__).resolve().parent
SCANNER = "siemens-prisma"
SETTINGS = {
    "flash": ("echoes=3", "tr=15ms"),
    "mprage": ("matrix=128,120,88", "ti=900ms"),
    "radial": ("spokes=64",),
    "rare": ("order=centric",),
    "ute": ("matrix=64,64,64", "spokes=4000"),
}
REPETITION = {"b1_turbo_flash": 65, "saturation_recovery": 8}
DPI, COLOURS = 80, 255
INTRODUCTION = """# Gallery

What `pulsetwin design` makes and `pulsetwin plot` draws: the first repetition that acquires, with the limits of the
scanner as dashed lines, and the k-space of the scan, with this repetition's readouts in red, or of the repetition where
it samples all of it. Each line below makes its sequence; settings that are not given have their defaults (`pulsetwin
design NAME --help`). An ending `.html` instead of `.png` makes a page to zoom in. This page is made by `python
docs/make_gallery.py`.
"""


def design_line(name: str, output: str) -> list[str]:
    """Return the arguments of `pulsetwin` that design a sequence."""
    settings = [word for setting in SETTINGS.get(name, ()) for word in ("--set", setting)]
    return ["design", name, "--scanner", SCANNER, *settings, "-o", output]


def draw(name: str, folder: Path) -> None:
    """Design a sequence and write its diagram, in few colours."""
    path = folder / f"{name}.seq"
    if main(design_line(name, str(path))):
        raise SystemExit(f"{name} cannot be designed")
    picture = io.BytesIO()
    seq = read_seq(path)
    window = window_of_repetition(seq, played_readouts(seq), REPETITION.get(name, 1))
    diagram(seq, scanner=Scanner.preset(SCANNER), window=window).savefig(picture, format="png", dpi=DPI)
    small = Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(DOCS / "figures" / "gallery" / f"{name}.png", optimize=True)


def write_page() -> None:
    """Write the page from what the library says of its sequences."""
    parts = [INTRODUCTION]
    for name in NAMES:
        line = " ".join(["pulsetwin", *design_line(name, f"{name}.seq")])
        chosen = f" --tr {REPETITION[name]}" if name in REPETITION else ""
        plot = f"pulsetwin plot {name}.seq --scanner {SCANNER}{chosen} -o {name}.png"
        figure = f"![Diagram and k-space of {name}](figures/gallery/{name}.png)"
        parts.append(f"## {name}\n\n{summary(name)}\n\n```\n{line}\n{plot}\n```\n\n{figure}\n")
    (DOCS / "gallery.md").write_text("\n".join(parts), "utf-8")


if __name__ == "__main__":
    (DOCS / "figures" / "gallery").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for chosen in sys.argv[1:] or NAMES:
            draw(chosen, Path(temporary))
    write_page()
