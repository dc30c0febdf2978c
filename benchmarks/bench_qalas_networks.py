"""QALAS maps by networks: of the scan alone, trained on another subject, and trained further; fit and TV beside.

Two synthetic subjects: the brain of ICBM152 at 3 T, each with smooth changes of T1, T2 and density, and a transmit
field, a position and a receive gain of its own; the inversion efficiency follows T1 and T2 as that of a real pulse
does. All rows are of the second subject. Errors are root mean squares relative to the truth; bias is that of the mean
over voxels whose T1 is within 5 % of white or grey matter's. By default all is small; the published setting is
``--edge 1 --slices 176 --epochs 500``, for the paper's network hours. The fast one takes as many steps for any size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.bench_qalas import TIMING, fitted
from pulsetwin.recon.qalas.fit import EFFICIENCY_RANGE, Fitted, fit
from pulsetwin.recon.qalas.ssl import estimate, train
from pulsetwin.recon.qalas.training import Training
from pulsetwin.recon.qalas.tv import smooth_fit
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.signal_models.qalas import signals

BRAIN = 1_854_323  # voxels of 1 mm
EXTENT = 0.208  # of the field of view [m]
NAMES = ("t1", "t2", "pd", "ie")
Truth = dict[str, np.ndarray]


def subject(which: int, edge: float, slices: int) -> Truth:
    """Tissue and B1 of a subject's voxels ``[voxel]``, `mask` ``[z, y, x]``, and which are white and grey matter."""
    across = round(1e3 * EXTENT / edge)
    phantom = brain(
        (slices, across, across), (EXTENT, EXTENT, 1e-3 * edge * slices),
        isocentre=((0.0, -0.017, 0.010), (0.003, -0.014, 0.022))[which],
    )  # fmt: skip
    mask = (phantom.proton_density > 0.3).numpy()
    rng = np.random.default_rng(which)

    def vary(size: float) -> np.ndarray:
        field = gaussian_filter(rng.standard_normal(mask.shape), 20 / edge)
        return (1 + size * field / field.std())[mask]

    t1, t2, pd = (value.numpy()[mask] for value in (phantom.t1, phantom.t2, phantom.proton_density))
    white = np.abs(t1 / t1.min() - 1) < 0.05
    grey = np.abs(t1 / 1.35 - 1) < 0.05
    t1, t2, pd = t1 * vary(0.04), t2 * vary(0.04), pd * vary(0.03) * (1, 700)[which]
    b1 = (phantom.b1[0].abs().numpy()[mask] * vary(0.04) * (1, 0.94)[which]).clip(0.65, 1.35)
    return {"t1": t1, "t2": t2, "pd": pd, "ie": np.exp(-0.008 / t2 - 0.002 / t1), "b1": b1, "mask": mask,
            "white": white, "grey": grey}  # fmt: skip


def measured(truth: Truth, snr: float, seed: int) -> Truth:
    """Signals with noise, SNR being that of the median of contrast 5, and the noise."""
    values = {name: torch.from_numpy(truth[name]) for name in (*NAMES, "b1")}
    clean = signals(TIMING, values["t1"], values["t2"], pd=values["pd"], ie=values["ie"], b1=values["b1"]).numpy()
    noise = np.median(clean[:, 4]) / snr
    return {**truth, "data": clean + noise * np.random.default_rng(seed).standard_normal(clean.shape),
            "noise": np.full(len(clean), noise)}  # fmt: skip


def timed(work: Callable[[], object]) -> tuple[object, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def row(name: str, found: Fitted, scan: Truth, seconds: float, note: str = "") -> None:
    off = {value: getattr(found, value) / scan[value] - 1 for value in NAMES}
    solid = scan["t1"] < 2.5  # without fluid
    parts = [
        " ".join(f"{100 * np.sqrt(np.mean(off[value][here] ** 2)):6.2f}" for value in NAMES)
        for here in (solid, np.ones_like(solid))
    ]
    means = [
        getattr(found, value)[scan[tissue]].mean() / scan[value][scan[tissue]].mean() - 1
        for tissue in ("white", "grey")
        for value in ("t1", "t2")
    ]
    bias = " ".join(f"{100 * value:5.2f}" for value in means)
    print(f"{name:<22} {parts[0]} | {parts[1]} | {bias} | {seconds:6.1f} s {note}", flush=True)


def network_rows(name: str, first: Truth, second: Truth, whole: Training, further: Training) -> None:
    """Print the rows of one architecture: of the scan alone, pre-trained, fine-tuned."""

    def learn(scan: Truth, how: Training, network=None) -> tuple[object, float, str]:
        steps = []
        network, seconds = timed(lambda: train(
            scan["data"], TIMING, scan["b1"], scan["noise"], mask=scan["mask"], training=how, network=network,
            progress=lambda done, total, what: steps.append(done),
        ))  # fmt: skip
        ended = steps[-2] if len(steps) > 1 and steps[-1] != steps[-2] + 1 else steps[-1]
        return network, seconds, f"{ended} of {how.steps} steps"

    def show(what: str, network: object, seconds: float, note: str) -> None:
        found, quick = timed(lambda: estimate(network, second["data"], second["b1"], mask=second["mask"]))
        voxel = 1e6 * quick / len(second["data"])
        row(
            f"{name} {what}",
            found,
            second,
            seconds,
            f"{note}; {voxel:.2f} us/voxel, brain {1e-6 * voxel * BRAIN:.1f} s",
        )

    show("of the scan", *learn(second, whole))
    before = learn(first, whole)
    show("pre-trained", *before)
    show("fine-tuned", *learn(second, further, before[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=float, default=2.0, help="of a voxel [mm]")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--snr", type=float, nargs="+", default=[50, 100], help="of contrast 5's median")
    parser.add_argument("--steps", type=int, default=1000, help="of the fast network, at most")
    parser.add_argument("--epochs", type=int, default=40, help="of the paper's network; 0 leaves it out")
    parser.add_argument("--no-fast", action="store_true", help="leave the fast network out")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    one, two = (subject(which, options.edge, options.slices) for which in (0, 1))
    fit(np.ones((2, 5)), TIMING, np.ones(2))  # compiles
    print(f"{len(one['t1'])} and {len(two['t1'])} voxels of {options.edge:g} mm; CPU time, {options.threads} threads")
    print(
        f"{'RMSE [%]':<22} {'without fluid: T1 T2 PD IE':>27} | {'with fluid':>27} | bias WM, GM T1 T2 [%] | training"
    )
    for snr in options.snr:
        print(f"SNR {snr:g}")
        first, second = measured(one, snr, 1), measured(two, snr, 2)
        start, seconds = timed(lambda second=second: fitted(second["data"], second["b1"]))
        row("fit", start, second, seconds)
        found, seconds = timed(lambda second=second, start=start: smooth_fit(
            second["data"], TIMING, second["b1"], second["noise"], start, mask=second["mask"], ie=EFFICIENCY_RANGE
        ))  # fmt: skip
        row("total variation", found, second, seconds, f"{1e6 * seconds / len(second['data']):.0f} us/voxel")
        if not options.no_fast:
            further = Training(steps=options.steps // 4, rate=3e-3)
            network_rows("fast", first, second, Training(steps=options.steps), further)
        if options.epochs:
            paper = [Training.paper(options.slices, epochs=max(epochs, 1)) for epochs in
                     (options.epochs, options.epochs // 4)]  # fmt: skip
            network_rows("paper", first, second, *paper)


if __name__ == "__main__":
    main()
