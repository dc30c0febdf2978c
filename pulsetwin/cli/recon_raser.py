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
_SAMPLE = ("over_threshold", "raser_t1", "raser_t2star", "gain", "raser_pump_decay")
_OPTIONS = ("raser_networks", *_SAMPLE)
_NETWORKS = ("cnn", "hybrid")


def add_raser_options(verb: argparse.ArgumentParser) -> None:
    """Describe the options of RASER scans."""
    group = verb.add_argument_group("images of a RASER scan, by --method inversion (default), fbp, cnn or hybrid")
    group.add_argument("--over-threshold", type=float, metavar="TIMES", help="inversion over the threshold (10)")
    group.add_argument("--gain", type=float, metavar="GAIN", help="signal as recorded over that in units of the "
                       "threshold (default: the data tell)")  # fmt: skip
    group.add_argument("--raser-t1", type=float, metavar="S", help="T1 of the sample, about (5 s)")
    group.add_argument("--raser-t2star", type=float, metavar="S", help="T2* of the sample, about (0.7 s)")
    group.add_argument("--raser-pump-decay", type=float, metavar="S", help="decay of a pumping that goes on during the "
                       "acquisition, about (there is none)")  # fmt: skip
    group.add_argument("--raser-networks", metavar="FILE", help="networks that pulsetwin train raser wrote")


def wanted(raw: RawData, options: argparse.Namespace) -> bool:
    """Return whether a scan is reconstructed as one of RASER; raise if options say so for another method."""
    from pulsetwin.sequences.raser import is_raser

    method = options.method
    if method in METHODS or (method == "auto" and is_raser(raw.definitions)):
        if options.raser_networks and method not in _NETWORKS:
            raise ProtocolError(f"--raser-networks are for --method {' or '.join(_NETWORKS)}: ask for one of them")
        if method == "fbp":
            _refuse(options, _SAMPLE, "not for --method fbp, which takes the spectra as they are")
        return True
    _refuse(options, _OPTIONS, "for RASER scans")
    return False


def _refuse(options: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ProtocolError(f"--{name.replace('_', '-')} is {why}: leave it out")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the method of a RASER scan and what its sample is taken to be; None: gain to be told, no pumping."""
    from pulsetwin.recon.raser.methods import USUAL

    if options.method == "fbp":
        return {"method": "fbp"}
    usual = {"over_threshold": USUAL.over_threshold, "raser_t1": USUAL.t1, "raser_t2star": USUAL.t2}
    usual |= {"gain": None, "raser_pump_decay": None}
    given = {name: value for name in _SAMPLE if (value := getattr(options, name)) is not None}
    return {"method": "inversion" if options.method == "auto" else options.method} | usual | given


def images(raw: RawData, options: argparse.Namespace) -> Images:
    """Return the image of a RASER scan."""
    from pulsetwin.recon.raser.methods import image_of_scan

    said = settings(options)
    method = said.pop("method")
    names = {"raser_t1": "t1", "raser_t2star": "t2", "raser_pump_decay": "pump_decay"}
    sample = {names.get(name, name): value for name, value in said.items()}
    return image_of_scan(raw, method, networks=options.raser_networks, progress=bar(), **sample)
