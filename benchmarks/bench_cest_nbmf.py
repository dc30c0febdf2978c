"""Neural Bloch-McConnell fitting of two synthetic brains: time, truth, and transfer from one to the other.

Protocols are an image of M0 and 30 of semisolid MT (6 to 14 ppm), and the same of the amide (3.5 ppm): 13 spin-locks,
15 degrees, 45 shots. Give the edge of voxels in mm (2 for 170,000) and the number of threads. Grey and white matter
have typical values at 3 T, which vary smoothly by the shares stated below; noise is 0.5 % of M0, and the maps that are
given have errors as measured ones do. The published agreement is that of Finkelstein et al. 2025 between volunteers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from pulsetwin.recon.agreement import icc, nrmse, pearson
from pulsetwin.recon.cest_mrf.nbmf import FURTHER, learn
from pulsetwin.recon.cest_mrf.problem import Problem, normalised, predicted
from pulsetwin.recon.cest_mrf.reconstructor import Reconstructor, estimated, told_values
from pulsetwin.recon.cest_mrf.training import Training
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from pulsetwin.sim.phantom_brain import brain
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol

T = TypeVar("T")
Values = dict[str, np.ndarray]
SOLID, AMIDE = Pool("mt", 0.1, 40.0, 0.0, 1.3, 4e-5), Pool("amide", 3e-3, 40.0, 3.5, 1.3, 0.04)
# grey matter, white matter, and share by which tissue varies (standard deviation)
TISSUES = {
    "t1": (1.45, 0.84, 0.05), "t2": (0.085, 0.069, 0.05),
    "mt.fraction": (0.075, 0.14, 0.08), "mt.exchange_rate": (45.0, 32.0, 0.08),
    "amide.fraction": (2.6e-3, 3.2e-3, 0.1), "amide.exchange_rate": (60.0, 42.0, 0.12),
}  # fmt: skip
FIELDS = {"b0_shift": (0.0, 0.08), "b1": (1.0, 0.08)}
ERRORS = {"t1": 0.02, "t2": 0.04, "b0_shift": 5e-3, "b1": 0.01}  # of T1 and T2 relative
NOISE = 5e-3
BEGUN = Training(steps=200, batch=512)
SOLID_FREE = {"mt.fraction": (0.0, 0.3), "mt.exchange_rate": (5.0, 150.0)}
AMIDE_FREE = {"amide.fraction": (0.0, 0.012), "amide.exchange_rate": (5.0, 400.0)}
PUBLISHED = {
    "mt.fraction": (7, 0.87), "mt.exchange_rate": (12, 0.82), "amide.fraction": (7, 0.86),
    "amide.exchange_rate": (18, 0.86),
}  # fmt: skip


def protocols() -> tuple[Problem, Problem]:
    """Return what is measured of semisolid and amide."""
    rng = np.random.default_rng(5)
    solid, amide = (
        {"b1": (0.0, *(1e-6 * rng.uniform(0.5, 4, 30).round(2))), "offset": (14.0, *offsets)}
        for offsets in (rng.uniform(6, 14, 30).round(1), np.full(30, 3.5))
    )
    with tempfile.TemporaryDirectory() as folder:
        return tuple(  # type: ignore[return-value]
            _problem(Path(folder) / f"{len(pools)}.seq", schedule, pools)
            for schedule, pools in ((solid, (SOLID,)), (amide, (SOLID, AMIDE)))
        )


def _problem(path: Path, schedule: dict[str, tuple[float, ...]], pools: tuple[Pool, ...]) -> Problem:
    model = PoolModel(1.3, 0.08, pools, 2.8936, reset=False)
    program = compile_seq(spin_lock_protocol(path, **schedule), model, spoiled=True)
    return Problem(program, model, "transverse", "first")


def subject(edge: float, seed: int) -> tuple[Values, Values]:
    """Return the truth of a brain, ``[voxel]``, and the maps that are measured of it."""
    rng, matrix = np.random.default_rng(seed), tuple(round(extent / edge) for extent in (150, 190, 160))
    fov = tuple(1e-3 * edge * count for count in matrix[::-1])
    phantom = brain(matrix, fov, isocentre=(0.0, -0.017 + 2e-3 * seed, 0.010 - 3e-3 * seed), fields=False)
    t1 = phantom.t1.numpy()
    mask = (phantom.proton_density.numpy() > 0.5) & (t1 > 0.8) & (t1 < 1.75)  # little or no fluid
    white = np.clip((1 / t1[mask] - 1 / 1.607) / (1 / 0.838 - 1 / 1.607), 0, 1)

    def smooth(width: float) -> np.ndarray:
        field = gaussian_filter(rng.standard_normal(matrix), width / edge)
        return (field / field.std())[mask]

    truth = {name: middle + spread * smooth(40.0) for name, (middle, spread) in FIELDS.items()}
    for name, (grey, other, share) in TISSUES.items():
        person = 1 + 0.02 * rng.standard_normal()
        truth[name] = person * ((1 - white) * grey + white * other) * (1 + share * smooth(12.0))
    maps = {
        name: truth[name] + error * (truth[name] if name in TISSUES else 1.0) * rng.standard_normal(len(white))
        for name, error in ERRORS.items()
    }
    return truth, maps


def scanned(problem: Problem, truth: Values, seed: int, threads: int) -> np.ndarray:
    """Return normalised noisy signals."""
    names = [name for name in truth if name in dict(problem.model.parameters())]
    played = predicted(problem, names, np.column_stack([truth[name] for name in names]), threads)
    return normalised(
        played + NOISE * played[:, :1] * np.random.default_rng(seed).standard_normal(played.shape), "first"
    )


def timed(what: str, job: Callable[[], T]) -> T:
    """Return what a job does; print its time on the clock and of the processors."""
    clock, processor = time.perf_counter(), time.process_time()
    result = job()
    print(f"  {what:42} {time.perf_counter() - clock:7.1f} s, {time.process_time() - processor:7.1f} s of CPU time",
          flush=True)  # fmt: skip
    return result


class Fitted(NamedTuple):
    """Networks of one subject."""

    solid: Reconstructor
    amide: Reconstructor


def fitted(data: tuple[np.ndarray, np.ndarray], maps: Values, threads: int, begin: Fitted | None = None) -> Fitted:
    """Return networks that are trained on a subject, further from those of another if these are given."""
    problems, how = protocols(), {"training": FURTHER if begin else BEGUN, "threads": threads}
    solid = timed("semisolid: training", lambda: learn(
        data[0], problems[0], SOLID_FREE, maps, reconstructor=begin and begin.solid, **how
    ))  # fmt: skip
    known = maps | mapped(solid, data[0], maps)
    amide = timed("amide: training", lambda: learn(
        data[1], problems[1], AMIDE_FREE, known, reconstructor=begin and begin.amide, **how
    ))  # fmt: skip
    return Fitted(solid, amide)


def mapped(network: Reconstructor, data: np.ndarray, known: Values) -> Values:
    """Return what a network tells."""
    ordered = {name: known[name] for name in network.given}
    return dict(zip(network.free, told_values(network, data, ordered).T, strict=True))


def maps_of(networks: Fitted, data: tuple[np.ndarray, np.ndarray], maps: Values) -> Values:
    """Return the maps of a subject by the networks of it or of another."""
    solid = mapped(networks.solid, data[0], maps)
    return solid | mapped(networks.amide, data[1], maps | solid)


def main() -> None:
    """Print times and tables."""
    edge, threads = float(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    problems, people = protocols(), []
    for seed in (0, 1):
        truth, maps = subject(edge, seed)
        data = tuple(scanned(problem, truth, seed, threads) for problem in problems)
        people.append((truth, maps, data))
        print(f"subject {seed}: {len(truth['t1'])} voxels")
    print("first subject")
    first = fitted(people[0][2], people[0][1], threads)
    truth, maps, data = people[1]
    print("second subject")
    own = fitted(data, maps, threads)
    beside = timed("semisolid: training in parallel", lambda: learn(
        data[0], problems[0], SOLID_FREE, maps, training=BEGUN, parallel=True, threads=threads
    ))  # fmt: skip
    for name, values in mapped(beside, data[0], maps).items():
        agreed = f"r {pearson(values, truth[name]):.4f} NRMSE {100 * nrmse(values, truth[name]):.2f} %"
        print(f"{name:22} in parallel: {agreed}")
    found = {"its own network": timed("inference of all maps", lambda: maps_of(own, data, maps))}
    timed("residual of semisolid", lambda: estimated(own.solid, data[0], problems[0], maps, threads=threads))
    found["network of the first subject"] = maps_of(first, data, maps)
    print("second subject, further from the first")
    further = fitted(data, maps, threads, first)
    found["the same, trained further"] = maps_of(further, data, maps)
    tables(found, truth)


def tables(found: dict[str, Values], truth: Values) -> None:
    """Print agreement with the truth, and of each network with the subject's own."""
    own = next(iter(found.values()))
    for name, (published, agreed) in PUBLISHED.items():
        for who, values in found.items():
            line = f"{name:22} {who:30} truth: r {pearson(values[name], truth[name]):.3f}"
            line += f" NRMSE {100 * nrmse(values[name], truth[name]):5.1f} %"
            if values is not own:
                line += f"; own network: NRMSE {100 * nrmse(values[name], own[name]):5.1f} % (published {published} %)"
                line += f" ICC {icc(values[name], own[name]):.2f} ({agreed})"
            print(line)


if __name__ == "__main__":
    main()
