"""The methods `wasabi`, `t1`, `t2` and `zspec` of the verb `map`: maps of B0, B1, T1, T2 and Z-spectra."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.cli.maps_told import write_and_tell
from pulsetwin.cli.timed import timed
from pulsetwin.progress import Progress, bar

if TYPE_CHECKING:
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.sequences.seqfile import SeqFile
    from pulsetwin.volume import Images, Maps

Mapping = Callable[["Images", "SeqFile", Progress], "Maps"]
_LEAST = {"wasabi": 6, "saturation_recovery": 4, "multi_echo": 3}
"""Sequences whose scans are mapped at once, and from how many images on."""


def map_wasabi(options: argparse.Namespace) -> int:
    """Map B0 and B1 from images of a WASABI."""
    return _map(options, "WASABI", _wasabi, {})


def map_t1(options: argparse.Namespace) -> int:
    """Map T1 from images of a saturation or inversion recovery, by a fit or by a network."""
    if options.network is None:
        return _map(options, "T1", _t1, {})
    from pulsetwin.recon.image_network import load_image_network
    from pulsetwin.recon.t1_network import map_t1 as of_network

    network = load_image_network(existing(options.network))

    def mapping(images: Images, seq: SeqFile, progress: Progress) -> Maps:
        return of_network(images, seq.definitions, network)

    return _map(options, "T1", mapping, {}, network=options.network)


def map_t2(options: argparse.Namespace) -> int:
    """Map T2 from images of a multi-echo spin echo."""
    from pulsetwin.recon.multi_echo import map_t2 as of_images

    def mapping(images: Images, seq: SeqFile, progress: Progress) -> Maps:
        return of_images(images, seq.definitions, offset=options.offset, progress=progress)

    return _map(options, "T2", mapping, {"offset": options.offset})


def map_z_spectrum(options: argparse.Namespace) -> int:
    """Map asymmetry and pools from images of a Z-spectrum."""
    from pulsetwin.recon.z_spectrum_maps import map_z_spectrum as of_images

    chosen = {"pools": options.pools, "span": options.asymmetry}

    def mapping(images: Images, seq: SeqFile, progress: Progress) -> Maps:
        from pulsetwin.recon.nifti_images import read_shift

        b0 = read_shift(options.b0) if options.b0 else None
        given = {name: value for name, value in chosen.items() if value is not None}
        return of_images(images, seq, b0, **given, progress=progress)

    return _map(options, "Z-spectrum", mapping, chosen, b0=options.b0)


def of_scan(
    images: Images, definitions: dict[str, Any], seq: str | None, timings: dict[str, float], progress: Progress
) -> Mapped | None:
    """Return the maps of a scan of this package's WASABI, saturation recovery or multi-echo; None of any other."""
    name = str(definitions.get("Name"))
    if seq is None or len(images.values) < _LEAST.get(name, len(images.values) + 1):
        return None
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.multi_echo import map_t2 as echoes
    from pulsetwin.sequences.seqfile import read_seq

    with timed(timings, "map"):
        if name == "multi_echo":
            return Mapped("T2", echoes(images, definitions, progress=progress), {})
        method, mapping = {"wasabi": ("WASABI", _wasabi), "saturation_recovery": ("T1", _t1)}[name]
        return Mapped(method, mapping(images, read_seq(seq), progress), {})


def by_network(images: Images, definitions: dict[str, Any], network: str, timings: dict[str, float]) -> Mapped:
    """Return the T1 map of a scan by the network of a file."""
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.image_network import load_image_network
    from pulsetwin.recon.t1_network import map_t1

    with timed(timings, "map"):
        return Mapped("T1", map_t1(images, definitions, load_image_network(network)), {})


def _wasabi(images: Images, seq: SeqFile, progress: Progress) -> Maps:
    from pulsetwin.recon.wasabi_maps import map_wasabi as of_images

    return of_images(images, seq, progress)


def _t1(images: Images, seq: SeqFile, progress: Progress) -> Maps:
    from pulsetwin.recon.saturation_recovery import map_t1 as of_images

    return of_images(images, seq.definitions, progress)


def _map(
    options: argparse.Namespace, method: str, mapping: Mapping, settings: dict[str, Any], **more: str | None
) -> int:
    """Read images and `.seq`, map them, and write a folder; `more` are further input files by role."""
    inputs = {f"images {number}": existing(name) for number, name in enumerate(options.images)}
    inputs |= {role: existing(name) for role, name in {"seq": options.seq, **more}.items() if name}
    writable(options.output, inputs.values(), folder=True, force=options.force)
    import dataclasses

    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.nifti_images import read_images
    from pulsetwin.sequences.seqfile import read_seq

    timings: dict[str, float] = {}
    with timed(timings, "read"):
        images, seq = read_images(options.images), read_seq(options.seq)
    with timed(timings, "map"):
        maps = mapping(images, seq, bar())
    maps = dataclasses.replace(maps, warnings=(*images.warnings, *maps.warnings))
    return write_and_tell(options, Mapped(method, maps, settings), inputs, timings)


def add_companions(methods: Any) -> None:
    """Describe the methods."""
    told = "B0 and relative B1 from WASABI, with T1 from WASABITI"
    _method(methods, "wasabi", map_wasabi, told, "wasabi.nii.gz --seq wasabi.seq")
    told = "T1 from saturation or inversion recovery"
    t1 = _method(methods, "t1", map_t1, told, "recovery.nii.gz --seq recovery.seq")
    t1.add_argument("--network", metavar="FILE", help="read complex images by the network that learnt with their .seq")
    t2 = _method(methods, "t2", map_t2, "T2 from a multi-echo spin echo", "echoes.nii.gz --seq multi_echo.seq")
    t2.add_argument("--offset", action="store_true", help="decay to an offset, as that of the noise, and not to 0")
    told = "asymmetry and depths of pools from Z-spectra"
    example = "cest.nii.gz --seq cest.seq --b0 wasabi/maps/B0_ppm.nii.gz"
    zspec = _method(methods, "zspec", map_z_spectrum, told, example)
    zspec.add_argument("--b0", metavar="NIFTI", help="shift of water [ppm] on the grid of the images; 0 is unknown")
    zspec.add_argument("--pools", type=_names, metavar="A,B,...", help="lines to fit, water first (all)")
    zspec.add_argument("--asymmetry", type=_span, metavar="PPM", help="offset of MTRasym, or A..B for a mean (3.5)")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _span(text: str) -> tuple[float, float]:
    """Return the two ends of a range, or one value twice."""
    try:
        ends = [float(part) for part in text.split("..")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or ends[0] <= 0 or ends != sorted(ends):
        raise argparse.ArgumentTypeError(f"{text}: give a positive offset, or two with .. between")
    return ends[0], ends[-1]


def _method(methods: Any, name: str, run: Callable[..., int], told: str, example: str) -> argparse.ArgumentParser:
    """Add a method with its images, its `.seq` and its output."""
    method: argparse.ArgumentParser = methods.add_parser(
        name, help=told, description=f"{told}.", epilog=f"example: pulsetwin map {name} {example} -o out/"
    )
    method.set_defaults(run=run, if_memory_ends="map fewer slices at a time")
    method.add_argument("images", nargs="+", help="one 4D NIfTI, or the images in order of play")
    method.add_argument("--seq", metavar="SEQ", required=True, help="the .seq that was played")
    method.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write")
    method.add_argument("--force", action="store_true", help="replace the files of an earlier run")
    return method
