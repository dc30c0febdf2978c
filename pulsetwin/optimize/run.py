"""Run an experiment in a folder: checkpoint, film, and what was learnt with all that it takes to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import MismatchError, OutputExistsError, ProtocolError
from pulsetwin.export.summary import file_facts, write_json
from pulsetwin.optimize.constrained import optimise_under
from pulsetwin.optimize.experiment import Experiment
from pulsetwin.optimize.film import Show, keep_picture, save_film, state_figure, unseen
from pulsetwin.optimize.loop import Learnt, Watch, optimise
from pulsetwin.optimize.losses import contrast_errors, relative_l2
from pulsetwin.optimize.problem import Imaged, Problem, problem_of
from pulsetwin.optimize.realise_run import SEQUENCE, realise_values
from pulsetwin.optimize.t1_experiment import T1Experiment
from pulsetwin.optimize.t1_run import NETWORK, learn_t1
from pulsetwin.optimize.t1_run import OUTPUTS as T1_OUTPUTS
from pulsetwin.optimize.time_spent import SPENT, time_spent
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.image_network import save_image_network
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINT, LEARNT, RESULT, _EXPERIMENT = "checkpoint.pt", "learnt.npz", "result.json", "experiment.toml"
_SPINS_IN_ALL = 5 * 10**9  # times intervals


def run_experiment(
    experiment: Experiment | T1Experiment, folder: str | Path, *, resume: bool = False, progress: Progress = silent,
    show: Show = unseen,
) -> dict[str, Any]:  # fmt: skip
    """Learn what an experiment asks for, and return its result, as in ``result.json``.

    The folder holds ``experiment.toml``, ``checkpoint.pt``, ``learnt.npz`` (the timeline's tensors, the learnt values
    as ``value_NAME``, ``image`` and ``target``), ``result.json``, ``spent.json``, ``state.png``, a film (see
    `film.save_film`), and ``sequence.seq`` where the scanner can play what was learnt, see
    `realise_run.realise_values`, and ``network.safetensors`` where a network repairs images; of T1 mapping, what
    `t1_run.learn_t1` says and ``result.json``.

    Parameters
    ----------
    experiment
        Its settings.
    folder
        Where to work.
    resume
        Go on with a run in the folder that was broken off; a finished one is only written anew.
    progress
        Called with steps done, their number, and loss, error and SAR.
    show
        Called with each picture.

    Raises
    ------
    OutputExistsError
        If the folder holds anything and `resume` is false.
    MismatchError
        If the run in the folder is of another experiment.
    """
    folder = Path(folder)
    require_own(folder, experiment, resume)
    if isinstance(experiment, T1Experiment):
        _begin(folder, experiment)
        result = learn_t1(experiment, folder, progress, show)
        played = () if "not_realised" in result else (SEQUENCE,)
        return _told(folder, result, (_EXPERIMENT, *T1_OUTPUTS, *played))
    problem = problem_of(experiment)
    shown = problem.shown()
    _begin(folder, experiment)

    with time_spent(folder / SPENT) as spent:

        def watch(step: int, values: dict[str, Tensor], history: Sequence[Mapping[str, float]]) -> None:
            if step % experiment.loop.every == 0:
                spent()
            if step % experiment.loop.pictures == 0:
                keep_picture(_picture(problem, values, shown, history), folder, step, show)

        learnt = _learnt(problem, folder / CHECKPOINT, progress, watch)
    return _finish(folder, problem, shown, learnt, spent(), show)


def _learnt(problem: Problem, checkpoint: Path, progress: Progress, watch: Watch) -> Learnt:
    loop, limits = problem.experiment.loop, problem.experiment.limits
    settings: dict[str, Any] = {
        "method": loop.method, "steps": loop.steps, "rate": loop.rate, "decay": loop.decay, "restarts": loop.restarts,
        "seed": loop.seed, "checkpoint": checkpoint, "every": loop.every, "progress": progress, "watch": watch,
    }  # fmt: skip
    if not limits.asked:
        return optimise(problem.loss, problem.parameters, **settings)
    return optimise_under(problem.loss, problem.constraints, problem.parameters, rounds=limits.rounds, **settings)[0]


def require_own(folder: Path, experiment: Experiment | T1Experiment, resume: bool) -> None:
    """Raise unless a folder is empty, or holds a run of the experiment that is to go on; see `run_experiment`.

    Its text alone is of a run that ended before it began, and counts as nothing.
    """
    kept = folder / _EXPERIMENT
    inside = list(folder.iterdir()) if folder.exists() else []
    own = kept.exists() and kept.read_text("utf-8") == experiment.text
    if not inside or (own and inside == [kept]):
        return
    if not resume:
        raise OutputExistsError(f"{folder} is not empty: give another folder, or --resume to go on with its run")
    if not own:
        raise MismatchError(f"{folder} does not hold a run of this experiment: give its own, or another folder")


def _begin(folder: Path, experiment: Experiment | T1Experiment) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / _EXPERIMENT, force=True) as temporary:
        temporary.write_text(experiment.text, "utf-8")


def _picture(
    problem: Problem, values: dict[str, Tensor], shown: Imaged, history: Sequence[Mapping[str, float]]
) -> Figure:
    with torch.no_grad():
        timeline = problem.timeline(values)
        _, image = problem.repairing(values).measured(timeline, shown.voxels)
    return state_figure(problem, timeline, image, shown.image, history)


def _finish(
    folder: Path, problem: Problem, shown: Imaged, learnt: Learnt, spent: dict[str, float], show: Show
) -> dict[str, Any]:
    """Write what was learnt with its last picture and the film, and return the result."""
    with torch.no_grad():
        timeline, problem = problem.timeline(learnt.values), problem.repairing(learnt.values)
        _, image = problem.measured(timeline, shown.voxels)
        _write_learnt(folder / LEARNT, timeline, learnt, image, shown.image)
        result = _result(problem, shown, learnt, timeline, image, spent)
        result |= _by_isochromats(problem, shown, timeline, image)
    figure = state_figure(problem, timeline, image, shown.image, learnt.history)
    keep_picture(figure, folder, learnt.step, show)
    save_film(folder)
    result |= _realised(problem, shown, learnt, folder / SEQUENCE)
    files, network = [SEQUENCE] if "reality" in result else [], problem.learnt_network(learnt.values)
    if network is not None:
        save_image_network(folder / NETWORK, network)
        files.append(NETWORK)
    return _told(folder, result, (_EXPERIMENT, CHECKPOINT, LEARNT, *files))


def _realised(problem: Problem, shown: Imaged, learnt: Learnt, path: Path) -> dict[str, Any]:
    """Write the sequence, and return how far it is from what was learnt, or why there is none."""
    try:
        return {"reality": realise_values(problem, learnt.values, shown, path, force=True)[0]}
    except ProtocolError as error:
        return {"not_realised": str(error)}


def _told(folder: Path, result: dict[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Write a result with the version and the hashes of `files`, and return it."""
    from pulsetwin import __version__

    hashes = {name: file_facts(folder / name)["sha256"] for name in files}
    result = {"version": __version__, **result, "hashes": hashes}
    write_json(folder / RESULT, result, force=True)
    return result


def _result(
    problem: Problem, shown: Imaged, learnt: Learnt, timeline: Timeline, image: Tensor, spent: dict[str, float]
) -> dict[str, Any]:
    experiment = problem.experiment
    result = {
        "title": experiment.title, "seed": experiment.loop.seed, "steps": learnt.step,
        "image_error": float(relative_l2(image, shown.image).sqrt()), "sar": float(problem.relative_sar(timeline)),
        "loss": learnt.history[-1]["loss"], "engine": problem.engine.name, "engine_reason": problem.engine.why,
        "states_dropped": problem.engine.dropped(timeline, shown.voxels), **spent,
    }  # fmt: skip
    if experiment.target.kind == "steady":
        _, before = problem.of_target.measured(problem.target.timeline(), shown.voxels)
        steady = problem.steady(timeline, shown.voxels)
        result["artefact_energy"] = float(relative_l2(image, steady))
        result["artefact_energy_of_target"] = float(relative_l2(before, shown.image))
    for name, (value, limit) in problem.limited(timeline).items():
        result |= {name: float(value), f"{name}_limit": limit}
    result["exceeded"] = problem.exceeded(timeline)
    if shown.tissues is not None:
        errors = contrast_errors(image, shown.image, shown.tissues).tolist()
        result["contrast_errors"] = dict(zip(("grey", "white", "fluid"), errors, strict=True))
    return result


def _by_isochromats(problem: Problem, shown: Imaged, timeline: Timeline, image: Tensor) -> dict[str, float]:
    """Return how far an image is from that of as many spins as a few seconds allow, whose own noise counts in it."""
    work = len(shown.voxels) * len(timeline.duration)
    spins = 2 ** min(12, max(5, (_SPINS_IN_ALL // work).bit_length() - 1))
    signal = simulate_isochromats(timeline, shown.voxels, spins=spins)[0]
    truth = problem.image(timeline, signal)
    return {
        "spins": spins, "difference_to_isochromats": float(relative_l2(image, truth).sqrt()),
        "image_error_by_isochromats": float(relative_l2(truth, shown.image).sqrt()),
    }  # fmt: skip


def _write_learnt(path: Path, timeline: Timeline, learnt: Learnt, image: Tensor, target: Tensor) -> None:
    tensors = {
        name: getattr(timeline, name).detach().numpy()
        for name in ("flip_angle", "phase", "duration", "moment", "interval_start", "sample_interval", "sample_phase")
    }
    values = {f"value_{name}": value.numpy() for name, value in learnt.values.items()}
    with atomic_file(path, force=True) as temporary:
        np.savez(temporary, **tensors, **values, image=image.numpy(), target=target.numpy())
