"""The method `cest` of the verb `map`: fractions and exchange rates from CEST-MRF images."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.cli.map_qalas import given
from pulsetwin.cli.maps_told import write_and_tell
from pulsetwin.cli.timed import timed
from pulsetwin.errors import FileError, ProtocolError, PulsetwinError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.cest_mrf.maps import How
    from pulsetwin.volume import Images, Volume

METHODS = ("dictionary", "voxelwise", "network", "nbmf")
_KNOWN = {"t1": ("t1", "s"), "t2": ("t2", "s"), "b0": ("b0_shift", "ppm"), "b1": ("b1", "")}
"""Options that name a known map: its parameter and its unit."""
_OF_SCAN = {"fit": "voxelwise", "dictionary": "dictionary"}
"""Methods by what the verb `recon` calls them."""
SCAN_INPUTS = ("pools", "t1", "t2", "b0")
"""Options of the verb `recon` for CEST-MRF only, each of which names a file that is read."""


def map_cest(options: argparse.Namespace) -> int:
    """Map fractions, concentrations, exchange rates and pH from images of a CEST-MRF schedule."""
    inputs = {f"images {number}": existing(name) for number, name in enumerate(options.images)}
    roles = ("seq", "pools", *_KNOWN, "mask")
    inputs |= {role: existing(getattr(options, role)) for role in roles if getattr(options, role)}
    writable(options.output, inputs.values(), folder=True, force=options.force)
    if options.reference and not any(Path(options.reference).glob("*.nii.gz")):
        raise FileError(options.reference, "no folder with maps", "give one with files such as amide_fraction.nii.gz")

    from pulsetwin.recon.cest_mrf.maps import How

    timings: dict[str, float] = {}
    with timed(timings, "read"):
        images = _images(options.images)
    how = How(options.map_method, options.dictionary, options.threads, options.parallel)
    mapped = _mapped(images, options, how, timings)
    if options.reference:
        mapped = _compared(mapped, Path(options.reference))
    return write_and_tell(options, mapped, inputs, timings)


def check_scan(options: argparse.Namespace) -> None:
    """Raise, before any long work, where options of the verb `recon` do not go together."""
    if not options.pools:
        if unused := [name for name in SCAN_INPUTS if getattr(options, name)]:
            raise ProtocolError(f"--{unused[0]} is for maps of a CEST-MRF: give --pools too, or leave it out")
        return
    if not options.seq:
        raise ProtocolError("--pools needs --seq: give what was played")
    others = [name for name in given(options) if name not in ("--b1", "--mask")]
    if others or options.map_method not in _OF_SCAN:
        wrong = others[0] if others else f"--maps {options.map_method}"
        raise ProtocolError(f"{wrong} is not of CEST-MRF, which --pools asks for: leave out one of both")


def of_scan(images: Images, options: argparse.Namespace, timings: dict[str, float]) -> Mapped:
    """Return the maps of a scan's images, by the options of the verb `recon`."""
    from pulsetwin.recon.cest_mrf.maps import How

    return _mapped(images, options, How(_OF_SCAN[options.map_method]), timings)


def _mapped(images: Images, options: argparse.Namespace, how: How, timings: dict[str, float]) -> Mapped:
    """Return the maps of images, with what else the options name."""
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.cest_mrf.maps import map_cest as of_images
    from pulsetwin.recon.cest_mrf.study import read_study
    from pulsetwin.recon.nifti_images import read_labels
    from pulsetwin.sequences.seqfile import read_seq

    with timed(timings, "read what is known"):
        seq, study = read_seq(options.seq), read_study(options.pools)
        known = {name: _known(options, role, unit) for role, (name, unit) in _KNOWN.items() if getattr(options, role)}
        grid = images.affine, images.values.shape[1:]
        mask = read_labels(options.mask, *grid) != 0 if options.mask else None
    with timed(timings, "map"):
        maps = of_images(images, seq, study, known, how, mask=mask, progress=bar())
    settings = {"method": how.method, **study.measurement, "known": list(known)}
    if how.parallel:
        settings["parallel"] = True
    settings["grid"] = study.grid.facts() if study.grid else None
    return Mapped("CEST-MRF", maps, settings)


def add_cest(methods: Any) -> None:
    """Describe the method."""
    told = "fractions and exchange rates of pools from CEST-MRF"
    example = "pulsetwin map cest images.nii.gz --seq protocol.seq --pools model.yaml --b1 b1.nii.gz -o out/"
    cest: argparse.ArgumentParser = methods.add_parser(
        "cest", help=told, description=f"{told[0].upper()}{told[1:]}.", epilog=f"example: {example}"
    )
    cest.set_defaults(run=map_cest, if_memory_ends="take a coarser grid, or keep the dictionary with --dictionary")
    cest.add_argument("images", nargs="+", help="one 4D NIfTI or .mat, or the images in order of play")
    cest.add_argument("--seq", metavar="SEQ", required=True, help="the .seq that was played")
    cest.add_argument("--pools", metavar="YAML", required=True, help="pool model with grid, measurement and solutes")
    for role, told in (
        ("t1", "T1 of water [s]"), ("t2", "T2 of water [s]"), ("b0", "shift of water [ppm]"),
        ("b1", "flip angle relative to the nominal one"), ("mask", "voxels to map"),
    ):  # fmt: skip
        cest.add_argument(f"--{role}", metavar="NIFTI", help=f"{told}, on the grid of the images")
    cest.add_argument(
        "--method", dest="map_method", choices=METHODS, default="dictionary", help="how to map (dictionary)"
    )
    cest.add_argument(
        "--dictionary", metavar="HDF5", help="file that keeps the dictionary: used, or made, or completed"
    )
    cest.add_argument(
        "--parallel", action="store_true", help="of nbmf: learn from each image by what the one before it measured"
    )
    cest.add_argument("--reference", metavar="FOLDER", help="maps of the same names, to compare with in the report")
    cest.add_argument("--threads", type=int, default=1, metavar="N", help="threads, or processes that make a file (1)")
    cest.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write")
    cest.add_argument("--force", action="store_true", help="replace the files of an earlier run")


def add_scan_options(verb: argparse.ArgumentParser) -> None:
    """Describe the options of the verb `recon`; those of QALAS name B1 and the mask."""
    group = verb.add_argument_group(
        "maps of a CEST-MRF, by fit or dictionary; with --b1 and --mask on the images' grid"
    )
    group.add_argument("--pools", metavar="YAML", help="pool model with grid, measurement and solutes")
    for role, told in (("t1", "T1 of water [s]"), ("t2", "T2 of water [s]"), ("b0", "shift of water [ppm]")):
        group.add_argument(f"--{role}", metavar="NIFTI", help=f"{told}, on the grid of the images")


def _images(names: list[str]) -> Images:
    if len(names) == 1 and names[0].endswith(".mat"):
        from pulsetwin.recon.cest_mrf.mat_images import read_mat

        return read_mat(names[0])
    from pulsetwin.recon.nifti_images import read_images

    return read_images(names)


def _known(options: argparse.Namespace, role: str, unit: str) -> Volume:
    from pulsetwin.recon.nifti_images import read_map, read_relative

    name = getattr(options, role)
    return read_relative(name) if role == "b1" else read_map(name, unit)


def _compared(mapped: Mapped, folder: Path) -> Mapped:
    """Return maps with the figures of those that the folder has references of; what cannot be compared is warned of."""
    from pulsetwin.recon.agreement import agreement
    from pulsetwin.recon.nifti_images import read_map

    maps, found, warnings = mapped.maps, {}, []
    for name, volume in maps.volumes.items():
        path = folder / f"{name}.nii.gz"
        try:
            if path.exists():
                found[name] = agreement(volume, read_map(path, volume.unit))
        except PulsetwinError as error:
            warnings.append(f"{name} is not compared with the reference: {error}")
    if not found and not warnings:
        warnings = [f"{folder} holds none of {', '.join(maps.volumes)}: name its files NAME.nii.gz to compare them."]
    maps = dataclasses.replace(maps, warnings=(*maps.warnings, *warnings))
    return dataclasses.replace(mapped, maps=maps, agreement=found)
