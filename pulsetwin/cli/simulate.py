"""The verb `simulate`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pulsetwin.cli.files import existing, scanner, writable
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar

if TYPE_CHECKING:
    from pulsetwin.scanner import Scanner
    from pulsetwin.sequences.seqfile import SeqFile

_WRITERS = {".dat": "twix", ".h5": "mrd", ".mrd": "mrd", ".spinsolve": "spinsolve"}
_SCANNER = "siemens-prisma"


def simulate(options: argparse.Namespace) -> int:
    """Play a `.seq` on a phantom and write the raw data that a scanner would."""
    path = existing(options.seq)
    suffix = Path(options.output).suffix.lower()
    folder = suffix == ".spinsolve"
    writable(options.output, (path, options.phantom, options.scanner or path), folder=folder, force=options.force)
    if suffix not in _WRITERS:
        raise ProtocolError(
            f"{options.output}: raw data are written as .dat (TWIX), .h5 or .mrd (MRD), or .spinsolve: name one"
        )
    if folder:
        from pulsetwin.export.spinsolve import require_simulated

        require_simulated(options.output)
    from pulsetwin.sequences.raser import is_raser
    from pulsetwin.sequences.seqfile import read_seq
    from pulsetwin.sim.acquire import acquire, phantom_for

    seq = read_seq(path)
    played_by = _scanner(options.scanner, seq)
    phantom = phantom_for(seq, options.phantom, options.matrix, played_by)
    if is_raser(seq.definitions):
        _check_raser(options)
        from pulsetwin.sim.raser.scan import acquire_raser

        raw = acquire_raser(seq, phantom, snr=options.snr, seed=options.seed)
    else:
        raw = acquire(
            seq,
            phantom,
            played_by,
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
    import_module(f"pulsetwin.export.{_WRITERS[suffix]}").write(raw, options.output, force=options.force)
    voxels = " x ".join(str(n) for n in phantom.grid[::-1])
    sys.stdout.write(
        f"scan     {options.output}  ({sum(len(group) for group in raw.groups)} readouts, coils: {raw.coils})\n"
        f"phantom  {options.phantom}  ({voxels} voxels)\n"
        f"engine   {raw.header['engine']}: {raw.header['engine_reason']}\n"
    )
    sys.stderr.write("".join(f"warning: {' '.join(warning.split())}\n" for warning in raw.warnings))
    return 0


def _check_raser(options: argparse.Namespace) -> None:
    """Raise `ProtocolError` if an option is given that does not act on a RASER scan."""
    idle = {
        "--coils": options.coils is not None, "--receiver-delay": options.receiver_delay != 0,
        "--gradient-delay": any(options.gradient_delay), "--engine": options.engine != "auto",
        "--tol": options.tol is not None, "--spins": options.spins is not None,
    }  # fmt: skip
    for name, given in idle.items():
        if given:
            raise ProtocolError(f"{name} does not act on a RASER scan: leave it out")


def _scanner(name: str | None, seq: SeqFile) -> Scanner | None:
    """Return the scanner asked for; if none is, none for a `.seq` that states its field, and a default for others."""
    from pulsetwin.sim.acquire_settings import stated_field

    if name is None and stated_field(seq) is not None:
        return None
    return scanner(name or _SCANNER)
