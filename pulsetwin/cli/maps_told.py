"""The end of every method of the verb `map`: maps are written, and what they hold is told."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.export.maps_output import Mapped


def write_and_tell(
    options: argparse.Namespace, mapped: Mapped, inputs: Mapping[str, Path], timings: Mapping[str, float]
) -> int:
    """Write the folder of maps that the options name, tell what it holds, and return the verb's exit status."""
    from pulsetwin.export.maps_output import write_mapping

    bids = getattr(options, "bids", None)
    outputs = write_mapping(
        options.output, mapped, inputs=inputs, timings=timings, protocol={}, bids=bids, force=options.force,
        progress=bar(),
    )  # fmt: skip
    tell(Path(options.output), mapped, outputs)
    for name, figures in mapped.agreement.items():
        told = ", ".join(f"{one} {value:.4g}" for one, value in figures.items())
        sys.stdout.write(f"agreement {name}: {told}\n")
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in mapped.maps.warnings))
    return 0


def tell(out: Path, mapped: Mapped, outputs: Sequence[str]) -> None:
    """Tell where maps are and what they hold."""
    first = next(iter(mapped.maps.volumes.values()))
    lines = [
        f"maps     {out / 'maps'}{os.sep}  ({', '.join(sorted(mapped.maps.volumes))}; {int(first.valid.sum())} voxels)"
    ]
    for region in mapped.regions:
        t1, t2 = (1e3 * region.values[name][0] for name in ("T1", "T2"))
        lines.append(f"region   {region.name}: T1 {t1:.0f} ms, T2 {t2:.1f} ms, {region.voxels} voxels")
    if "report.html" in outputs:
        lines.append(f"report   {out / 'report.html'}")
    sys.stdout.write("\n".join(lines) + "\n")
