# %% [markdown]
# # QALAS of a brain, from the protocol to maps
#
# A 3D-QALAS is designed, played on a brain by the digital twin (real adiabatic pulses, diffusion, T2', 8 coils, noise),
# written as Siemens raw data, read back, reconstructed and mapped with the pulses' own tables, and compared with the
# tissue that went in. Voxels of 4 mm keep it to minutes.
# Run it from anywhere: `python examples/qalas_brain.py [FOLDER [VOXEL_MM]]`.

# %%
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.twix import write
from pulsetwin.recon.qalas import map_qalas
from pulsetwin.recon.qalas.volume import reconstruct_qalas
from pulsetwin.recon.read import read
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.signal_models.qalas_pulses import calibrate
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("qalas_brain")
VOXEL = float(sys.argv[2]) * 1e-3 if len(sys.argv) > 2 else 4e-3
COILS, SNR, SHIM = 8, 100, 60.0
SCANNER = Scanner.preset("siemens-prisma")
FOV = (0.192, 0.224, 0.16)

# %% [markdown]
# Design. The trains are those of the 1 mm protocol; coarse voxels need few of them.

# %%
FOLDER.mkdir(parents=True, exist_ok=True)
matrix = tuple(2 * round(length / VOXEL / 2) for length in FOV)
protocol = qalas.Protocol(fov=FOV, matrix=matrix, acceleration=None, calibration=0, bandwidth=500.0)
file, scan = FOLDER / "qalas.seq", FOLDER / "qalas.dat"
qalas.build(protocol, SCANNER).write(str(file))
seq = read_seq(file)

# %% [markdown]
# Simulate, write, read, reconstruct. The brain's offsets are kept within what a good shim leaves, and it has no detail
# finer than its voxels, so that errors are those of the method.

# %%
phantom = brain(matrix[::-1], FOV)
phantom = replace(phantom, b0=phantom.b0.clamp(-SHIM, SHIM), shape="sinc")
began = time.perf_counter()
raw = acquire(seq, phantom, SCANNER, coils=COILS, snr=SNR, tol=1e-2)
print(f"simulated {sum(map(len, raw.groups))} readouts in {time.perf_counter() - began:.0f} s: {raw.header}")
write(raw, scan, force=True)
images = reconstruct_qalas(read(scan, file))

# %% [markdown]
# Map, with what the pulses of this very sequence do, and with the ideal pulses of the publications.


# %%
def on_images(values):
    """Return a map of the phantom on the grid of the images."""
    x, y, z = np.indices(images.values.shape[:0:-1])
    at = np.stack((x, y, z, np.ones_like(x)), -1) @ (np.linalg.inv(phantom_affine) @ images.affine).T
    index = tuple(np.rint(at[..., axis]).astype(int) % count for axis, count in enumerate(phantom.grid[::-1]))
    return np.asarray(values)[index[::-1]].T


phantom_affine = np.diag([*(1e3 * edge for edge in phantom.size), 1.0])
phantom_affine[:3, 3] = [-1e3 * edge * (n // 2) for edge, n in zip(phantom.size, phantom.grid[::-1], strict=True)]
timing, b1 = QalasTiming.from_definitions(seq.definitions), on_images(phantom.b1[0].abs())
truth = {"T1": on_images(phantom.t1), "T2": on_images(phantom.t2)}
filled = on_images(phantom.proton_density) > 0.5
maps = {
    "calibrated": map_qalas(images, timing, b1, pulses=calibrate(seq), mask=filled),
    "paper": map_qalas(images, timing, b1, mask=filled),
}

# %%
REGIONS = {"white matter": (0.75, 0.95), "grey matter": (1.2, 1.5)}  # by T1 [s]
for mode, found in maps.items():
    for region, (low, high) in REGIONS.items():
        everywhere = filled & (truth["T1"] > low) & (truth["T1"] < high)
        for where, inside in (("all", everywhere), ("among its own", ndimage.binary_erosion(everywhere))):
            inside = inside & found.volumes["T1"].valid
            if not inside.any():
                continue
            ratios = [100 * (found.volumes[name].values[inside] / truth[name][inside] - 1) for name in ("T1", "T2")]
            errors, sizes = np.median(ratios, 1), np.median(np.abs(ratios), 1)
            print(
                f"{mode:10} {region}, {where}: {inside.sum()} voxels; median error T1 {errors[0]:+.2f} %, "
                f"T2 {errors[1]:+.2f} %; median of its size {sizes[0]:.1f} %, {sizes[1]:.1f} %"
            )

# %%
figure = new_figure(10, 7.5)
axes = figure.subplots(2, 3)
middle = images.values.shape[1] // 2
for row, (name, top) in zip(axes, (("T1", 3.0), ("T2", 0.2)), strict=True):
    found = maps["calibrated"].volumes[name].values[middle]
    wanted = np.where(filled, truth[name], 0)[middle]
    wrong = 100 * (found / np.where(filled, truth[name], np.inf)[middle] - filled[middle])
    panels = (wanted, f"{name} [s]: truth", "viridis", 0, top), (found, f"{name} [s]: map", "viridis", 0, top)
    for axis, (values, title, colours, low, high) in zip(
        row, (*panels, (wrong, f"{name}: error [%]", "RdBu", -20, 20)), strict=True
    ):
        shown = axis.imshow(values, cmap=colours, vmin=low, vmax=high)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
        figure.colorbar(shown, ax=axis, shrink=0.8)
save_png(figure, FOLDER / "qalas_brain.png", force=True)
print(f"figure: {FOLDER / 'qalas_brain.png'}")
