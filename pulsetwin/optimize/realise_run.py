"""The sequence of a run's folder: what was learnt, realised as a `.seq`, checked, and simulated again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulsetwin.atomic import atomic_file, require_writable
from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.export.realise import realise
from pulsetwin.export.realise_gap import RealityGap, reality_gap
from pulsetwin.export.siemens import write_seq
from pulsetwin.optimize.experiment import read_experiment
from pulsetwin.optimize.problem import problem_of
from pulsetwin.scanner import Scanner

SEQUENCE, REALITY = "sequence.seq", "reality.json"


def realise_run(folder: str | Path, *, pulse: str = "sinc", force: bool = False) -> tuple[dict[str, Any], RealityGap]:
    """Write ``sequence.seq`` of what a run has learnt, checked against the experiment's scanner, and ``reality.json``.

    Parameters
    ----------
    folder
        Of a finished run, see `run_experiment`.
    pulse
        See `realise`.
    force
        Whether to replace an earlier sequence.

    Returns
    -------
    dict
        As in ``reality.json``: the gap, by how much times grew, and what the check found.
    RealityGap
        With the images.

    Raises
    ------
    FileError
        If the folder holds no finished run.
    ProtocolError
        If the sequence cannot be realised or played, or if its phantoms are new in each step.
    OutputExistsError
        If it was realised before and `force` is false.
    """
    folder = Path(folder)
    for name in (SEQUENCE, REALITY):
        require_writable(folder / name, force=force)
    if not (folder / "learnt.npz").exists():
        raise FileError(folder, "holds no finished run", "let the experiment end, with --resume")
    problem = problem_of(read_experiment(folder / "experiment.toml"))
    if problem.still is None:
        raise ProtocolError(f"{folder}: it was learnt on phantoms that are new in each step: name one to compare on")
    with np.load(folder / "learnt.npz") as stored:
        values = {name: torch.from_numpy(stored[f"value_{name}"]) for name in problem.parameters}
    timeline = problem.timeline(values)
    scanner = Scanner.preset(problem.experiment.loop.scanner)
    own = realise(timeline, scanner, fov=problem.scheme.fov, pulse=pulse)
    report = write_seq(own.sequence, folder / SEQUENCE, scanner=scanner, version="1.5", force=force,
                       definitions={"Name": "learnt"})  # fmt: skip
    gap = reality_gap(
        timeline, folder / SEQUENCE, problem.still.voxels, lambda signal: problem.image(timeline, signal),
        max_states=problem.experiment.loop.states,
    )  # fmt: skip
    told = {
        "gap": gap.gap, "scale": abs(gap.scale), "shape_gap": gap.shape_gap, "longer": own.longer,
        "duration": own.duration, "learnt_duration": own.learnt_duration,
        "warnings": [str(finding) for finding in report.warnings],
    }  # fmt: skip
    with atomic_file(folder / REALITY, force=force) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return told, gap
