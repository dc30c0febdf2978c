"""The verb `optimize`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pulsetwin.cli.files import existing, writable
from pulsetwin.progress import bar


def optimize(options: argparse.Namespace) -> int:
    """Learn a sequence as an experiment says, and tell how good and how strong it is."""
    path = existing(options.experiment)
    writable(options.output, (path,), folder=True, force=True)  # what the folder may hold is for the run to say
    from pulsetwin.optimize.experiment import read_experiment
    from pulsetwin.optimize.live import Window
    from pulsetwin.optimize.run import run_experiment

    seen: dict[str, Any] = {"progress": bar()}
    if options.live:
        window = Window()
        seen = {"progress": window.along(seen["progress"]), "show": window.show}
    try:
        result = run_experiment(read_experiment(path), options.output, resume=options.resume, **seen)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"pass --resume to go on with the run in {options.output}") from None
    sys.stdout.write(
        f"learnt   {options.output}  ({result['steps']} steps, {result['cpu_seconds']:.0f} s of processor time)\n"
    )
    sys.stdout.write(_t1_words(result) if "t1_error" in result else _image_words(result))
    return 0


def _image_words(result: Mapping[str, Any]) -> str:
    return (
        f"image    differs from the target by {100 * result['image_error']:.1f} %\n"
        f"SAR      {100 * result['sar']:.1f} % of the target's\n"
        f"sequence {_sequence_words(result)}\n"
    ) + "".join(
        f"limit    of {name} exceeded: {result[name]:.3g}, allowed were {result[f'{name}_limit']:.3g}\n"
        for name in result["exceeded"]
    )


def _sequence_words(result: Mapping[str, Any]) -> str:
    if "not_realised" in result:
        return f"none: {result['not_realised']}"
    if "reality" not in result:
        return "passes the check"
    reality = result["reality"]
    longer = "".join(f"; {name} {1e3 * time:.2f} ms longer" for name, time in reality["longer"].items())
    return f"passes the check; by graphs its image differs from the learnt one by {100 * reality['gap']:.1f} %{longer}"


def _t1_words(result: Mapping[str, Any]) -> str:
    return (
        f"T1       differs by {100 * result['t1_error']:.1f} % in a brain (median), noise alone makes "
        f"{100 * result['deviation']:.2f} % at least\n"
        f"time     {result['duration']:.1f} s\n"
        f"sequence {_sequence_words(result)}\n"
    )


def add_optimize(verb: argparse.ArgumentParser) -> None:
    """Describe the options of `optimize`."""
    verb.add_argument("experiment", help="what is learnt, on what, and how (.toml)")
    verb.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to work in")
    verb.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    verb.add_argument("--live", action="store_true", help="show each picture in a window while it learns")
    verb.set_defaults(if_memory_ends="give a smaller matrix, or fewer states or samples in the experiment")
