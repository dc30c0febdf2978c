"""QALAS maps of the brain: the fit beside matching in the published dictionary, same data, same process.

The brain is that of ICBM152 at 3 T with its smooth B1; the inversion efficiency follows T1 and T2 as that of a real
pulse does. ``--size`` is the number of voxels along each axis of the matrix; 208 is the whole brain at 1 mm. The fit
maps all voxels; the dictionary only those of some of its 100 bins of B1 (``--bins``), all of each, so that its time is
that of a whole brain times the share of voxels. ``map_qalas`` is the fit as users call it, with maps of deviations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from pulsetwin.recon.qalas.dictionary import Grid, match
from pulsetwin.recon.qalas.fit import Fitted, fit
from pulsetwin.recon.qalas.maps import map_qalas
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Images, Maps

T = TypeVar("T")
VALUES = ("t1", "t2", "pd", "ie", "misfit")
TIMING = QalasTiming.preset("siemens", train_length=127)
BLOCK = 1 << 16


def voxels(size: int) -> dict[str, np.ndarray]:
    """T1, T2 [s], density, efficiency and B1 of the brain's voxels."""
    phantom = brain((size, size, size), (0.208, 0.208, 0.208))
    filled = phantom.proton_density > 0.3
    t1, t2, pd = (value[filled].numpy() for value in (phantom.t1, phantom.t2, phantom.proton_density))
    b1 = phantom.b1[0].abs()[filled].numpy().clip(0.65, 1.35)
    return {"t1": t1, "t2": t2, "pd": pd, "ie": np.exp(-0.008 / t2 - 0.002 / t1), "b1": b1}


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """Result, CPU time and time by the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - clock


def fitted(data: np.ndarray, b1: np.ndarray) -> Fitted:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        parts = list(pool.map(
            lambda k: fit(data[k : k + BLOCK], TIMING, b1[k : k + BLOCK]), range(0, len(data), BLOCK)
        ))  # fmt: skip
    return Fitted(*(np.concatenate([getattr(part, name) for part in parts]) for name in VALUES))


def mapped(data: np.ndarray, b1: np.ndarray, noise: float) -> Maps:
    images = Images(data.T[:, None, None], np.eye(4), ({},) * 5)
    return map_qalas(images, TIMING, b1[None, None], noise=noise, mask=np.ones((1, 1, len(b1)), bool))


def errors(found: Fitted, truth: dict[str, np.ndarray], some: np.ndarray) -> str:
    some = some & (truth["t1"] < 2.5)  # without fluid
    parts = [getattr(found, name)[some] / truth[name][some] - 1 for name in VALUES[:4]]
    return " ".join(f"{100 * np.sqrt(np.mean(part**2)):6.2f}" for part in parts)


def in_bins(b1: np.ndarray, count: int) -> np.ndarray:
    """Which voxels are of some bins of the dictionary: those at equal shares of the voxels sorted by B1."""
    near = np.abs(np.sort(b1)[((np.arange(count) + 0.5) / count * len(b1)).astype(int), None] - Grid().b1).argmin(1)
    width = Grid().b1[1] - Grid().b1[0]
    return np.isin(np.round((b1 - Grid().b1[0]) / width), near)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--bins", type=int, default=2, help="of the dictionary's 100 that are matched; 0 for none")
    parser.add_argument("--snr", type=float, nargs="+", default=[np.inf, 100, 50], help="of contrast 5's median")
    parser.add_argument("--threads", type=int, default=1, help="of the fit; the dictionary has one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    truth = voxels(options.size)
    values = {name: torch.from_numpy(value) for name, value in truth.items()}
    clean = signals(TIMING, values["t1"], values["t2"], pd=values["pd"], ie=values["ie"], b1=values["b1"]).numpy()
    everywhere, some = np.ones(len(clean), bool), in_bins(truth["b1"], max(options.bins, 1))
    mapped(clean[:1000], truth["b1"][:1000], 1.0)  # compiles
    print(f"{len(clean)} voxels, B1 {truth['b1'].min():.2f} to {truth['b1'].max():.2f}; {options.threads} threads")
    print("                  SNR  CPU us/voxel  clock, all voxels   RMSE [%] without fluid: T1  T2  PD  IE")

    def told(name: str, snr: float, cpu: float, clock: float, said: str) -> None:
        print(f"{name:<14}{snr:>7g} {1e6 * cpu / len(clean):13.2f} {clock:16.2f} s   {said}", flush=True)

    for snr in options.snr:
        noise = np.median(clean[:, 4]) / snr
        data = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
        ours, quick, clock = timed(lambda data=data: fitted(data, truth["b1"]))
        told("fit", snr, quick, clock, errors(ours, truth, everywhere))
        told("map_qalas", snr, *timed(lambda data=data, noise=noise: mapped(data, truth["b1"], noise))[1:], "")
        if not options.bins:
            continue
        part, field = data[some], truth["b1"][some]
        theirs, slow, clock = timed(lambda part=part, field=field: match(part, TIMING, field, grid=Grid(), ie=(0.5, 1)))
        share = some.mean()
        whole = {name: np.full(len(some), np.nan) for name in VALUES}
        for name in VALUES:
            whole[name][some] = getattr(theirs, name)
        said = f"{errors(Fitted(**whole), truth, some)}; the fit there {errors(ours, truth, some)}"
        told("dictionary", snr, slow / share, clock / share, f"{said}; {slow / share / quick:.0f} times the CPU time")
        print(f"              of {share:.1%} of the voxels, in {slow:.0f} s: time of all extrapolated", flush=True)


if __name__ == "__main__":
    main()
