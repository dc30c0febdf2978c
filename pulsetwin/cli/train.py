"""The verb `train`: networks that learn from simulated scans."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.errors import ProtocolError
from pulsetwin.progress import bar


def add_train(verbs: Any) -> None:
    """Describe the verb and what there is to train."""
    about = "train networks on simulated scans"
    verb = verbs.add_parser(
        "train", help=about, description=f"{about[0].upper()}{about[1:]}.",
        epilog="example: pulsetwin train raser -o raser.safetensors",
    )  # fmt: skip
    kinds = verb.add_subparsers(title="networks", metavar="KIND", required=True)
    told = "networks for images of RASER scans, by a stream of random images"
    example = "example: pulsetwin train raser --seq raser.seq -o raser.safetensors"
    raser = kinds.add_parser("raser", help=told, description=f"{told[0].upper()}{told[1:]}.", epilog=example)
    raser.set_defaults(run=train_raser, if_memory_ends="train for a scan of a smaller matrix")
    raser.add_argument("--seq", metavar="SEQ", help="the RASER .seq to train for (default: 44 by 44 pixels of "
                       "0.1223 Hz, 30 angles)")  # fmt: skip
    raser.add_argument("--over-threshold", type=float, metavar="TIMES", help="inversion over the threshold (10)")
    raser.add_argument("--t1", type=float, metavar="S", help="T1 of the sample, about (5 s)")
    raser.add_argument("--t2star", type=float, metavar="S", help="T2* of the sample, within 3 %% (0.7 s)")
    raser.add_argument("--steps", type=int, metavar="N", help="updates of the weights")
    raser.add_argument("--seed", type=int, default=0, help="of the first weights and of all images (0)")
    raser.add_argument("--resume", action="store_true", help="go on where an interrupted training ended")
    raser.add_argument("-o", "--output", required=True, metavar="FILE", help="networks to write (.safetensors)")
    raser.add_argument("--force", action="store_true", help="replace an existing file")


def train_raser(options: argparse.Namespace) -> int:
    """Train networks for RASER images, or go on with a training."""
    if not options.output.endswith(".safetensors"):
        raise ProtocolError(f"{options.output}: networks are written as .safetensors: name one")
    seq = existing(options.seq) if options.seq else None
    if options.resume:
        existing(options.output)
    writable(options.output, [] if seq is None else [seq], force=options.force or options.resume)
    from pulsetwin.recon.raser.purpose import Purpose, purpose_of
    from pulsetwin.recon.raser.train import Training, train
    from pulsetwin.sequences.seqfile import read_seq

    told = {"over_threshold": options.over_threshold, "t1": options.t1, "t2": options.t2star}
    sample = {name: value for name, value in told.items() if value is not None}
    purpose = Purpose(**sample) if seq is None else purpose_of(read_seq(seq).definitions, **sample)
    steps = {} if options.steps is None else {"steps": options.steps}
    training = Training(seed=options.seed, **steps)
    with _checkpoint_told(Path(options.output), options.resume):
        train(options.output, purpose, training, resume=options.resume, progress=bar(), tell=_tell)
    sys.stdout.write(f"networks {options.output}\n")
    return 0


@contextmanager
def _checkpoint_told(path: Path, resumed: bool) -> Iterator[None]:
    """Let an interrupt say where the last checkpoint is, if there is one of this training."""
    before = path.stat().st_mtime_ns if path.exists() else None
    try:
        yield
    except KeyboardInterrupt:
        if resumed or (path.exists() and path.stat().st_mtime_ns != before):
            raise KeyboardInterrupt(f"the last checkpoint is {path}: pass --resume to go on from it") from None
        raise


def _tell(step: int, figures: dict[str, float]) -> None:
    """Tell how well images that are not trained with come out."""
    one, both = ((figures[f"mse_{part}"], figures[f"ssim_{part}"]) for part in ("profiles", "both"))
    sys.stdout.write(
        f"step {step:6d}  held out, MSE/SSIM: profiles {one[0]:.4f}/{one[1]:.3f}, both {both[0]:.4f}/{both[1]:.3f}\n"
    )
    sys.stdout.flush()
