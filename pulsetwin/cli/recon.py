"""The verb `recon`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar

_GIB = 1 << 30
_SETTINGS = ("method", "coils", "memory", "partial", "trust_seq", "double", "device")


def recon(options: argparse.Namespace) -> int:
    """Reconstruct a scan into a folder of images, figures and a report."""
    inputs = _inputs(options)
    writable(options.output, inputs.values(), force=options.force)
    from pulsetwin.export.recon_output import write_recon
    from pulsetwin.recon.read import read
    from pulsetwin.recon.reconstruct import reconstruct

    timings: dict[str, float] = {}
    progress = bar()
    reading = {"partial": options.partial, "trust_seq": options.trust_seq, "progress": progress}
    with _timed(timings, "read"):
        raw = read(options.scan, options.seq, noise=options.noise, **reading)
    reference = None
    if options.reference:
        with _timed(timings, "read the reference"):
            reference = read(options.reference, options.reference_seq, **reading)
    with _timed(timings, "reconstruct"):
        images = reconstruct(
            raw,
            reference=reference,
            method=options.method,
            coils=options.coils,
            memory=None if options.memory is None else int(options.memory * _GIB),
            precision="double" if options.double else "single",
            device=options.device,
            progress=progress,
        )
    settings = {name: getattr(options, name) for name in _SETTINGS}
    kept = {"settings": settings, "inputs": inputs, "timings": timings, "extras": images.extras}
    outputs = write_recon(options.output, raw, images, **kept, force=options.force, progress=progress)
    _report(Path(options.output), images, outputs)
    return 0


def _inputs(options: argparse.Namespace) -> dict[str, Path]:
    """Return role to input file, after checking that they exist and that no option is left without its partner."""
    if options.reference_seq and not options.reference:
        raise ProtocolError("--reference-seq needs --reference: give the raw data of the reference too")
    if options.trust_seq and not options.seq:
        raise ProtocolError("--trust-seq needs --seq: give the .seq to trust")
    roles = ("scan", "seq", "reference", "reference_seq", "noise")
    return {role: existing(getattr(options, role)) for role in roles if getattr(options, role)}


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Record how long a step takes [s]."""
    began = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - began


def _report(out: Path, images: Any, outputs: Sequence[str]) -> None:
    """Tell where everything is and how well it went; every warning goes to stderr."""
    from pulsetwin.export.report import quality_words

    contrasts, z, y, x = images.values.shape
    drawn = [Path(name).stem for name in outputs if name.startswith("figures/")]
    lines = [
        f"images   {out / 'images.nii.gz'}  ({x} x {y} x {z} voxels, contrasts: {contrasts})",
        f"figures  {out / 'figures'}{os.sep}  ({', '.join(drawn)})",
        f"report   {out / 'report.html'}",
    ]
    lines += ["quality  {}: {}".format(*quality_words(name, value)) for name, value in images.quality.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stderr.write("".join(f"warning: {' '.join(warning.split())}\n" for warning in images.warnings))
