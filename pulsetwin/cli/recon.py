"""The verb `recon`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.cli import map_cest, recon_raser
from pulsetwin.cli.files import existing, writable
from pulsetwin.cli.map_companions import by_network, of_scan
from pulsetwin.cli.map_qalas import INPUTS, check, given, map_images
from pulsetwin.cli.maps_told import tell
from pulsetwin.cli.timed import timed
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.rawdata import RawData
    from pulsetwin.recon.image_network import ImageNetwork
    from pulsetwin.volume import Images

_GIB = 1 << 30
_SETTINGS = ("method", "coils", "memory", "partial", "trust_seq", "double", "device")
_QALAS = {"T2prepStart", "InversionStart"}  # definitions that tell a QALAS
_GENERAL = ("reference", "memory", "double", "device")
_ROLES = (
    "scan", "seq", "reference", "reference_seq", "noise", "t1_network", "image_network", *INPUTS, *map_cest.SCAN_INPUTS,
    *recon_raser.INPUTS,
)  # fmt: skip
_FOLDERS = ("scan", "noise")  # that may be folders of a Spinsolve


def recon(options: argparse.Namespace) -> int:
    """Reconstruct a scan into a folder of images, figures and a report."""
    inputs = _inputs(options)
    writable(options.output, inputs.values(), folder=True, force=options.force)
    check(options, inputs.values())
    map_cest.check_scan(options)
    network, settings = _repair_network(options)
    from pulsetwin.export.recon_output import write_recon
    from pulsetwin.recon.read import read

    timings: dict[str, float] = {}
    progress = bar()
    reading = {"partial": options.partial, "trust_seq": options.trust_seq, "progress": progress}
    with timed(timings, "read"):
        raw = read(options.scan, options.seq, noise=options.noise, **reading)
    reference = None
    if options.reference:
        with timed(timings, "read the reference"):
            reference = read(options.reference, options.reference_seq, **reading)
    settings = {name: getattr(options, name) for name in _SETTINGS} | settings
    if recon_raser.wanted(raw, options):
        settings |= recon_raser.settings(options)
    with timed(timings, "reconstruct"):
        images = _images(raw, reference, network, options)
    mapped = _mapped(raw, images, options, timings)
    kept = {"settings": settings, "inputs": inputs, "timings": timings, "extras": images.extras}
    kept |= {"mapped": mapped, "bids": options.bids}
    outputs = write_recon(options.output, raw, images, **kept, force=options.force, progress=progress)
    _report(Path(options.output), images, outputs)
    if mapped is not None:
        tell(Path(options.output), mapped, ())
        images = replace(images, warnings=tuple(dict.fromkeys((*images.warnings, *mapped.maps.warnings))))
    sys.stderr.write("".join(f"warning: {' '.join(warning.split())}\n" for warning in images.warnings))
    return 0


def _images(
    raw: RawData, reference: RawData | None, network: ImageNetwork | None, options: argparse.Namespace
) -> Images:
    """Return the images: volumes of a QALAS are resolved by echo, unless a method is asked for."""
    if network is not None:
        from pulsetwin.recon.image_repair import reconstruct_repaired
        from pulsetwin.sim.timeline_from_seq import timeline_from_seq

        return reconstruct_repaired(raw, timeline_from_seq(options.seq), network, progress=bar())
    if options.method == "auto" and raw.definitions.keys() >= _QALAS:
        for name in _GENERAL:
            if getattr(options, name) not in (None, False, "cpu"):
                raise ProtocolError(f"--{name} is not for volumes of a QALAS resolved by echo: pass --method sense too")
        from pulsetwin.recon.qalas.volume import reconstruct_qalas

        return reconstruct_qalas(raw, coils=options.coils, progress=bar())
    if recon_raser.wanted(raw, options):
        for name in (*_GENERAL, "coils", "noise"):
            if getattr(options, name) not in (None, False, "cpu"):
                raise ProtocolError(f"--{name} is not for a RASER scan: leave it out")
        if options.map_method != "fit":
            raise ProtocolError("--maps is not for a RASER scan: leave it out")
        return recon_raser.images(raw, options)
    from pulsetwin.recon.reconstruct import reconstruct

    return reconstruct(
        raw,
        reference=reference,
        method=options.method,
        coils=options.coils,
        memory=None if options.memory is None else int(options.memory * _GIB),
        precision="double" if options.double else "single",
        device=options.device,
        progress=bar(),
    )


def _repair_network(options: argparse.Namespace) -> tuple[ImageNetwork | None, dict[str, Any]]:
    """Return the network that is to repair the images, if any, and how these are made."""
    if not options.image_network:
        return None, {}
    for name in (*_GENERAL, "coils", "t1_network"):
        if getattr(options, name) not in (None, False, "cpu"):
            raise ProtocolError(f"--{name.replace('_', '-')} is not for images by --image-network: leave it out")
    if options.method != "auto":
        raise ProtocolError(f"--method {options.method}: --image-network has its own: leave one of them out")
    if not options.seq:
        raise ProtocolError("--image-network needs --seq: give the .seq that the network learnt with")
    from pulsetwin.recon.image_network import load_image_network
    from pulsetwin.recon.image_repair import repair_settings

    network = load_image_network(options.image_network)
    return network, repair_settings(network)


def _mapped(raw: RawData, images: Images, options: argparse.Namespace, timings: dict[str, float]) -> Mapped | None:
    """Return the maps that the definitions of the `.seq` allow, if any."""
    from pulsetwin.recon.b1 import is_b1_scan, map_b1

    said, asked = raw.definitions, given(options)
    if options.t1_network:
        others = [*asked, *(["--pools"] if options.pools else []), *(["--maps"] if options.map_method != "fit" else [])]
        if others:
            raise ProtocolError(f"{others[0]} is not for maps of T1 by --t1-network: leave one of them out")
        return by_network(images, said, options.t1_network, timings)
    if options.pools:
        return map_cest.of_scan(images, options, timings)
    if options.map_method != "none" and said.keys() >= _QALAS:
        from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

        return map_images(images, QalasTiming.from_definitions(said), options, timings, bar())
    if asked:
        raise ProtocolError(f"{asked[0]} is for maps of a QALAS, and none is made of this scan: leave it out")
    if options.map_method == "none":
        return None
    if not is_b1_scan(said):
        return of_scan(images, said, options.seq, timings, bar())
    from pulsetwin.export.maps_output import Mapped

    with timed(timings, "map"):
        return Mapped("B1", map_b1(images, said), {})


def _inputs(options: argparse.Namespace) -> dict[str, Path]:
    """Return role to input file, after checking that they exist and that no option is left without its partner."""
    if options.reference_seq and not options.reference:
        raise ProtocolError("--reference-seq needs --reference: give the raw data of the reference too")
    if options.trust_seq and not options.seq:
        raise ProtocolError("--trust-seq needs --seq: give the .seq to trust")
    given = {role: getattr(options, role) for role in _ROLES if getattr(options, role)}
    return {role: existing(name, folder=role in _FOLDERS) for role, name in given.items()}


def _report(out: Path, images: Any, outputs: Sequence[str]) -> None:
    """Tell where everything is and how well it went."""
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
