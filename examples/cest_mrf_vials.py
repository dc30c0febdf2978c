# %% [markdown]
# # CEST-MRF of L-arginine, from the protocol to concentrations and exchange rates
#
# Six vials of 25 to 100 mM L-arginine at pH 4 to 5 are scanned by the digital twin: spin-locks of 30 strengths after an
# image without saturation, each with an echo-planar snapshot, 8 coils, noise, uneven fields, and a receiver and
# gradients that are late, which makes ghosts. The scan is written as Siemens raw data, read back, reconstructed,
# normalised by M0, fitted voxel by voxel with the real pulses, and compared with what went in.
# Run it from anywhere: `python examples/cest_mrf_vials.py [FOLDER [MATRIX]]`.

# %%
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.twix import write
from pulsetwin.recon.agreement import mape, pearson
from pulsetwin.recon.cest_mrf.problem import normalised, problem_of
from pulsetwin.recon.cest_mrf.voxelwise import voxelwise
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import cest_mrf
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.bloch_mcconnell import pool_model
from pulsetwin.sim.phantom import Pool
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import vials

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("cest_mrf_vials")
MATRIX = int(sys.argv[2]) if len(sys.argv) > 2 else 64
SCANNER = Scanner.preset("siemens-prisma")
FOV = (0.22, 0.22, 0.005)
COILS, SNR = 8, 50
LATE = {"receiver_delay": 2e-6, "gradient_delay": (3e-6, 2e-6, 0.0)}
SHIFT, T1, T2, FRACTION = 3.0, 2.8, 0.9, 3 / 110e3  # of the amine [ppm]; of water [s]; of 1 mM
RATES = {4.0: 170.0, 4.5: 220.0, 5.0: 370.0}  # by pH [1/s]
VIALS = ((25, 4.0), (50, 4.5), (75, 5.0), (100, 4.5), (50, 5.0), (75, 4.0))  # [mM], pH

# %% [markdown]
# Design: a schedule that begins with an image without saturation, M0.

# %%
FOLDER.mkdir(parents=True, exist_ok=True)
schedule = cest_mrf.Protocol().b1
protocol = cest_mrf.Protocol(
    fov=FOV, matrix=(MATRIX, MATRIX, 1), readout="epi", b1=(0.0, *schedule), flip_angle=(math.radians(60),),
    recovery=(1.0,), noise_samples=1024,
)  # fmt: skip
file, scan = FOLDER / "cest_mrf.seq", FOLDER / "cest_mrf.dat"
cest_mrf.build(protocol, SCANNER).write(str(file))
seq = read_seq(file)

# %% [markdown]
# Simulate, write, read, reconstruct. Each vial is told by its T1, which differs by less than matters.

# %%
number = np.arange(len(VIALS))
tubes = vials((1, MATRIX, MATRIX), FOV, 3.0, tissues=[Tissue(1.0, T1 + 1e-4 * n, T2, 0.15) for n in number])
vial = ((tubes.t1 - T1) / 1e-4).round().long().clamp(0, len(VIALS) - 1)
filled = (tubes.proton_density > 0.99).numpy()
concentrations, rates = (torch.tensor(one) for one in zip(*((c, RATES[ph]) for c, ph in VIALS), strict=True))
amine = Pool(concentrations[vial] * FRACTION, rates[vial], SHIFT, torch.tensor(2.8), torch.tensor(0.04))
tubes = replace(tubes, pools=(amine,))
write(acquire(seq, tubes, SCANNER, coils=COILS, snr=SNR, **LATE), scan, force=True)
images = reconstruct(read(scan, file))
ghosts = (images.quality[f"ghost_level_{when}"] for when in ("before", "after"))
print("ghosts before and after correction: " + ", ".join(f"{100 * level:.1f} %" for level in ghosts))

# %% [markdown]
# Map. Fields, T1 and T2 are given, as WASABI, saturation recovery and multi-echo scans tell them. Images are right,
# back, head; the phantom's are right, front, head.


# %%
def on_images(values):
    """Return a map of the phantom ``[z, y, x]`` on the grid of the images."""
    x, y, z = np.indices(images.values.shape[:0:-1])
    at = np.stack((x, y, z, np.ones_like(x)), -1) @ (np.linalg.inv(affine) @ images.affine).T
    index = tuple(np.rint(at[..., axis]).astype(int) % count for axis, count in enumerate(tubes.grid[::-1]))
    return np.asarray(values)[index[::-1]].T


affine = np.diag([*(1e3 * edge for edge in tubes.size), 1.0])
affine[:3, 3] = [-1e3 * edge * (n // 2) for edge, n in zip(tubes.size, tubes.grid[::-1], strict=True)]
inside = on_images(filled)
pool = pool_model.Pool("amine", 50 * FRACTION, 300.0, SHIFT, 2.8, 0.04)
b0 = seq.definitions["B0"]
model = pool_model.PoolModel(T1, T2, (pool,), b0, reset=False)
problem = problem_of(seq, model, mode="physical", observe="transverse", normalisation="first")
data = normalised(np.abs(images.values[:, inside]).T.astype(np.float64), "first")
hz = 1e-6 * model.gamma * b0 / (2 * math.pi)
given = {"b0_shift": on_images(tubes.b0)[inside] / hz, "b1": on_images(tubes.b1[0].abs())[inside]}
free = {"amine.fraction": (1 * FRACTION, 200 * FRACTION), "amine.exchange_rate": (20.0, 1500.0)}
found = voxelwise(data, problem, free, given)

# %% [markdown]
# Compare: means of vials, and voxels.

# %%
where = on_images(vial)[inside]
estimates = {
    "concentration [mM]": (found.values["amine.fraction"] / FRACTION, concentrations.numpy()),
    "exchange rate [1/s]": (found.values["amine.exchange_rate"], rates.numpy()),
}
for name, (values, truth) in estimates.items():
    means, spreads = (np.array([one(values[where == n]) for n in number]) for one in (np.mean, np.std))
    told = ", ".join(f"{m:.1f}+-{s:.1f} ({t:g})" for m, s, t in zip(means, spreads, truth, strict=True))
    print(f"{name}: {told}")
    for kind, one, other in (("vials", means, truth), ("voxels", values, truth[where])):
        print(f"  {kind}: r {pearson(one, other):.4f}, MAPE {100 * mape(one, other):.1f} %")

# %%
figure = new_figure(9, 4)
for axis, (name, (values, truth)) in zip(figure.subplots(1, 2), estimates.items(), strict=True):
    shown = np.zeros(inside.shape)
    shown[inside] = values
    drawn = axis.imshow(shown[0], vmin=0, vmax=1.2 * truth.max(), cmap="viridis")
    axis.set_title(name, fontsize=10)
    axis.set_axis_off()
    figure.colorbar(drawn, ax=axis, shrink=0.8)
save_png(figure, FOLDER / "cest_mrf_vials.png", force=True)
print(f"figure: {FOLDER / 'cest_mrf_vials.png'}")
