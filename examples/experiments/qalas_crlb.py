# %% [markdown]
# # QALAS whose flip angles and waits are learnt by the Cramer-Rao bound
#
# The published protocol excites all five trains by 4 degrees. What the five signals tell of T1 and T2 depends on the
# flip angle of each train and on when it is played. Both are learnt here within the same repetition time; the protocol
# is built, checked, and its gain counted by fits of noisy signals, with ideal and with its real pulses. Run it from
# anywhere: `python examples/experiments/qalas_crlb.py [FOLDER]`; about three minutes.

# %%
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.playable import check
from pulsetwin.optimize.qalas_design import BRAIN, bound, design, few_lines, tissues
from pulsetwin.recon.qalas.crlb import least_deviations
from pulsetwin.recon.qalas.echo_basis import echo_signals
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_pulses import calibrate
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("qalas_crlb")
SCANNER, VOXELS, SNR = Scanner.preset("siemens-prisma"), 20000, 50
NAMES = [f"{kind}, B1 {field:g}" for kind in BRAIN for field in (0.8, 1.0, 1.2)]

# %% [markdown]
# Learn, build, check.

# %%
FOLDER.mkdir(parents=True, exist_ok=True)
published = qalas.Protocol()
learnt, run = design(published, SCANNER)
print(f"flip angles {[round(math.degrees(angle), 2) for angle in learnt.flip_angle]} degrees, T2prep "
      f"{1e3 * learnt.t2prep_te:.1f} ms, inversion_gap {learnt.inversion_gap:.5f} s, ti {learnt.ti:.5f} s, "
      f"gap {learnt.gap:.5f} s, tr {learnt.tr:.5f} s")  # fmt: skip
for name, protocol in (("published", published), ("learnt", learnt)):
    qalas.build(protocol, SCANNER).write(str(FOLDER / f"{name}.seq"))
    report = check(FOLDER / f"{name}.seq", SCANNER)
    worst = [one.message for one in report.findings if one.severity == "error"]
    print(f"{name}: {len(worst)} errors {worst}")

# %% [markdown]
# Bounds, ideal and real pulses; fits of signals with noise that is 1/50 of white matter's fifth published signal. At
# that noise, T2 of fluid is hardly measured by either protocol and fits hit their bounds: its fits have a tenth of the
# noise, and their deviations are told tenfold.


# %%
def played(protocol):
    """Return times and pulses of a protocol, of a sequence with few lines."""
    file = FOLDER / "few_lines.seq"
    qalas.build(replace(few_lines(protocol), dummies=2), SCANNER).write(str(file))
    seq = read_seq(file)
    return QalasTiming.from_definitions(seq.definitions), calibrate(seq)


def spread(timing, pulses, tissue, noise, rng):
    """Return relative variances of T1 and T2 of fits, and the share of voxels without an estimate, ``[tissue, 2]``."""
    t1, t2, field = (tissue[name] for name in ("t1", "t2", "b1"))
    ie = None if pulses else tissue["ie"]
    clean = signals(timing, t1, t2, ie=ie, b1=field, pulses=pulses).numpy()
    found, lost = [], []
    for row, signal in enumerate(clean):
        calmer = 10 if t1[row] > 2 else 1  # fluid
        data = signal + noise / calmer * rng.standard_normal((VOXELS, 5))
        maps = fit(data, timing, np.full(VOXELS, field[row].item()), ie="free", pulses=pulses)
        ends = [np.quantile(value, (0.1587, 0.8413)) for value in (maps.t1, maps.t2)]  # of a Gauss: twice its deviation
        found.append(
            [
                (calmer * (high - low) / 2 / true) ** 2
                for (low, high), true in zip(ends, (t1[row], t2[row]), strict=True)
            ]
        )
        lost.append(1 - maps.valid.mean())
    return np.array(found), np.array(lost)


tissue, rng = tissues(), np.random.default_rng(1)
table = np.stack([tissue[name].numpy() for name in ("t1", "t2", "pd", "ie")])
timings, bounds, fits, real = {}, {}, {}, {}
for name, protocol in (("published", published), ("learnt", learnt)):
    timing, pulses = played(protocol)
    timings[name] = timing
    if name == "published":
        noise = float(signals(timing, *torch.tensor(BRAIN["white matter"], dtype=torch.float64))[4]) / SNR
    bounds[name] = bound(timing, tissue)[..., 0].numpy() * (noise / 0.01) ** 2
    fits[name], lost = spread(timing, None, tissue, noise, rng)
    exact = least_deviations(timing, table, tissue["b1"].numpy(), noise, pulses=pulses)[:2] / table[:2]
    real[name] = exact.T**2, spread(timing, pulses, tissue, noise, rng)[0]
    print(f"{name}: no estimate in {np.round(100 * lost, 1)} % of voxels")

print("relative deviations in %: bound and fits, published -> learnt; ratios of variances; the same with real pulses")
for row, name in enumerate(NAMES):
    for column, what in enumerate(("T1", "T2")):
        cells = [(bounds[key][row, column], fits[key][row, column]) for key in ("published", "learnt")]
        cells += [(real[key][0][row, column], real[key][1][row, column]) for key in ("published", "learnt")]
        deviations = " ".join(f"{100 * math.sqrt(a):6.2f} {100 * math.sqrt(b):6.2f} |" for a, b in cells)
        ratios = " ".join(f"{cells[k + 1][i] / cells[k][i]:.3f}" for k in (0, 2) for i in (0, 1))
        print(f"{name:20} {what} {deviations} {ratios}")

# %% [markdown]
# What it costs: error of T1 and T2 if B1 is told wrong by 1 %, blur by what changes along the trains, RF power.


# %%
def by_b1(timing):
    """Return the relative error of T1 and T2 per percent by which the fit's B1 is too high, ``[tissue, 2]``."""
    clean = signals(timing, tissue["t1"], tissue["t2"], ie=tissue["ie"], b1=tissue["b1"]).numpy()
    maps = [fit(clean, timing, part * tissue["b1"].numpy(), ie="free") for part in (0.995, 1.005)]
    return np.stack([getattr(maps[1], name) / getattr(maps[0], name) - 1 for name in ("t1", "t2")], 1)


def widths(timing, grid=256, finer=16):
    """Return the width at half height of the point spread along y of each tissue and contrast [voxel], if resolved so.

    Echo e is read on the e-th ring of an ellipse; the projection of the rings onto ky is the transfer along y.
    """
    echoes = echo_signals(timing, *(tissue[name] for name in ("t1", "t2", "ie", "b1"))).numpy()
    ky, kz = np.meshgrid(*(np.linspace(-0.5, 0.5, grid, endpoint=False) + 0.5 / grid,) * 2, indexing="ij")
    radius = 2 * np.hypot(ky, kz)
    ring = np.minimum((radius**2 * timing.train_length).astype(int), timing.train_length - 1)
    found = np.empty(echoes.shape[:2])
    for place in np.ndindex(found.shape):
        transfer = np.where(radius <= 1, echoes[place][ring], 0.0).sum(1)
        point = np.abs(np.fft.fft(transfer, finer * grid))  # at steps of 1 / finer voxel
        below = np.argmax(point < point[0] / 2)
        part = (point[below - 1] - point[0] / 2) / (point[below - 1] - point[below])
        found[place] = 2 * (below - 1 + part) / finer
    return found


for name, timing in timings.items():
    power = sum(math.degrees(angle) ** 2 for angle in timing.flip_angles)
    blur, error = widths(timing), 100 * by_b1(timing)
    print(f"{name}: sum of squared flip angles of trains {power:.1f} degrees^2; per % of B1, T1 changes by "
          f"{np.round(error[[1, 4, 7], 0], 2)} %, T2 by {np.round(error[[1, 4, 7], 1], 2)} %")  # fmt: skip
    for row in (1, 4, 7):
        print(f"  width of a point, {NAMES[row]}: {np.round(blur[row], 2)} voxels")

# %%
figure = new_figure(11, 4)
left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
for number, (name, timing) in enumerate(timings.items()):
    echoes = np.arange(timing.train_length) * timing.echo_spacing
    for start, angle in zip(timing.train_starts, timing.flip_angles, strict=True):
        left.plot(start + echoes, np.full(len(echoes), math.degrees(angle)), lw=4, color=f"C{number}",
                  label=name if start == timing.train_starts[0] else None)  # fmt: skip
    left.axvline(timing.inversion_start, color=f"C{number}", ls=":", lw=1)
left.set(xlabel="time in a TR [s] (dotted: inversion)", ylabel="flip angle [degrees]", ylim=(0, None))
left.legend(frameon=False)
place = np.arange(len(NAMES))
for column, what in enumerate(("T1", "T2")):
    ratio = bounds["learnt"][:, column] / bounds["published"][:, column]
    right.bar(place + 0.4 * column - 0.2, ratio, 0.36, label=f"{what}, bound", color=f"C{column + 2}")
    counted = fits["learnt"][:, column] / fits["published"][:, column]
    right.plot(place + 0.4 * column - 0.2, counted, "k_", ms=12, mew=2, label="fits" if column else None)
right.axhline(0.85, color="grey", ls="--", lw=1)
right.set(ylabel="variance, learnt / published", ylim=(0, 1.05), xticks=place)
right.set_xticklabels(NAMES, rotation=35, ha="right", fontsize=8)
right.legend(frameon=False, ncols=3, loc="upper right")
save_png(figure, FOLDER / "qalas_crlb.png", force=True)
