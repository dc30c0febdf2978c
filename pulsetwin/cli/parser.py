"""What the command line understands: verbs and their options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from pulsetwin.cli.design import add_design, design
from pulsetwin.cli.export import add_export, export
from pulsetwin.cli.fit_diffusion import add_fit_diffusion, fit_diffusion
from pulsetwin.cli.look import check, info
from pulsetwin.cli.map import add_map
from pulsetwin.cli.map_cest import add_scan_options
from pulsetwin.cli.map_qalas import METHODS as MAP_METHODS
from pulsetwin.cli.map_qalas import add_options
from pulsetwin.cli.optimize import add_optimize, optimize
from pulsetwin.cli.plot import add_plot, plot
from pulsetwin.cli.recon import recon
from pulsetwin.cli.recon_raser import METHODS as RASER_METHODS
from pulsetwin.cli.recon_raser import add_raser_options
from pulsetwin.cli.simulate import simulate
from pulsetwin.cli.train import add_train

METHODS = ("auto", "fft", "grappa", "sense", "nufft", "wavelet", "tv", *RASER_METHODS)
ENGINES = ("auto", "graphs", "isochromats")


def parser() -> argparse.ArgumentParser:
    """Return what parses the command line; `run` of its result is the verb's function."""
    about = "Simulate, reconstruct, inspect and check Pulseq MRI scans and sequences."
    made = argparse.ArgumentParser(
        prog="pulsetwin", description=about, epilog="'pulsetwin VERB --help' explains a verb and gives an example."
    )
    made.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = made.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_recon(verbs)
    add_map(verbs)
    _add_simulate(verbs)
    file = _verb(verbs, "info", info, "tell what is in raw data or a .seq", "pulsetwin info scan.dat")
    file.add_argument("file", help="raw data (.dat, .h5, or a folder of Spinsolve) or sequence (.seq)")
    file.add_argument("--json", action="store_true", help="print JSON")
    example = "pulsetwin check scan.seq --scanner siemens-prisma"
    checked = _verb(verbs, "check", check, "check whether a scanner can play a .seq (exit code 1 if not)", example)
    checked.add_argument("seq", help="sequence (.seq)")
    checked.add_argument("--scanner", required=True, help="scanner preset, such as siemens-prisma, or a TOML file")
    checked.add_argument("--asc", metavar="FILE", help="Siemens MP_GPA_*.asc: nerve stimulation, forbidden bands")
    checked.add_argument("--html", metavar="FILE", help="write the report with figures as one HTML page")
    checked.add_argument("--json", metavar="FILE", help="write the report as JSON")
    checked.add_argument("--force", action="store_true", help="replace an existing file")
    made_up = verbs.add_parser("design", help="design a sequence from its settings", add_help=False)
    made_up.set_defaults(run=design, if_memory_ends="close other programs, or use a machine with more")
    add_design(made_up)
    example = "pulsetwin export scan.seq --target bruker -o scan_seq"
    add_export(_verb(verbs, "export", export, "write a .seq as a vendor's interpreters read it", example))
    drawn = _verb(verbs, "plot", plot, "draw a sequence diagram and its k-space", "pulsetwin plot scan.seq -o scan.png")
    add_plot(drawn)
    example = "pulsetwin optimize gre_sar.toml -o run/"
    add_optimize(_verb(verbs, "optimize", optimize, "learn a sequence as an experiment says", example))
    example = "pulsetwin fit-diffusion curves.csv --config particle.toml -o out/"
    about = "fit the radius of particles to build-up curves of spin diffusion"
    add_fit_diffusion(_verb(verbs, "fit-diffusion", fit_diffusion, about, example))
    add_train(verbs)
    return made


def _add_recon(verbs: Any) -> None:
    """Describe the options of `recon`."""
    example = "pulsetwin recon scan.dat --seq scan.seq --reference ref.dat --reference-seq ref.seq -o out/"
    verb = _verb(verbs, "recon", recon, "reconstruct a scan: images, figures and a report", example)
    verb.add_argument("scan", help="raw data (Siemens .dat, ISMRMRD .h5, or a folder of Spinsolve)")
    verb.add_argument("--seq", metavar="SEQ", help="the .seq that was played; vendor data need none")
    verb.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write")
    verb.add_argument("--reference", metavar="DAT", help="EPI train without phase-encoding blips, against ghosts")
    verb.add_argument("--reference-seq", metavar="SEQ", help="the .seq of the reference")
    verb.add_argument("--noise", metavar="DAT", help="noise scan, for whitening and SNR maps")
    verb.add_argument("--method", choices=METHODS, default="auto", help="image reconstruction (default: by the data)")
    verb.add_argument("--coils", type=_positive(int), metavar="N", help="compress to N virtual coils")
    verb.add_argument("--memory", type=_positive(float), metavar="GIB", help="memory to stay below [GiB]")
    verb.add_argument("--partial", action="store_true", help="use the complete readouts of a truncated file")
    verb.add_argument("--trust-seq", action="store_true", help="warn instead of stop where signature or dwell differ")
    verb.add_argument("--t1-network", metavar="FILE", help="map T1 by the network that learnt together with the .seq")
    verb.add_argument("--image-network", metavar="FILE", help="repair images by the network that learnt with the .seq")
    verb.add_argument("--force", action="store_true", help="replace the files of an earlier run")
    verb.add_argument("--double", action="store_true", help="compute in double precision")
    verb.add_argument("--device", default="cpu", help="where to compute, such as cuda (default: cpu)")
    verb.add_argument("--maps", dest="map_method", choices=(*MAP_METHODS, "none"), default="fit", help="how to map "
                      "what the .seq is made for: QALAS, or CEST-MRF by --pools (fit)")  # fmt: skip
    add_options(verb)
    add_scan_options(verb)
    add_raser_options(verb)
    verb.set_defaults(if_memory_ends="pass a smaller --memory, or fewer virtual coils with --coils")


def _add_simulate(verbs: Any) -> None:
    """Describe the options of `simulate`."""
    example = "pulsetwin simulate scan.seq --phantom brain --matrix 128 --coils 8 --snr 50 -o scan.dat"
    verb = _verb(verbs, "simulate", simulate, "play a .seq on a phantom and write raw data", example)
    verb.add_argument("seq", help="sequence (.seq)")
    verb.add_argument("--phantom", default="brain", help="brain (default), nist, shepp-logan, tube, vials, or a "
                      "NIfTI")  # fmt: skip
    verb.add_argument("--matrix", type=_positive(int), default=128, metavar="N", help="voxels in the plane (128)")
    verb.add_argument(
        "--scanner", help="scanner preset, or a TOML file (default: the field B0 of the .seq, or siemens-prisma)"
    )
    verb.add_argument("--coils", type=_positive(int), metavar="N", help="loops of a receive array, up to 32 (default: "
                      "the phantom's own sensitivities)")  # fmt: skip
    verb.add_argument("--snr", type=_positive(float), help="signal-to-noise ratio of the image; no noise by default")
    verb.add_argument("--receiver-delay", type=float, default=0.0, metavar="S", help="late sampling [s]: EPI ghosts")
    verb.add_argument(
        "--gradient-delay", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "Z"),
        help="late gradients along x, y, z [s]",
    )  # fmt: skip
    verb.add_argument("--engine", choices=ENGINES, default="auto", help="how to simulate (default: by the sequence)")
    verb.add_argument("--tol", type=_positive(float), help="relative error allowed to the graphs (default: exact)")
    verb.add_argument("--spins", type=_positive(int), metavar="N", help="spins per voxel of the isochromats (256)")
    verb.add_argument("--seed", type=int, default=0, help="of noise and spins (0)")
    verb.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DAT",
        help="raw data to write: .dat (TWIX), .h5 or .mrd (MRD), or .spinsolve (a folder)",
    )
    verb.add_argument("--force", action="store_true", help="replace an existing file")
    verb.set_defaults(if_memory_ends="pass a smaller --matrix, or fewer --coils or --spins")


def _verb(verbs: Any, name: str, run: Callable[..., int], about: str, example: str) -> argparse.ArgumentParser:
    """Add a verb with its one-line description and its example."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}"
    )
    verb.set_defaults(run=run, if_memory_ends="close other programs, or use a machine with more")
    return verb


class _Version(argparse.Action):
    """Print the version; it is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from pulsetwin import __version__

        sys.stdout.write(f"pulsetwin {__version__}\n")
        parser.exit()


def _positive(kind: type) -> Callable[[str], Any]:
    """Return a parser of positive numbers."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    parse.__name__ = "number"
    return parse
