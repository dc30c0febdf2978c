# %% [markdown]
# # A `.seq` of anyone with a third less RF energy
#
# Flip angles of all pulses of an existing sequence are freed and learnt on a brain such that the energy of the pulses
# falls to 66 % and the image stays. They are patched back: every line of the file that did not change stays byte for
# byte. Run it from anywhere: `python examples/experiments/existing_sar.py [SEQUENCE.seq [FOLDER]]`; without a sequence,
# a RARE of 64 lines is designed. About two minutes.

# %%
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.patch import patch
from pulsetwin.export.realise_gap import across_slice
from pulsetwin.export.rf_power import rf_power
from pulsetwin.export.siemens import write_siemens
from pulsetwin.optimize.existing import cut_energy, existing, free_pulses
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.recon.direct_images import direct_image, encoding
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import rare
from pulsetwin.sequences.geometry import stated_fov
from pulsetwin.sequences.seqfile import RF, read_seq
from pulsetwin.sim.acquire import along_gradients
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantoms import phantom_by_name
from pulsetwin.sim.pulse_rotations import pulse_rotations
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else "existing_sar")
FOLDER.mkdir(parents=True, exist_ok=True)
SCANNER, MATRIX, SLICE, SHARE, STATES = Scanner.preset("siemens-prisma"), 64, 5e-3, 0.66, 128
if len(sys.argv) > 1:
    SEQUENCE = Path(sys.argv[1])
else:
    SEQUENCE = FOLDER / "rare.seq"
    design = rare.build(rare.Protocol(matrix=(MATRIX, MATRIX), train=16, tr=1.0), SCANNER)
    write_siemens(design, SEQUENCE, scanner=SCANNER, version="1.5", definitions={"Name": "rare"}, force=True)

# %% [markdown]
# Free the pulses, learn, patch back. Files before 1.5 do not state what pulses are for; the bounds keep it readable.

# %%
original = existing(SEQUENCE)
fov = stated_fov(original.seq.definitions)


def voxels(name, matrix=MATRIX):
    """Return a slice of a phantom, a whole head or all of its tubes, scaled to the field of view."""
    whole = phantom_by_name(name, (1, matrix, matrix), (0.22, 0.22, SLICE), 3.0)
    return along_gradients(replace(whole, size=(fov[0] / matrix, fov[1] / matrix, SLICE)).voxels())


free = {use: free_pulses(original, use) for use in ("excitation", "refocusing")}
brain = voxels("brain")
flip_angle, history = cut_energy(original, free, brain, SHARE, steps=40)
changed = FOLDER / f"{SEQUENCE.stem}_less.seq"
report = patch(original.seq, original.changes(flip_angle=flip_angle), changed, scanner=SCANNER, force=True)
energy = [rf_power(read_seq(path), SCANNER.gamma).energy for path in (SEQUENCE, changed)]
print(f"RF energy {1e12 * energy[0]:.4g} -> {1e12 * energy[1]:.4g} uT2 s ({100 * energy[1] / energy[0]:.1f} %), "
      f"playable on {SCANNER.name}: {report.playable}")  # fmt: skip
old, new = (set(path.read_bytes().splitlines(keepends=True)) for path in (SEQUENCE, changed))
print(f"{len(old & new)} of {len(old)} distinct lines kept byte for byte, {len(new - old)} new ones")

# %% [markdown]
# The image of either file, each through a graph of its own; on objects that were not learnt on; and with finite pulses
# in layers across the slice.


# %%
def image(path, some, rotated=False):
    """Return the image [y, x] of a file."""
    timeline, seq = timeline_from_seq(path), read_seq(path)
    uses = np.append(seq.rf.use, "")[seq.events[:, RF]]
    refocusing = torch.from_numpy(uses[uses != ""] == "r")
    some = across_slice(some, 17) if rotated else some
    rotations = pulse_rotations(timeline, some) if rotated else None
    with torch.no_grad():
        signal = simulate_graphs(timeline, some, max_states=STATES, rotations=rotations).signal[0]
    transform = encoding(sampled_kspace(timeline, refocusing), fov, (MATRIX, MATRIX))
    return direct_image(signal, transform)


def change(name, matrix=MATRIX, rotated=False):
    """Print how much the image of an object changes; return both images."""
    before, after = (image(path, voxels(name, matrix), rotated) for path in (SEQUENCE, changed))
    relative = float((after - before).norm() / before.norm())
    print(f"{name}{', finite pulses across the slice' * rotated}: image changes by {100 * relative:.2f} %")
    return before.abs(), after.abs(), relative


before, after, relative = change("brain")
change("brain", 32, rotated=True)
change("shepp-logan")
change("vials")

# %%
figure = new_figure(11, 6)
axes = figure.subplots(2, 3)
scale = float(before.max())
for axis, picture, title, top in zip(
    axes[0], (before, after, (after - before).abs()),
    ("as it was", f"{100 * energy[1] / energy[0]:.0f} % of the RF energy", f"difference x 10 ({100 * relative:.1f} %)"),
    (scale, scale, scale / 10), strict=True,
):  # fmt: skip
    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=top, origin="lower")
    axis.set(title=title, xticks=[], yticks=[])
stored = original.timeline.flip_angle
for axis, (use, own) in zip(axes[1], free.items(), strict=False):
    for values, label in ((stored, "as it was"), (flip_angle, "learnt")):
        axis.plot(np.rad2deg(values[own.pulse].numpy()), ".", ms=4, label=label)
    axis.set(xlabel=f"{use} pulse", ylabel="flip angle [degrees]", ylim=(0, 190))
    axis.legend(frameon=False)
axes[1][2].plot([100 * line["change"] for line in history], label="change of signal [%]")
axes[1][2].plot([100 * line["energy"] for line in history], label="RF energy [%]")
axes[1][2].set(xlabel="step", yscale="log")
axes[1][2].legend(frameon=False)
save_png(figure, FOLDER / "existing_sar.png", force=True)
