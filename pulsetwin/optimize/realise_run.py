"""What a run has learnt as a `.seq`: realised, checked, and simulated again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import require_writable
from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.export.realise import realise
from pulsetwin.export.realise_gap import RealityGap, reality_gap
from pulsetwin.export.siemens import write_seq
from pulsetwin.optimize.experiment import Experiment, read_experiment
from pulsetwin.optimize.problem import Imaged, Problem, problem_of

SEQUENCE = "sequence.seq"


def realise_values(
    problem: Problem, values: Mapping[str, Tensor], shown: Imaged, path: str | Path, *, pulse: str = "sinc",
    force: bool = False,
) -> tuple[dict[str, Any], RealityGap]:  # fmt: skip
    """Write the sequence of learnt values as a `.seq`, checked against the experiment's scanner.

    Parameters
    ----------
    problem
        What was learnt.
    values
        Of its parameters.
    shown
        The phantom on which the sequence is compared with what was learnt.
    path
        Of the `.seq`.
    pulse
        See `realise`.
    force
        Whether to replace a file.

    Returns
    -------
    dict
        ``gap``, ``scale`` (its size) and ``shape_gap`` of `RealityGap`, and ``engine``, by which they are ``graphs``
        whatever engine learnt; ``longer``, ``duration`` and ``learnt_duration`` of `Realised`; and ``warnings`` of the
        check.
    RealityGap
        With the images.

    Raises
    ------
    ProtocolError
        If the sequence cannot be realised, or not be played.
    OutputExistsError
        If the file exists and `force` is false.
    """
    require_writable(Path(path), force=force)
    with torch.no_grad():
        timeline = problem.timeline(values)
    scheme = problem.scheme
    own = realise(timeline, problem.scanner, fov=scheme.fov, pulse=pulse, refocusing=scheme.refocusing)
    report = write_seq(
        own.sequence, path, scanner=problem.scanner, version="1.5", force=force, definitions={"Name": "learnt"}
    )
    gap = reality_gap(
        timeline, path, shown.voxels, lambda signal: problem.repairing(values).image(timeline, signal),
        max_states=problem.experiment.loop.states,
    )  # fmt: skip
    told = {
        "gap": gap.gap, "scale": abs(gap.scale), "shape_gap": gap.shape_gap, "engine": "graphs",
        "longer": own.longer, "duration": own.duration, "learnt_duration": own.learnt_duration,
        "warnings": [str(finding) for finding in report.warnings],
    }  # fmt: skip
    return told, gap


def realise_run(folder: str | Path, *, pulse: str = "sinc", force: bool = False) -> tuple[dict[str, Any], RealityGap]:
    """Write ``sequence.seq`` of what a finished run in a folder has learnt, as `realise_values`.

    Raises
    ------
    FileError
        If the folder holds no finished run.
    ProtocolError
        If its run is of T1 mapping, or as of `realise_values`.
    """
    folder = Path(folder)
    if not (folder / "learnt.npz").exists():
        raise FileError(folder, "holds no finished run", "let the experiment end, with --resume")
    experiment = read_experiment(folder / "experiment.toml")
    if not isinstance(experiment, Experiment):
        raise ProtocolError(f"{folder} holds a run of T1 mapping: its {SEQUENCE} is written with it")
    problem = problem_of(experiment)
    with np.load(folder / "learnt.npz") as stored:
        values = {name: torch.from_numpy(stored[f"value_{name}"]) for name in problem.parameters}
    return realise_values(problem, values, problem.shown(), folder / SEQUENCE, pulse=pulse, force=force)
