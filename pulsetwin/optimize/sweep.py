"""Many runs of one experiment with other settings, on any executor, each in a folder of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.run import require_own, run_experiment
from pulsetwin.settings_file import read_toml


def sweep(
    path: str | Path, settings: Mapping[str, Sequence[Any]], folder: Path, executor: Executor
) -> list[dict[str, Any]]:
    """Run all combinations of settings and return their results, each with its ``settings``.

    A run is a folder named by its number; one that was broken off goes on, one that is finished is not repeated.

    Parameters
    ----------
    path
        TOML file of the experiment.
    settings
        Values to try, by ``table.key``.
    folder
        Where the runs lie.
    executor
        Who runs them.

    Raises
    ------
    FileError
        If the file is missing or no TOML.
    ProtocolError
        Before any run, if a combination is no experiment.
    MismatchError
        If a folder holds a run of another combination.
    """
    tables = read_toml(path)
    combinations = [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]
    asked = [(_with(tables, chosen), chosen) for chosen in combinations]
    for own, _ in asked:
        experiment_from(own, str(path))
    jobs = [executor.submit(_run, own, str(path), folder / f"{number:04d}") for number, (own, _) in enumerate(asked)]
    return [{**job.result(), "settings": chosen} for job, (_, chosen) in zip(jobs, asked, strict=True)]


def _with(tables: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: dict(value) if isinstance(value, dict) else value for name, value in tables.items()}
    for name, value in chosen.items():
        table, _, key = name.partition(".")
        if not key or not isinstance(own.get(table, {}), dict):
            raise ProtocolError(f"sweep: {name!r} names no setting: give table.key, such as loop.seed")
        own.setdefault(table, {})[key] = value
    return own


def _run(tables: dict[str, Any], source: str, folder: Path) -> dict[str, Any]:
    experiment = experiment_from(tables, source, _as_toml(tables))
    require_own(folder, experiment, resume=True)
    done = folder / "result.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return found
    return run_experiment(experiment, folder, resume=True)


def _as_toml(tables: Mapping[str, Any]) -> str:
    """Return the text of an experiment: numbers, texts, truths and lists of them are written as in JSON."""
    alone = [f"{name} = {json.dumps(value)}" for name, value in tables.items() if not isinstance(value, dict)]
    for table, own in tables.items():
        if isinstance(own, dict):
            alone += ["", f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in own.items())]
    return "\n".join(alone) + "\n"
