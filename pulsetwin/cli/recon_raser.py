"""RASER scans on the command line: how their images are made."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.rawdata import RawData
    from pulsetwin.volume import Images

METHODS = ("fbp", "cnn", "inversion", "hybrid")
INPUTS = ("raser_networks",)
"""Options that name a file which is read."""
_OPTIONS = ("raser_networks", "over_threshold", "gain")
_NETWORKS = ("cnn", "hybrid")


def add_raser_options(verb: argparse.ArgumentParser) -> None:
    """Describe the options of RASER scans."""
    group = verb.add_argument_group("images of a RASER scan, by --method inversion (default), fbp, cnn or hybrid")
    group.add_argument("--over-threshold", type=float, metavar="TIMES", help="inversion over the threshold (10)")
    group.add_argument("--gain", type=float, metavar="GAIN", help="signal as recorded over that in units of the "
                       "threshold (default: the data tell)")  # fmt: skip
    group.add_argument("--raser-networks", metavar="FILE", help="networks that pulsetwin train raser wrote")


def wanted(raw: RawData, options: argparse.Namespace) -> bool:
    """Return whether a scan is reconstructed as one of RASER; raise if options say so for another method."""
    from pulsetwin.sequences.raser import is_raser

    method = options.method
    if method in METHODS or (method == "auto" and is_raser(raw.definitions)):
        if options.raser_networks and method not in _NETWORKS:
            raise ProtocolError(f"--raser-networks are for --method {' or '.join(_NETWORKS)}: ask for one of them")
        return True
    for name in _OPTIONS:
        if getattr(options, name) is not None:
            raise ProtocolError(f"--{name.replace('_', '-')} is for RASER scans: leave it out")
    return False


def images(raw: RawData, options: argparse.Namespace) -> Images:
    """Return the image of a RASER scan."""
    from pulsetwin.recon.raser.methods import image_of_scan

    settings: dict[str, Any] = {"networks": options.raser_networks, "gain": options.gain, "progress": bar()}
    if options.over_threshold is not None:
        settings["over_threshold"] = options.over_threshold
    return image_of_scan(raw, "inversion" if options.method == "auto" else options.method, **settings)
