"""What the verbs `recon` and `map` share: QALAS images to maps, by the options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.cli import map_network
from pulsetwin.cli.timed import timed
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress

if TYPE_CHECKING:
    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
    from pulsetwin.volume import Images

METHODS = ("fit", "dictionary", "ssl", "tv")
MODES = ("paper", "calibrated")
INPUTS = ("b1", "rois", "mask", "network")
"""Options that name a file which is read."""


def add_options(verb: argparse.ArgumentParser) -> None:
    """Describe the options of QALAS maps."""
    group = verb.add_argument_group("maps of a QALAS")
    group.add_argument("--b1", metavar="NIFTI", help="flip angle relative to the nominal one, of any grid")
    group.add_argument("--b1-nominal", type=float, metavar="VALUE", help="what in --b1 means the nominal angle (1)")
    group.add_argument("--mode", choices=MODES, help="preparations as published, or as the pulses of the .seq play "
                       "them (default: calibrated where there is a .seq and the method is fit or tv)")  # fmt: skip
    group.add_argument("--ie", type=_efficiency, metavar="IE", help="inversion efficiency: a value, A..B, or free "
                       "(0.5..1); not with --mode calibrated, which knows it")  # fmt: skip
    group.add_argument("--mask", metavar="NIFTI", help="voxels to map; by default those that are not empty")
    group.add_argument("--rois", metavar="NIFTI", help="labels of regions for the report; by default ranges of T1")
    map_network.add_network_options(group)
    group.add_argument("--bids", metavar="SUB", help="name files as a BIDS derivative, as in sub-01 or sub-01_ses-2")


def given(options: argparse.Namespace) -> list[str]:
    """Return the options of QALAS maps that were given."""
    names = ("b1", "b1_nominal", "mode", "ie", "mask", "rois", "bids", *map_network.NAMES)
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]


def check(options: argparse.Namespace, inputs: Iterable[str | Path]) -> None:
    """Raise, before any long work, where options do not go together or a network cannot be read or kept."""
    from pulsetwin.export.bids import Names

    if options.b1_nominal is not None and not options.b1:
        raise ProtocolError("--b1-nominal needs --b1: give the map too")
    Names("QALAS", options.bids)
    known = _mode(options) == "calibrated" or isinstance(options.ie, str | float)
    if known and options.map_method in ("dictionary", "ssl"):
        raise ProtocolError(
            f"{options.map_method} is of ideal preparations and bounds of the efficiency: leave out --mode calibrated, "
            "give --ie as A..B, or ask for fit or tv"
        )
    map_network.check_network(options, inputs)


def map_images(
    images: Images, timing: QalasTiming, options: argparse.Namespace, timings: dict[str, float], progress: Progress
) -> Mapped:
    """Return the maps of QALAS images, with synthetic images and values in regions."""
    import dataclasses

    from pulsetwin.export.maps_output import Mapped
    from pulsetwin.recon.nifti_images import read_labels, read_relative
    from pulsetwin.recon.qalas import map_qalas
    from pulsetwin.recon.qalas.regions import regions
    from pulsetwin.recon.qalas.synthetic import presets, synthetic
    from pulsetwin.recon.qalas.trial import judge

    grid = images.affine, images.values.shape[1:]
    labels = read_labels(options.rois, *grid) if options.rois else None
    kept: dict[str, Any] = {"method": options.map_method, "noise": getattr(options, "noise_std", None)}
    kept["b1"] = read_relative(options.b1, options.b1_nominal or 1.0) if options.b1 else None
    kept["mask"] = read_labels(options.mask, *grid) != 0 if options.mask else None
    if options.ie is not None:
        kept["ie"] = options.ie
    mode = _mode(options)
    if mode == "calibrated":
        from pulsetwin.sim.signal_models.qalas_pulses import calibrate

        with timed(timings, "simulate the pulses"):
            kept["pulses"] = calibrate(options.seq, timing)
    with timed(timings, "map"), map_network.network_for(options, len(images.values[0])) as known:
        noise, assumed = judge(images, timing, **{name: kept[name] for name in kept.keys() - {"method", "mask"}})
        maps = map_qalas(images, timing, progress=progress, **known | kept | {"noise": noise})
    with timed(timings, "synthesise"):
        contrasts = presets()
        made = {name: synthetic(maps, contrast) for name, contrast in contrasts.items()}
    settings = {
        "method": options.map_method, "mode": mode, "b1": Path(options.b1).name if options.b1 else None,
        "b1_nominal": options.b1_nominal, "ie": options.ie, "timing": dataclasses.asdict(timing),
    }  # fmt: skip
    settings |= map_network.facts(options)
    maps = dataclasses.replace(maps, warnings=(*images.warnings, *maps.warnings, *assumed, *_assumed(labels)))
    return Mapped(
        "QALAS", maps, settings, made, {name: one.words for name, one in contrasts.items()},
        regions(maps, ("T1", "T2", "PD", "IE"), labels),
    )  # fmt: skip


def _mode(options: argparse.Namespace) -> str:
    """Return the mode asked for, or the one that the inputs allow."""
    if options.mode == "calibrated" and not options.seq:
        raise ProtocolError("--mode calibrated needs --seq: the pulses that were played, not only their times")
    if options.mode is not None:
        return str(options.mode)
    return "calibrated" if options.seq and options.map_method in ("fit", "tv") and options.ie is None else "paper"


def _assumed(labels: Any) -> tuple[str, ...]:
    """Return what is to be said of the regions."""
    if labels is not None:
        return ()
    return ("Regions of the report are ranges of T1 that tissue has at 3 T, not a segmentation: give --rois for one.",)


def _efficiency(text: str) -> Any:
    """Return a value, bounds, or ``free``."""
    if text == "free":
        return text
    try:
        values = tuple(float(part) for part in text.split(".."))
    except ValueError:
        values = ()
    if len(values) not in (1, 2) or not all(0 < value <= 1 for value in values) or list(values) != sorted(values):
        raise argparse.ArgumentTypeError(f"{text}: give a value up to 1, two with .. between, or free")
    return values[0] if len(values) == 1 else values
