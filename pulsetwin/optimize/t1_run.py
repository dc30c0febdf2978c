"""Learn an inversion recovery and its network in a folder, and test them on a brain that neither has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_seq
from pulsetwin.optimize.film import Show, keep_picture, save_film, unseen
from pulsetwin.optimize.inversion_recovery import CRUSHING, RF_SPOILING
from pulsetwin.optimize.joint import learn_in_turns
from pulsetwin.optimize.loop import Watch
from pulsetwin.optimize.penalties import duration
from pulsetwin.optimize.realise_run import SEQUENCE
from pulsetwin.optimize.t1_experiment import InversionRecovery, T1Experiment
from pulsetwin.optimize.t1_mapping import T1Problem, complex_noise, t1_problem_of, weights_of
from pulsetwin.optimize.t1_picture import t1_figure
from pulsetwin.optimize.t1_precision import Readout, Usual, deviations, fitted_t1, overall, usual_of
from pulsetwin.optimize.time_spent import SPENT, time_spent
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.image_network import ImageNetwork, save_image_network
from pulsetwin.recon.t1_network import purpose_of, told_t1
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.inversion_recovery import Protocol, build
from pulsetwin.sequences.protocol import definitions
from pulsetwin.sequences.snapshot import readout as played_readout
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_tissue import alike, brain_tissues
from pulsetwin.sim.phantoms import brain

LEARNT, NETWORK = "learnt.npz", "network.safetensors"
OUTPUTS = (LEARNT, NETWORK)
_TURNS, _SCANNER = "turns", "siemens-prisma"
_MORE_STATES = 10  # times as many as while learning, in the test
_FULL = 5.0  # T1 of grey matter, after which it counts as recovered


def learn_t1(
    experiment: T1Experiment, folder: Path, progress: Progress = silent, show: Show = unseen
) -> dict[str, Any]:
    """Learn times and network, and return the result; go on with a run in the folder that was broken off.

    The folder then holds checkpoints in ``turns``, ``learnt.npz`` (the values of the sequence, ``t1`` as told and
    ``t1_true`` of the brain, and ``images`` without noise), ``network.safetensors``, ``state.png``, a film (see
    `film.save_film`), and ``sequence.seq``, with real pulses and checked; where what was learnt cannot be played, the
    result says why as ``not_realised``.

    Parameters
    ----------
    experiment
        Its settings.
    folder
        Where to work.
    progress
        Called with steps done, their number, and loss, error and time.
    show
        Called with each picture.

    Raises
    ------
    ProtocolError
        Before learning, if a scanner cannot play what it starts with.
    """
    problem, turns = t1_problem_of(experiment), experiment.turns
    scanner = Scanner.preset(_SCANNER)
    build(_protocol(experiment.sequence, problem.scheme.values, scanner), scanner)
    with time_spent(folder / SPENT) as spent:
        taught = learn_in_turns(
            problem.loss_of, problem.parameters, problem.turns, seed=turns.seed, folder=folder / _TURNS,
            every=turns.every, progress=progress, watch=_watched(problem, folder, show, spent),
        )  # fmt: skip
        lasted = spent()
    values = _of_sequence(problem, taught.values)
    times = {"TI": values["inversion_time"].tolist(), "recovery": values["recovery"].tolist()}
    network = replace(problem.network.with_weights(weights_of(taught.values)), purpose=_purpose(problem, values))
    save_image_network(folder / NETWORK, network)
    tested = _tested(problem, network, values)
    with atomic_file(folder / LEARNT, force=True) as temporary:
        np.savez(temporary, **{name: value.numpy() for name, value in {**values, **tested}.items()})
    figure = t1_figure(values, tested["t1"], tested["t1_true"], taught.history)
    keep_picture(figure, folder, len(taught.history), show)
    save_film(folder)
    return {
        "title": experiment.title, "seed": turns.seed, "steps": len(taught.history),
        "loss": taught.history[-1]["loss"], **times, **_errors(tested), **_cost(problem, values), **lasted,
        **_realised(experiment.sequence, values, folder / SEQUENCE),
    }  # fmt: skip


def _watched(problem: T1Problem, folder: Path, show: Show, spent: Callable[[], object]) -> Watch:
    """Return what keeps the time spent and pictures while the run learns.

    They are of a brain seen by as many states as it learns with.
    """
    phantom = _brain(problem)
    noise = _noise(problem)

    def watch(step: int, values: dict[str, Tensor], history: Sequence[Mapping[str, float]]) -> None:
        if step % problem.experiment.turns.every == 0:
            spent()
        if step % problem.experiment.turns.pictures:
            return
        played = _of_sequence(problem, values)
        with torch.no_grad():
            noisy = problem.images(played, phantom) + noise
            told = told_t1(problem.network, noisy[:, None], weights_of(values))[0]
        inside = phantom.proton_density[0] > 0
        figure = t1_figure(played, torch.where(inside, told, 0.0), torch.where(inside, phantom.t1[0], 0.0), history)
        keep_picture(figure, folder, step, show)

    return watch


def _of_sequence(problem: T1Problem, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of the sequence, learnt or not, among all parameters."""
    return problem.scheme.values | {name: values[name] for name in problem.experiment.learn.free}


def _brain(problem: T1Problem) -> Phantom:
    return brain((1, *problem.scheme.matrix), problem.scheme.fov, fields=False)


def _noise(problem: T1Problem) -> Tensor:
    """Return the noise of the images of the test, ``[image, y, x]``."""
    shape = (problem.experiment.sequence.images, *problem.scheme.matrix)
    return problem.noise * complex_noise(shape, torch.Generator().manual_seed(problem.experiment.turns.seed))


def _purpose(problem: T1Problem, values: Mapping[str, Tensor]) -> dict[str, Any]:
    readout = _readout(problem)
    return purpose_of(
        values["inversion_time"].tolist(), values["recovery"].tolist(), math.degrees(values["flip_angle"]), readout.tr,
        readout.pulses,
    )  # fmt: skip


def _realised(own: InversionRecovery, values: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """Write the sequence with slice-selective excitations and adiabatic inversions, checked, or tell why not."""
    from pulsetwin import __version__

    scanner = Scanner.preset(_SCANNER)
    try:
        protocol = _protocol(own, values, scanner)
        stated = definitions(protocol, "inversion_recovery", __version__)
        write_seq(build(protocol, scanner), path, scanner=scanner, definitions=stated, force=True)
    except ProtocolError as error:
        return {"not_realised": str(error)}
    return {}


def _protocol(own: InversionRecovery, values: Mapping[str, Tensor], scanner: Scanner) -> Protocol:
    """Return the settings of the sequence with real pulses.

    Learnt recoveries begin a repetition time after the last excitation, those of the protocol when its blocks end: as
    much earlier as the first excitation is after their start.
    """
    protocol = Protocol(
        fov=(own.fov, own.fov, own.thickness), matrix=(own.matrix, own.matrix, 1), te=own.te, echo_spacing=own.tr,
        bandwidth=1 / (own.matrix * own.dwell), flip_angle=float(values["flip_angle"]),
        inversion_times=tuple(values["inversion_time"].tolist()), rf_spoiling=RF_SPOILING, crushing=CRUSHING,
    )  # fmt: skip
    later = played_readout(protocol, protocol.flip_angle, scanner).centre
    return replace(protocol, recovery_times=tuple((values["recovery"] + later).tolist()))


def _tested(problem: T1Problem, network: ImageNetwork, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return images of a brain, and T1 of noisy ones by the network, by a fit, and as it is; 0 where nothing is."""
    own = problem.experiment
    phantom = _brain(problem)
    precise = replace(
        problem, experiment=replace(own, turns=replace(own.turns, states=_MORE_STATES * own.turns.states))
    )
    with torch.no_grad():
        images = precise.images(values, phantom)
        noisy = images + _noise(problem)
        told = told_t1(network, noisy[:, None])[0].double()
        fitted = fitted_t1(noisy.flatten(1), values, _readout(problem)).reshape(told.shape)
    inside = phantom.proton_density[0] > 0
    maps = {"t1": told, "t1_fit": fitted, "t1_true": phantom.t1[0]}
    return {name: torch.where(inside, one, 0.0) for name, one in maps.items()} | {"images": images}


def _errors(tested: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return medians of the relative error of T1, over all voxels of the brain and those of each tissue."""
    true = tested["t1_true"]
    inside = true > 0
    found = {"t1_error": inside} | {
        f"t1_error_{name}": inside & alike(true, tissue) for name, tissue in brain_tissues(3.0).items()
    }
    error, fitted = ((tested[name] / true - 1).abs() for name in ("t1", "t1_fit"))
    medians = {name: float(error[where].median()) for name, where in found.items() if bool(where.any())}
    return medians | {"t1_error_of_fit": float(fitted[inside].median())}


def _cost(problem: T1Problem, values: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return how long the sequence takes, how precise it can be, and the usual ones that are as precise."""
    readout, angle = _readout(problem), math.radians(problem.experiment.sequence.flip_angle)
    precision = float(overall(values, readout))
    recovered = _FULL * brain_tissues(3.0)["grey"].t1
    usual = {
        "usual": usual_of(precision, readout, angle),
        "usual_recovered": usual_of(precision, readout, angle, recovered),
    }
    return {
        "duration": float(duration(problem.scheme.timeline(values))), "deviation": precision,
        "deviations": dict(zip(("grey", "white", "fluid"), deviations(values, readout).tolist(), strict=True)),
        **{name: None if one is None else _plain(one) for name, one in usual.items()},
    }  # fmt: skip


def _plain(usual: Usual) -> dict[str, float]:
    return {name: getattr(usual, name) for name in Usual.__slots__}


def _readout(problem: T1Problem) -> Readout:
    own = problem.experiment.sequence
    return Readout(own.matrix, own.tr, own.te, problem.noise)
