"""QALAS maps of the brain: the fit beside matching in the published dictionary, same data, same process.

The brain is that of ICBM152 at 3 T with its smooth B1; the inversion efficiency follows T1 and T2 as that of a real
pulse does. ``--size`` is the number of voxels along each axis of the matrix (1 mm needs 208), ``--bins`` how many B1 of
the dictionary's 100 are there: each that occurs costs 1.5 to 2 s, and few of them an error of T1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pulsetwin.recon.qalas.dictionary import Grid, match
from pulsetwin.recon.qalas.fit import Fitted, fit
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

TIMING = QalasTiming.preset("siemens", train_length=127)
BLOCK = 1 << 16


def voxels(size: int) -> dict[str, np.ndarray]:
    """T1, T2 [s], density, efficiency and B1 of the brain's voxels."""
    phantom = brain((size, size, size), (0.208, 0.208, 0.208))
    filled = phantom.proton_density > 0.3
    t1, t2, pd = (value[filled].numpy() for value in (phantom.t1, phantom.t2, phantom.proton_density))
    b1 = phantom.b1[0].abs()[filled].numpy().clip(0.65, 1.35)
    return {"t1": t1, "t2": t2, "pd": pd, "ie": np.exp(-0.008 / t2 - 0.002 / t1), "b1": b1}


def timed(work) -> tuple[Fitted, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def fitted(data: np.ndarray, b1: np.ndarray) -> Fitted:
    parts = [fit(data[k : k + BLOCK], TIMING, b1[k : k + BLOCK]) for k in range(0, len(data), BLOCK)]
    return Fitted(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("t1", "t2", "pd", "ie", "misfit"))
    )


def errors(found: Fitted, truth: dict[str, np.ndarray]) -> str:
    tissue = truth["t1"] < 2.5  # without fluid
    parts = [getattr(found, name)[tissue] / truth[name][tissue] - 1 for name in ("t1", "t2", "pd", "ie")]
    return " ".join(f"{100 * np.sqrt(np.mean(part**2)):6.2f}" for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--bins", type=int, default=8)
    parser.add_argument("--snr", type=float, nargs="+", default=[np.inf, 100, 50], help="of contrast 5's median")
    parser.add_argument("--no-dictionary", action="store_true", help="time the fit alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    truth = voxels(options.size)
    values = {name: torch.from_numpy(value) for name, value in truth.items()}
    grid = Grid(b1=np.linspace(0.65, 1.35, options.bins))
    clean = signals(TIMING, values["t1"], values["t2"], pd=values["pd"], ie=values["ie"], b1=values["b1"]).numpy()
    fit(clean[:100], TIMING, truth["b1"][:100])  # compiles
    print(f"{len(clean)} voxels, B1 {truth['b1'].min():.2f} to {truth['b1'].max():.2f}; CPU time of one thread")
    print("                  SNR  us/voxel  RMSE [%] without fluid: T1  T2  PD  IE")
    for snr in options.snr:
        noise = np.median(clean[:, 4]) / snr
        data = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
        ours, quick = timed(lambda data=data: fitted(data, truth["b1"]))
        print(f"fit           {snr:>7g} {1e6 * quick / len(data):9.2f}  {errors(ours, truth)}", flush=True)
        if options.no_dictionary:
            continue
        theirs, slow = timed(lambda data=data: match(data, TIMING, truth["b1"], grid=grid, ie=(0.5, 1)))
        print(
            f"dictionary    {snr:>7g} {1e6 * slow / len(data):9.2f}  {errors(theirs, truth)}  {slow / quick:.0f} times"
        )


if __name__ == "__main__":
    main()
