"""The command line: one verb per job. Everything heavy is imported inside the verb that needs it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.errors import FileError, ProtocolError, PulsetwinError, TwixError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.scanner import Scanner

METHODS = ("auto", "fft", "grappa", "sense", "nufft", "wavelet", "tv")
ENGINES = ("auto", "graphs", "isochromats")
GIB = 1 << 30
OK, FAILED, ERROR, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 not playable, 2 an error told in one line."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except PulsetwinError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; check the path, its permissions and the free space")
    except MemoryError:
        return _fail("not enough memory; pass a smaller --memory, or fewer virtual coils with --coils")
    except KeyboardInterrupt:
        sys.stderr.write("\npulsetwin: interrupted; no output was written\n")
        return INTERRUPTED


def recon(options: argparse.Namespace) -> int:
    """Reconstruct a scan into a folder of images, figures and a report."""
    inputs = _recon_inputs(options)
    from pulsetwin.atomic import require_writable

    require_writable(options.output, force=options.force)
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
            memory=None if options.memory is None else int(options.memory * GIB),
            precision="double" if options.double else "single",
            device=options.device,
            progress=progress,
        )
    settings = {name: getattr(options, name) for name in SETTINGS}
    kept = {"settings": settings, "inputs": inputs, "timings": timings, "extras": images.extras}
    outputs = write_recon(options.output, raw, images, **kept, force=options.force, progress=progress)
    _report_recon(Path(options.output), images, outputs)
    return OK


SETTINGS = ("method", "coils", "memory", "partial", "trust_seq", "double", "device")


def simulate(options: argparse.Namespace) -> int:
    """Play a `.seq` on a phantom and write the raw data that a scanner would."""
    path = _existing(options.seq)
    from pulsetwin.atomic import require_writable

    require_writable(options.output, force=options.force)
    if options.output.endswith((".h5", ".mrd")):
        from pulsetwin.export.mrd import write
    else:
        from pulsetwin.export.twix import write
    from pulsetwin.sequences.seqfile import read_seq
    from pulsetwin.sim.acquire import acquire, phantom_for

    seq = read_seq(path)
    scanner = _scanner(options.scanner)
    phantom = phantom_for(seq, options.phantom, options.matrix, scanner)
    raw = acquire(
        seq,
        phantom,
        scanner,
        coils=options.coils,
        snr=options.snr,
        receiver_delay=options.receiver_delay,
        gradient_delay=tuple(options.gradient_delay),
        engine=options.engine,
        tol=options.tol,
        spins=options.spins,
        seed=options.seed,
        progress=bar(),
    )
    write(raw, options.output, force=options.force)
    voxels = " x ".join(str(n) for n in phantom.grid[::-1])
    sys.stdout.write(
        f"scan     {options.output}  ({sum(len(group) for group in raw.groups)} readouts, coils: {raw.coils})\n"
        f"phantom  {options.phantom}  ({voxels} voxels)\n"
        f"engine   {raw.header['engine']}: {raw.header['engine_reason']}\n"
    )
    sys.stderr.write("".join(f"warning: {' '.join(warning.split())}\n" for warning in raw.warnings))
    return OK


def info(options: argparse.Namespace) -> int:
    """Tell what is in a raw-data file or a `.seq`."""
    path = _existing(options.file)
    if path.suffix.lower() == ".seq":
        from pulsetwin.export.describe import describe_seq
        from pulsetwin.sequences.seqfile import read_seq

        facts = describe_seq(read_seq(path))
    else:
        from pulsetwin.export.describe_raw import describe_raw
        from pulsetwin.recon.read import read

        try:
            raw = read(path, progress=bar())
        except TwixError:
            raw = read(path, partial=True, progress=bar())
        facts = describe_raw(raw)
    if options.json:
        from pulsetwin.export.summary import to_json

        sys.stdout.write(to_json(facts))
    else:
        from pulsetwin.export.text import to_text

        sys.stdout.write(to_text(facts))
    return OK


def check(options: argparse.Namespace) -> int:
    """Check whether a scanner can play a `.seq`."""
    path = _existing(options.seq)
    from pulsetwin.atomic import require_writable
    from pulsetwin.export.playable import check as check_playable
    from pulsetwin.sequences.seqfile import read_seq

    if options.json:
        require_writable(options.json, force=options.force)
    result = check_playable(read_seq(path), _scanner(options.scanner))
    if options.json:
        from pulsetwin.export.summary import write_json

        write_json(options.json, result.to_dict(), force=options.force)
    sys.stdout.write(f"{result.text()}\n")
    return OK if result.playable else FAILED


def plot(options: argparse.Namespace) -> int:
    """Draw a sequence diagram and its k-space."""
    path = _existing(options.seq)
    from pulsetwin.atomic import require_writable

    require_writable(options.output, force=options.force)
    from pulsetwin.export.diagram import diagram
    from pulsetwin.export.figures import save_png
    from pulsetwin.sequences.seqfile import read_seq

    save_png(diagram(read_seq(path)), options.output, force=options.force)
    sys.stdout.write(f"diagram  {options.output}\n")
    return OK


def _parser() -> argparse.ArgumentParser:
    """Describe verbs and options."""
    about = "Simulate, reconstruct, inspect and check Pulseq MRI scans and sequences."
    parser = argparse.ArgumentParser(
        prog="pulsetwin", description=about, epilog="'pulsetwin VERB --help' explains a verb and gives an example."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_recon(verbs)
    _add_simulate(verbs)
    file = _verb(verbs, "info", info, "tell what is in a raw-data file or a .seq", "pulsetwin info scan.dat")
    file.add_argument("file", help="raw data (.dat, .h5) or sequence (.seq)")
    file.add_argument("--json", action="store_true", help="print JSON")
    example = "pulsetwin check scan.seq --scanner siemens-prisma"
    checked = _verb(verbs, "check", check, "check whether a scanner can play a .seq (exit code 1 if not)", example)
    checked.add_argument("seq", help="sequence (.seq)")
    checked.add_argument("--scanner", required=True, help="scanner preset, such as siemens-prisma, or a TOML file")
    checked.add_argument("--json", metavar="FILE", help="write the findings as JSON")
    checked.add_argument("--force", action="store_true", help="replace an existing file")
    drawn = _verb(verbs, "plot", plot, "draw a sequence diagram and its k-space", "pulsetwin plot scan.seq -o scan.png")
    drawn.add_argument("seq", help="sequence (.seq)")
    drawn.add_argument("-o", "--output", required=True, metavar="PNG", help="picture to write")
    drawn.add_argument("--force", action="store_true", help="replace an existing picture")
    return parser


def _add_recon(verbs: Any) -> None:
    """Describe the options of `recon`."""
    example = "pulsetwin recon scan.dat --seq scan.seq --reference ref.dat --reference-seq ref.seq -o out/"
    verb = _verb(verbs, "recon", recon, "reconstruct a scan: images, figures and a report", example)
    verb.add_argument("scan", help="raw data (Siemens .dat, or ISMRMRD .h5)")
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
    verb.add_argument("--force", action="store_true", help="replace the files of an earlier run")
    verb.add_argument("--double", action="store_true", help="compute in double precision")
    verb.add_argument("--device", default="cpu", help="where to compute, such as cuda (default: cpu)")


def _add_simulate(verbs: Any) -> None:
    """Describe the options of `simulate`."""
    example = "pulsetwin simulate scan.seq --phantom brain --matrix 128 --coils 8 --snr 50 -o scan.dat"
    verb = _verb(verbs, "simulate", simulate, "play a .seq on a phantom and write raw data", example)
    verb.add_argument("seq", help="sequence (.seq)")
    verb.add_argument("--phantom", default="brain", help="brain (default), nist, shepp-logan, vials, or a NIfTI")
    verb.add_argument("--matrix", type=_positive(int), default=128, metavar="N", help="voxels in the plane (128)")
    verb.add_argument("--scanner", default="siemens-prisma", help="scanner preset (siemens-prisma), or a TOML file")
    verb.add_argument("--coils", type=_positive(int), default=1, metavar="N", help="receive channels, up to 32 (1)")
    verb.add_argument("--snr", type=_positive(float), help="signal-to-noise ratio of the image; no noise by default")
    verb.add_argument("--receiver-delay", type=float, default=0.0, metavar="S", help="late sampling [s]: EPI ghosts")
    verb.add_argument(
        "--gradient-delay", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "Z"),
        help="late gradients along x, y, z [s]",
    )  # fmt: skip
    verb.add_argument("--engine", choices=ENGINES, default="auto", help="how to simulate (default: by the sequence)")
    verb.add_argument("--tol", type=_positive(float), help="relative error allowed to the graphs (default: exact)")
    verb.add_argument("--spins", type=_positive(int), default=256, metavar="N", help="spins per voxel (256)")
    verb.add_argument("--seed", type=int, default=0, help="of noise and spins (0)")
    verb.add_argument(
        "-o", "--output", required=True, metavar="DAT", help="raw data to write: TWIX, or MRD if .h5 or .mrd"
    )
    verb.add_argument("--force", action="store_true", help="replace an existing file")


def _verb(verbs: Any, name: str, run: Callable[..., int], about: str, example: str) -> argparse.ArgumentParser:
    """Add a verb with its one-line description and its example."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}"
    )
    verb.set_defaults(run=run)
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


def _recon_inputs(options: argparse.Namespace) -> dict[str, Path]:
    """Return role to input file, after checking that they exist and that no option is left without its partner."""
    if options.reference_seq and not options.reference:
        raise ProtocolError("--reference-seq needs --reference: give the raw data of the reference too")
    if options.trust_seq and not options.seq:
        raise ProtocolError("--trust-seq needs --seq: give the .seq to trust")
    roles = ("scan", "seq", "reference", "reference_seq", "noise")
    return {role: _existing(getattr(options, role)) for role in roles if getattr(options, role)}


def _existing(name: str) -> Path:
    """Return a file's path, or raise if it is missing or a folder."""
    path = Path(name)
    if path.is_dir():
        raise FileError(path, "is a folder", "give the file itself")
    if not path.exists():
        raise FileError(path, "no such file", "check the path")
    return path


def _scanner(name: str) -> Scanner:
    """Return a preset, or the scanner of a TOML file."""
    from pulsetwin.scanner import Scanner

    return Scanner.load(name) if name.endswith(".toml") else Scanner.preset(name)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Record how long a step takes [s]."""
    began = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - began


def _report_recon(out: Path, images: Any, outputs: Sequence[str]) -> None:
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


def _fail(message: str) -> int:
    """Tell an error in one line."""
    sys.stderr.write("pulsetwin: " + " ".join(message.split()) + "\n")
    return ERROR
