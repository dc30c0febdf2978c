# %% [markdown]
# # A CEST fingerprint of L-arginine whose schedule is learnt by the Cramer-Rao bound
#
# The published 9.4 T protocol saturates 30 times for 3 s at 3 ppm with amplitudes up to 6 uT. Here amplitude, offset
# and duration of each saturation are learnt so that the exchange rate is told best, within the same scan time, the same
# root mean square of B1 and the same largest amplitude. Both schedules have the same single-shot readout, crusher and
# recovery. The gain is counted by voxelwise fits of noisy signals of the two files. Run it from anywhere:
# `python examples/experiments/cest_crlb.py [FOLDER]`; about four minutes.

# %%
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.playable import check
from pulsetwin.optimize.cest_design import design, frame_of, tissues, values_of
from pulsetwin.recon.cest_mrf.problem import predicted, problem_of
from pulsetwin.recon.cest_mrf.uncertainty import deviations
from pulsetwin.recon.cest_mrf.voxelwise import voxelwise
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("cest_crlb")
SCANNER, MM = Scanner.preset("bruker-biospec-94"), 3 / 110e3
MILLIMOLAR, RATES = (25, 50, 100), (100.0, 250.0, 700.0)
MODEL = PoolModel(2.8, 0.9, (Pool("amine", 50 * MM, 400.0, 3.0, 2.8, 0.04),), 9.4, reset=False)
VOXELS, NOISE = 50, 2e-3  # of a tissue; deviation of the noise, of M0
B1 = (5, 5, 3, 3.75, 2.5, 1.75, 5.5, 6, 3.75, 5.75, 0.25, 3, 6, 4.5, 3.75, 3.5, 3.5, 0, 3.75, 6, 3.75, 4.75, 4.5, 4.25,
      3.25, 5.25, 5.25, 0.25, 4.5, 5.25)  # fmt: skip
PUBLISHED = Protocol(
    b1=tuple(1e-6 * value for value in B1), offset=(3.0,), saturation="cw", saturation_time=(3.0,),
    flip_angle=(math.pi / 3,), recovery=(0.97745,), readout="epi", matrix=(64, 64, 1), fov=(0.032, 0.032, 0.003),
    bandwidth=3000.0,
)  # fmt: skip

# %% [markdown]
# Learn, build, check.

# %%
FOLDER.mkdir(parents=True, exist_ok=True)
frame = frame_of(PUBLISHED, MODEL, SCANNER)
tissue = tissues(frame, tuple(value * MM for value in MILLIMOLAR), RATES)
learnt, run = design(PUBLISHED, MODEL, SCANNER, tissue, seed=1)  # the better of 0 and 1
protocols, problems = {"published": PUBLISHED, "learnt": learnt}, {}
for name, protocol in protocols.items():
    file = FOLDER / f"{name}.seq"
    build(protocol, SCANNER).write(str(file))
    seq, values = read_seq(file), values_of(protocol)
    errors = [one.message for one in check(file, SCANNER).findings if one.severity == "error"]
    total = seq.block_duration.sum()
    rms = math.sqrt(float((values["b1"] ** 2 * values["saturation_time"]).sum()) / total)
    print(f"{name}: {len(errors)} errors {errors}; {total:.3f} s; B1 {1e6 * rms:.4f} uT rms over it, at most "
          f"{1e6 * values['b1'].max():.2f} uT")  # fmt: skip
    problems[name] = problem_of(seq, MODEL, mode="physical", observe="transverse", normalisation="l2")
for name, unit in (("b1", 1e6), ("offset", 1.0), ("saturation_time", 1.0)):
    print(name, np.round(unit * values_of(learnt)[name].numpy(), 3).tolist())

# %% [markdown]
# Bounds by the engine of maps from the two files, and fits of noisy signals in which nothing is known but the model.

# %%
names = [name for name in tissue if name != "m0"]
truth = {name: tissue[name].numpy() for name in names}
free = {"amine.exchange_rate": (20.0, 2000.0), "amine.fraction": (1 * MM, 250 * MM), "t1": (2.0, 4.0), "t2": (0.4, 1.6)}
rate, rng = truth[names[0]], np.random.default_rng(1)


def sizes(problem, values):
    """Return the length of the signals of M0 1, by which the file's are divided."""
    table = np.stack(list(values.values()), 1)
    return np.linalg.norm(predicted(replace(problem, normalisation="none"), list(values), table), axis=1)


def rate_deviation(problem, values, known=()):
    """Return the bound of the exchange rate, relative to it, for the noise."""
    found = {name: value for name, value in values.items() if name not in known}
    given = {name: values[name] for name in known}
    return deviations(problem, found, given, noise=NOISE / sizes(problem, values))[names[0]] / values[names[0]]


bounds = {name: rate_deviation(problem, truth) for name, problem in problems.items()}
known = {name: rate_deviation(problem, truth, ("t1", "t2")) for name, problem in problems.items()}
fits = {}
for name, problem in problems.items():
    repeated = {key: np.repeat(value, VOXELS) for key, value in truth.items()}
    clean = predicted(problem, names, np.stack(list(repeated.values()), 1))
    noise = NOISE / sizes(problem, repeated)
    data = clean + noise[:, None] * rng.standard_normal(clean.shape)
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    found = voxelwise(data, problem, free, {}, starts=1).values[names[0]].reshape(len(rate), VOXELS)
    ends = np.quantile(found, (0.1587, 0.8413), axis=1)
    fits[name] = np.stack((found.std(1), (ends[1] - ends[0]) / 2)) / rate
print(f"relative deviation of the exchange rate in %, noise of {100 * NOISE:g} % of M0: bound | fits | quantiles of "
      "fits, published -> learnt; ratio of variances by each; bound if T1, T2 are known")  # fmt: skip
for row, (fraction, value) in enumerate(zip(truth[names[1]], rate, strict=True)):
    pairs = [[one[name] for name in problems] for one in (bounds, {k: v[0] for k, v in fits.items()},
                                                          {k: v[1] for k, v in fits.items()}, known)]  # fmt: skip
    told = " | ".join(f"{100 * before[row]:5.2f} {100 * after[row]:5.2f}" for before, after in pairs[:3])
    ratios = " ".join(f"{(after[row] / before[row]) ** 2:.3f}" for before, after in pairs)
    print(f"{fraction / MM:4.0f} mM {value:4.0f} /s: {told}: {ratios}")
for what, before, after in (("bound", *bounds.values()), ("fits", *(one[0] for one in fits.values()))):
    print(f"{what}: mean relative variance {np.mean(after**2) / np.mean(before**2):.3f}, worst ratio "
          f"{np.max(after**2 / before**2):.3f}, worst variance {np.max(after**2) / np.max(before**2):.3f}")  # fmt: skip

# %% [markdown]
# Tissues that the schedule was not learnt for: concentration, rate, T1 and T2 at random; and fields that are off.

# %%
count = 300
others = {
    names[0]: rng.uniform(100, 700, count), names[1]: rng.uniform(25, 100, count) * MM,
    "t1": rng.uniform(2.5, 3.3, count), "t2": rng.uniform(0.6, 1.2, count), "b0_shift": rng.uniform(-0.1, 0.1, count),
    "b1": rng.uniform(0.9, 1.1, count),
}  # fmt: skip
before, after = (rate_deviation(problem, others, ("b0_shift", "b1")) for problem in problems.values())
ratio = (after / before) ** 2
print(f"{count} random tissues, B0 within 0.1 ppm and B1 within 10 %, both known: ratio of variances median "
      f"{np.median(ratio):.3f}, 95th percentile {np.quantile(ratio, 0.95):.3f}, largest {ratio.max():.3f}; mean of "
      f"relative variances {np.mean(after**2) / np.mean(before**2):.3f}")  # fmt: skip
for name, problem in problems.items():
    clean = predicted(problem, [*names, "b0_shift"], np.column_stack((*truth.values(), np.full(len(rate), 0.02))))
    moved = voxelwise(clean, problem, free, {}, starts=1).values[names[0]] / rate - 1
    print(f"{name}: a shift of 0.02 ppm that is not known changes the rate by {np.round(100 * moved, 1)} %")

# %%
figure = new_figure(11, 6)
(amplitude, offset), (time, gain) = figure.subplots(2, 2)
for number, (name, protocol) in enumerate(protocols.items()):
    values = values_of(protocol)
    for axes, key, unit in ((amplitude, "b1", 1e6), (offset, "offset", 1.0), (time, "saturation_time", 1.0)):
        axes.step(np.arange(len(values[key])), unit * values[key], where="mid", color=f"C{number}", label=name)
amplitude.set(ylabel="B1 [uT]", xlabel="measurement")
offset.set(ylabel="offset [ppm]", xlabel="measurement")
time.set(ylabel="saturation [s]", xlabel="measurement")
amplitude.set_ylim(0, 7.5)
amplitude.legend(frameon=False, ncols=2, loc="upper right")
place = np.arange(len(rate))
gain.bar(place, (bounds["learnt"] / bounds["published"]) ** 2, 0.6, color="C2", label="bound")
gain.plot(place, (fits["learnt"][0] / fits["published"][0]) ** 2, "k_", ms=14, mew=2, label="fits")
gain.axhline(0.7, color="grey", ls="--", lw=1)
gain.set(ylabel="variance of k, learnt / published", xticks=place, ylim=(0, 1.25))
gain.set_xticklabels([f"{f / MM:.0f} mM\n{k:.0f} /s" for f, k in zip(truth[names[1]], rate, strict=True)], fontsize=7)
gain.legend(frameon=False, ncols=2)
save_png(figure, FOLDER / "cest_crlb.png", force=True)
