# %% [markdown]
# # From a sequence to an image without a scanner
#
# Four sequences are played on a brain by the digital twin, written as Siemens raw data with noise, read back and
# reconstructed like any scan, and compared with what theory says the image should show. Run it from anywhere:
# `python examples/twin_loop.py [FOLDER [MATRIX]]`.

# %%
import sys
import time
from pathlib import Path

import numpy as np
from twin_prediction import (
    cartesian_image,
    echo_train,
    excited,
    gradient_echoes,
    radial_image,
    signal,
    spin_echoes,
    spoiled,
)
from twin_sequences import FOV, epi, flash, radial, rare

from pulsetwin.export.display import view
from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.export.twix import write
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from pulsetwin.sim.coil_array import with_coils

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("twin_loop")
MATRIX = int(sys.argv[2]) if len(sys.argv) > 2 else 64
COILS, SNR = 8, 50
SCANNER = Scanner.preset("siemens-prisma")

# %% [markdown]
# What theory says the coils receive: `twin_prediction` has the formulae, one for each kind of sequence.


# %%
def predicted_flash(seq, phantom):
    """Ideally spoiled gradient echoes of 12 degrees, on their way to the steady state."""
    excitation = seq.calculate_kspace()[2]
    sampling = gradient_echoes(seq)
    return sampling, spoiled(phantom, 12, float(np.diff(excitation).mean()), len(excitation))


def predicted_rare(seq, phantom):
    """Echoes of 90 and 180 degree pulses that all miss their angle by the same factor, stimulated ones included."""
    sampling = spin_echoes(seq)
    return sampling, echo_train(phantom, 90, 180, 9e-3, len(sampling.k))


def predicted_epi(seq, phantom):
    """One excitation of 90 degrees, and B0 that turns the signal from line to line."""
    return gradient_echoes(seq), excited(phantom, 90)


PLANS = {
    "FLASH": (flash, predicted_flash, cartesian_image),
    "RARE": (rare, predicted_rare, cartesian_image),
    "EPI": (epi, predicted_epi, cartesian_image),
    "radial": (radial, predicted_flash, radial_image),
}

# %% [markdown]
# Play, write, read, reconstruct. The prediction is whitened by the noise scan, as the reconstruction does it, and then
# on the same scale: nothing is fitted.


# %%
def loop(name):
    """Return image, prediction, pixels of the brain, noise of the magnitude, the image's affine, and seconds played."""
    build, predict, picture = PLANS[name]
    file, scan = FOLDER / f"{name.lower()}.seq", FOLDER / f"{name.lower()}.dat"
    seq = build(MATRIX)
    seq.write(str(file))
    phantom = with_coils(phantom_for(read_seq(file), "brain", MATRIX, SCANNER), COILS)
    began = time.perf_counter()
    raw = acquire(file, phantom, SCANNER, snr=SNR)
    seconds = time.perf_counter() - began
    write(raw, scan, force=True)
    measured = read(scan, file)
    images = reconstruct(measured)
    image = np.abs(images.values[0, 0])
    sampling, amplitude = predict(seq, phantom)
    coil_images = picture(signal(phantom, sampling, amplitude), sampling.k, FOV, MATRIX)
    noise = np.asarray(measured.noise, np.complex128)
    whiten = np.linalg.inv(np.linalg.cholesky(noise @ noise.conj().T / noise.shape[1]))
    truth = np.linalg.norm(np.tensordot(whiten, coil_images, 1), axis=0)
    rng = np.random.default_rng(0)
    white = rng.standard_normal(sampling.time.shape) + 1j * rng.standard_normal(sampling.time.shape)
    level = np.sqrt(0.5) * picture(white[None] / np.sqrt(2), sampling.k, FOV, MATRIX).std()
    return image, truth, rows_to_back(phantom.proton_density.numpy()[0] > 0), level, images.affine, seconds


def rows_to_back(values):
    """Turn ``[y, x]`` whose y points to the front, as a phantom's does, into rows to the back, as the image has them.

    Voxel ``n // 2`` is at the origin in both, so that this is no mere reversal.
    """
    rows = len(values)
    return values[(2 * (rows // 2) - np.arange(rows)) % rows]


FOLDER.mkdir(parents=True, exist_ok=True)
figure = new_figure(3 * len(PLANS), 9.2)
axes = figure.subplots(3, len(PLANS))
for column, name in zip(axes.T, PLANS, strict=True):
    image, truth, inside, level, affine, seconds = loop(name)
    error = np.linalg.norm((image - truth)[inside]) / np.linalg.norm(truth[inside])
    scale = (image * truth)[inside].sum() / (truth[inside] ** 2).sum()
    noise = level * np.sqrt(inside.sum()) / np.linalg.norm(truth[inside])
    print(
        f"{name:7} NRMSE to the prediction {error:6.2%}, of which noise {noise:6.2%}; scale {scale:.4f}; "
        f"simulated in {seconds:.1f} s"
    )
    top = np.quantile(truth[inside], 0.99)
    shown = (image, f"{name}: image"), (truth, "predicted"), (5 * (image - truth), f"difference × 5: {error:.1%}")
    side = view(affine)  # the front of the head on top, the patient's right on the left
    for axis, (values, title), low in zip(column, shown, (0, 0, -top), strict=True):
        axis.imshow(side.turn(values), cmap="gray", vmin=low, vmax=top)
        axis.text(0.5, 0.98, side.top, color="w", ha="center", va="top", transform=axis.transAxes)
        axis.text(0.02, 0.5, side.left, color="w", ha="left", va="center", transform=axis.transAxes)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
save_png(figure, FOLDER / "twin_loop.png", force=True)
print(f"figure: {FOLDER / 'twin_loop.png'}")
