# %% [markdown]
# # QALAS of the NIST phantom: regression of T1 and T2 against the reference
#
# The plate of 14 spheres that tell T2 is designed, scanned by the digital twin (real adiabatic pulses, diffusion,
# 8 coils, noise), written as Siemens raw data, read back, reconstructed and mapped twice: as in publications ("paper"),
# each contrast by itself and ideal pulses; and echoes resolved, with what the pulses of this very sequence do
# ("calibrated"). Each at three transmit fields. Run it from anywhere: `python examples/qalas_nist.py [FOLDER]`; about
# four minutes.

# %%
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.twix import write
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.recon.qalas.volume import reconstruct_qalas
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_nist import nist, nist_positions, nist_reference
from pulsetwin.sim.signal_models.qalas_pulses import calibrate
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("qalas_nist")
COILS, SNR = 8, 100
SCANNER = Scanner.preset("siemens-prisma")
FOV, MATRIX = (0.144, 0.144, 0.036), (144, 144, 12)  # 1 x 1 x 3 mm, as published
B1 = (0.8, 1.0, 1.2)
INSIDE, DEEP = 4.5e-3, 4e-3  # of a sphere: radius in the plane and half the height of its region [m]
RANGES = {"T1": (0.6, 3.2), "T2": (0.04, 0.26)}  # of the spheres that the regression is of, as published [s]

# %% [markdown]
# Design, scan, write, read, reconstruct.

# %%
FOLDER.mkdir(parents=True, exist_ok=True)
file = FOLDER / "qalas.seq"
protocol = qalas.Protocol(fov=FOV, matrix=MATRIX, acceleration=None, calibration=12)
qalas.build(protocol, SCANNER).write(str(file))
seq = read_seq(file)
timing, pulses = QalasTiming.from_definitions(seq.definitions), calibrate(seq, diffusion=2e-9)
whole = nist(MATRIX[::-1], FOV, 3.0, plate="t2", fields=False)
water = (
    whole.t2 > 1.0
)  # left out: at this resolution it rings into spheres of short T2, which show a tenth of its signal
plate = replace(whole, proton_density=whole.proton_density.masked_fill(water, 0.0))


def scanned(field):
    """Return the raw data of a scan whose flip angles are all `field` times what they should be."""
    phantom = replace(plate, b1=plate.b1 * field)
    raw = acquire(seq, phantom, SCANNER, coils=COILS, snr=SNR, tol=1e-2, seed=round(100 * field))
    scan = FOLDER / f"qalas_b1_{field:g}.dat"
    write(raw, scan, force=True)
    return read(scan, file)


# %% [markdown]
# Fit the mean signals of each sphere: noise would make long T1 longer, voxel by voxel.


# %%
def spheres(images):
    """Return the voxels of each sphere, bool ``[sphere, z, y, x]``."""
    place = np.stack(np.indices(images.values.shape[:0:-1]), -1) @ images.affine[:3, :3].T + images.affine[:3, 3]
    x, y, z = 1e-3 * np.moveaxis(place.transpose(2, 1, 0, 3), -1, 0)
    return np.stack([(np.hypot(x - u, y - v) < INSIDE) & (np.abs(z) < DEEP) for u, v in nist_positions()])


truth = dict(zip(("T1", "T2"), np.array(nist_reference("t2", 3.0)).T, strict=True))
results = {}
for field in B1:
    began = time.perf_counter()
    raw = scanned(field)
    for mode, images, known in (("paper", reconstruct(raw), None), ("calibrated", reconstruct_qalas(raw), pulses)):
        where = spheres(images)
        signs = (images.values * np.exp(-1j * np.angle(images.values[-1]))).real
        data = np.array([signs[:, one].mean(1) for one in where], np.float64)
        found = fit(data, timing, np.full(len(data), field), pulses=known)
        results |= {(mode, field, name): getattr(found, name.lower()) for name in truth}
    print(f"B1 {field:g}: scanned and mapped in {time.perf_counter() - began:.0f} s, {where[0].sum()} voxels a sphere")

# %%
for (mode, field, name), found in results.items():
    low, high = RANGES[name]
    some = (truth[name] > low) & (truth[name] < high)
    slope, offset = np.polyfit(truth[name][some], found[some], 1)
    fit = np.corrcoef(truth[name][some], found[some])[0, 1] ** 2
    some = (truth["T2"] > 0.031) & (truth["T2"] < 0.192)
    worst = 100 * np.abs(found / truth[name] - 1)[some].max()
    print(
        f"{mode:10} B1 {field:g} {name}: R2 {fit:.5f}, slope {slope:.4f}, intercept {1e3 * offset:+.1f} ms; "
        f"largest error of the spheres of T2 32 to 191 ms {worst:.2f} %"
    )

# %%
figure = new_figure(10, 8)
colours = dict(zip(B1, ("tab:blue", "black", "tab:red"), strict=True))
for column, (name, (low, high)) in zip(figure.subplots(2, 2).T, RANGES.items(), strict=True):
    some = (truth[name] > 0.6 * low) & (truth[name] < 1.7 * high)
    for (mode, field, which), found in results.items():
        if which != name:
            continue
        mark = {"paper": "x", "calibrated": "o"}[mode]
        shown = {"color": colours[field], "marker": mark, "fillstyle": "none", "linestyle": "none"}
        column[0].plot(1e3 * truth[name][some], 1e3 * found[some], **shown, label=f"{mode}, B1 {field:g}")
        column[1].plot(1e3 * truth[name][some], 100 * (found / truth[name] - 1)[some], **shown)
    ends = [0, 1e3 * truth[name][some].max() * 1.05]
    column[0].plot(ends, ends, color="0.6", linewidth=1)
    column[0].set(xlim=ends, ylim=ends, ylabel=f"{name} found [ms]", title=name)
    column[1].axhline(0, color="0.6", linewidth=1)
    column[1].set(xlim=ends, ylim=(-8, 8), xlabel=f"{name} of the reference [ms]", ylabel="error [%]")
    for one in column:
        one.axvspan(1e3 * low, min(1e3 * high, ends[1]), color="0.95", zorder=0)
figure.axes[0].legend(fontsize=8)
save_png(figure, FOLDER / "qalas_nist.png", force=True)
print(f"figure: {FOLDER / 'qalas_nist.png'}")
