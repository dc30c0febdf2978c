"""The verb `map`: quantitative maps of images that exist already."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.cli.map_cest import add_cest
from pulsetwin.cli.map_companions import add_companions
from pulsetwin.cli.map_qalas import INPUTS, METHODS, add_options, check, map_images
from pulsetwin.cli.maps_told import write_and_tell
from pulsetwin.cli.timed import timed
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.volume import Images

PRESETS = ("siemens", "philips", "ge")


def map_qalas(options: argparse.Namespace) -> int:
    """Map T1, T2 and proton density from images of a QALAS."""
    timing_file = options.timing if options.timing and options.timing not in PRESETS else None
    inputs = {f"images {number}": existing(name) for number, name in enumerate(options.images)}
    roles = {"timing": timing_file} | {role: getattr(options, role) for role in ("seq", *INPUTS)}
    inputs |= {role: existing(name) for role, name in roles.items() if name}
    writable(options.output, inputs.values(), folder=True, force=options.force)
    check(options, inputs.values())
    from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

    timings: dict[str, float] = {}
    with timed(timings, "read"):
        images = _images(options.images)
        if options.seq:
            from pulsetwin.sequences.seqfile import read_seq

            timing = QalasTiming.from_definitions(read_seq(options.seq).definitions)
        else:
            timing = QalasTiming.from_json(timing_file) if timing_file else QalasTiming.preset(options.timing)
    mapped = map_images(images, timing, options, timings, bar())
    return write_and_tell(options, mapped, inputs, timings)


def map_b1(options: argparse.Namespace) -> int:
    """Map the transmit field from images of AFI or pre-saturated turbo-FLASH."""
    inputs = [existing(name) for name in (*options.images, options.seq)]
    if not options.output.endswith((".nii", ".nii.gz")):
        raise ProtocolError(f"{options.output}: a map is written as .nii or .nii.gz: name one")
    writable(options.output, inputs, force=options.force)
    from pulsetwin.export.maps_output import write_b1
    from pulsetwin.recon.b1 import map_b1 as of_images
    from pulsetwin.sequences.seqfile import read_seq

    maps = of_images(_images(options.images), read_seq(options.seq).definitions)
    write_b1(options.output, maps, inputs, force=options.force)
    sys.stdout.write(f"map      {options.output}  ({int(maps['B1'].valid.sum())} voxels)\n")
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in maps.warnings))
    return 0


def _images(names: Sequence[str]) -> Images:
    from pulsetwin.recon.nifti_images import read_images

    return read_images(names)


def add_map(verbs: Any) -> None:
    """Describe the verb and its methods."""
    about = "quantitative maps from NIfTI images"
    verb = verbs.add_parser(
        "map", help=about, description=f"{about[0].upper()}{about[1:]}.",
        epilog="example: pulsetwin map qalas images.nii.gz --timing siemens --b1 b1.nii.gz -o out/",
    )  # fmt: skip
    methods = verb.add_subparsers(title="methods", metavar="METHOD", required=True)
    memory = "map fewer slices at a time"
    told = "T1, T2, proton density and inversion efficiency of a 3D-QALAS"
    example = "example: pulsetwin map qalas images.nii.gz --seq qalas.seq --b1 b1.nii.gz -o out/"
    qalas = methods.add_parser("qalas", help=told, description=f"{told}.", epilog=example)
    qalas.set_defaults(run=map_qalas, if_memory_ends=memory)
    qalas.add_argument("images", nargs="+", help="one 4D NIfTI, or the five contrasts in order of play")
    times = qalas.add_mutually_exclusive_group(required=True)
    times.add_argument("--timing", metavar="TIMING", help=f"{', '.join(PRESETS)}, or a JSON file of times")
    times.add_argument("--seq", metavar="SEQ", help="the .seq that was played, written by pulsetwin")
    qalas.add_argument("--noise-std", type=float, metavar="SIGMA", help="of the real part of the images: *_std maps")
    add_options(qalas)
    qalas.add_argument("--method", dest="map_method", choices=METHODS, default="fit", help="how to map (fit)")
    _add_output(qalas, "FOLDER", "folder to write")
    told = "flip angle relative to the nominal one, from AFI or pre-saturated turbo-FLASH"
    example = "example: pulsetwin map b1 images.nii.gz --seq afi.seq -o b1.nii.gz"
    b1 = methods.add_parser("b1", help=told, description=f"{told[0].upper()}{told[1:]}.", epilog=example)
    b1.set_defaults(run=map_b1, if_memory_ends=memory)
    b1.add_argument("images", nargs="+", help="one 4D NIfTI of both images, or two")
    b1.add_argument("--seq", metavar="SEQ", required=True, help="the .seq that was played")
    _add_output(b1, "NIFTI", "map to write, with a JSON file beside it")
    add_companions(methods)
    add_cest(methods)


def _add_output(verb: argparse.ArgumentParser, kind: str, told: str) -> None:
    verb.add_argument("-o", "--output", required=True, metavar=kind, help=told)
    verb.add_argument("--force", action="store_true", help="replace the files of an earlier run")
