# %% [markdown]
# # Reconstruct a real echo-planar scan
#
# Reads raw data and the `.seq` it was played from, corrects the Nyquist ghosts with a reference scan and without one,
# and draws both. Run it from anywhere: `python examples/reconstruct_epi.py [FIGURE.png]`.

# %%
import sys
from pathlib import Path

import numpy as np

from pulsetwin.export.display import view
from pulsetwin.export.figures import draw_slice, new_figure, save_png
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct

DATA = Path(__file__).resolve().parent / "data" / "pulseq_epi"
FIGURE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("epi.png")

# %% [markdown]
# `read` matches the acquisitions of the `.seq` with the readouts of the raw file and checks that they belong together.
# The samples stay in the file until they are needed.

# %%
raw = read(DATA / "ramp_epi_pe_plus.dat", DATA / "ramp_epi_pe_plus.seq")
reference = read(DATA / "ramp_epi_pe_none.dat", DATA / "ramp_epi_pe_none.seq")
group = raw.groups[0]
print(f"{len(group)} readouts of {group.samples.shape[2]} samples, {raw.coils} coil")

# %% [markdown]
# The positions of the samples come from the gradients of the `.seq`: they are uneven, for the scanner acquired on
# the ramps too.

# %%
kx = group.trajectory.positions()[0, :, 0]
steps = np.abs(np.diff(kx))
print(f"kx from {kx.min():.1f} to {kx.max():.1f} 1/m, steps from {steps.min():.2f} to {steps.max():.2f} 1/m")

# %%
corrected = reconstruct(raw, reference=reference)
alone = reconstruct(raw)
for name, images in (("with a reference", corrected), ("without", alone)):
    quality = images.quality
    print(f"ghost level {name}: {quality['ghost_level_before']:.1%} before, {quality['ghost_level_after']:.2%} after")

# %% [markdown]
# Three pictures, and the same ten times brighter: what is left of the ghosts.

# %%
turned = view(corrected.affine)
pictures = {
    "as acquired": corrected.extras["uncorrected"][0],
    "corrected by itself": np.abs(alone.values[0, 0]),
    "corrected by a reference": np.abs(corrected.values[0, 0]),
}
figure = new_figure(9.6, 6.6)
for (name, picture), column in zip(pictures.items(), figure.subplots(2, 3).T, strict=True):
    for axes, brighter in zip(column, (1, 10), strict=True):
        draw_slice(axes, turned.turn(picture), turned, window=np.percentile(picture, 99.7) / brighter)
    column[0].set_title(name, fontsize=10)
save_png(figure, FIGURE, force=True)
print(f"figure: {FIGURE}")
