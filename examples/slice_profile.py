# %% [markdown]
# # A measured slice profile beside the digital twin
#
# A spin echo was scanned with its readout along the slice direction, and once more with the readout across the whole
# bottle. The ratio of both is the profile of the excitation alone, free of the bottle's shape and of the coils. The
# twin plays the same `.seq`, pulses sample by sample, on a line of spins. Run it from anywhere:
# `python examples/slice_profile.py [FIGURE.png]`.

# %%
import sys
from pathlib import Path

import numpy as np
import torch

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.read import read
from pulsetwin.sim.isochromats import simulate_isochromats
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.rotations import pulse_maps
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

DATA = Path(__file__).resolve().parent / "data" / "pulseq_se"
FIGURE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("slice_profile.png")
PIXEL, PIXELS = 2e-3, 64  # of the readout [m]
PLATEAU = slice(28, 37)  # pixels within the slice, whose mean is set to 1
INSIDE = slice(8, 57)  # pixels of the bottle
T1, T2 = 0.2, 0.15  # of doped water [s], not measured: T1 of 0.1 to 0.3 s fits about as well, 0.6 s is 4 % off


# %% [markdown]
# The raw files hold 64 phase-encoding lines of 32 coils. `image.seq` differs from what was played by its signature and
# dwell time, hence `trust_seq`; its picture fits the bottle.


# %%
def picture(name: str) -> torch.Tensor:
    """Coil images of a scan, complex ``[y, coil, x]``."""
    raw = read(DATA / f"{name}.dat", DATA / f"{name}.seq", trust_seq=True)
    return ifft(torch.from_numpy(np.asarray(raw.groups[0].samples[:])).to(torch.complex128), (0, 2))


def measured() -> torch.Tensor:
    """Excitation along x, least squares over coils and rows of the profile on the image, complex ``[x]``."""
    profile, image = picture("slice_profile_sinc"), picture("image")
    energy = image.abs().square().sum(1)
    bottle = energy > 0.02 * energy.max()
    cross = (image.conj() * profile).sum(1)
    return (cross * bottle).sum(0) / (energy * bottle).sum(0).clamp(min=1e-30)


# %% [markdown]
# The twin: a line of 512 voxels along x with 16 spins each, close enough for the spoilers to dephase them. What it
# would measure in the centre of k-space along y is read from the middle line.


# %%
def line(length: float = 0.16, count: int = 512) -> Voxels:
    """Doped water along x."""
    position = torch.zeros(count, 3, dtype=torch.float64)
    position[:, 0] = ((torch.arange(count) + 0.5) / count - 0.5) * length
    ones, field = torch.ones(count, dtype=torch.float64), torch.ones(1, count, dtype=torch.complex128)
    return Voxels(
        position=position, proton_density=ones, t1=T1 * ones, t2=T2 * ones, t2_prime=torch.inf * ones,
        diffusion=0 * ones, b0=0 * ones, b1=field, coils=field, size=(length / count, 0.0, 0.0),
    )  # fmt: skip


timeline = timeline_from_seq(DATA / "slice_profile_sinc.seq")
echo = simulate_isochromats(timeline, line(), spins=16)[0].reshape(-1, PIXELS)[PIXELS // 2]
scan, twin = measured(), ifft(echo, (0,))


# %% [markdown]
# Both, with the plateau set to 1, and their widths after interpolation to an eighth of a pixel.


# %%
def interpolated(profile: torch.Tensor, factor: int = 16) -> torch.Tensor:
    """Magnitude on a finer grid, by zeros around k-space."""
    pad = PIXELS * (factor - 1) // 2
    fine = ifft(torch.nn.functional.pad(fft(profile, (0,)), (pad, pad)), (0,)).abs()
    return fine * factor**0.5 / profile[PLATEAU].abs().mean()


def width(profile: torch.Tensor) -> float:
    """Full width at half maximum of an interpolated profile [m]."""
    above = (profile - 0.5).numpy()
    first, last = np.nonzero(above > 0)[0][[0, -1]]
    left = first - above[first] / (above[first] - above[first - 1])
    right = last + above[last] / (above[last] - above[last + 1])
    return (right - left) * PIXEL * PIXELS / len(above)


pair = [profile.abs() / profile[PLATEAU].abs().mean() for profile in (scan, twin)]
difference = (pair[1] - pair[0])[INSIDE]
rms = float(difference.square().mean().sqrt())
widths = [width(interpolated(profile)) for profile in (scan, twin)]
print(f"width at half maximum: {widths[0] * 1e3:.2f} mm measured, {widths[1] * 1e3:.2f} mm simulated")
print(
    f"difference: {rms:.2%} of the plateau (root mean square over {(INSIDE.stop - INSIDE.start) * PIXEL * 1e3:.0f} mm)"
)

# %% [markdown]
# Below: what the same excitation leaves behind when spins start from rest, and the Fourier transform of its waveform,
# which would be its profile if flip angles were small.

# %%
shape = timeline.shapes[int(timeline.shape[0])]
x = torch.linspace(-48e-3, 48e-3, 961, dtype=torch.float64)
place = torch.stack((x, 0 * x, 0 * x), 1)
matrix, vector = pulse_maps(shape, offset=0 * x, position=place)
after = matrix[:, :, 2] + vector
time = shape.duration.cumsum(0) - shape.duration / 2 - shape.center
slope = float(shape.gradient[:, 0].abs().max())
wave = torch.exp(2j * torch.pi * slope * x[:, None] * time) @ (shape.b1 * shape.duration)
linear = wave.abs() / wave.abs().max()

figure = new_figure(7.2, 6.4)
top, bottom = figure.subplots(2, 1, sharex=True)
grid = (np.arange(PIXELS * 16) / 16 - PIXELS // 2) * PIXEL * 1e3
top.plot(grid, interpolated(twin), color="C0", label="digital twin")
pixels = (np.arange(PIXELS) - PIXELS // 2) * PIXEL * 1e3
top.plot(pixels, pair[0], "o", color="C1", markersize=3.5, label="measured")
top.plot(pixels[INSIDE], difference, color="0.5", linewidth=1, label="difference")
top.set_ylabel("signal / plateau")
top.set_title(
    f"spin echo, 32 coils: {rms:.1%} apart, {widths[0] * 1e3:.1f} and {widths[1] * 1e3:.1f} mm wide", fontsize=10
)
bottom.plot(x * 1e3, after[:, :2].norm(dim=1), color="C0", label="transverse, after 90°")
bottom.plot(x * 1e3, after[:, 2], color="C2", label="longitudinal")
bottom.plot(x * 1e3, linear, color="0.6", linestyle="--", label="Fourier transform of the pulse")
bottom.set_ylabel("magnetisation")
bottom.set_xlabel("along the slice [mm]")
for axes in (top, bottom):
    axes.set_xlim(-48, 48)
    axes.legend(fontsize=8, frameon=False, loc="center right")
    axes.grid(alpha=0.25)
save_png(figure, FIGURE, force=True)
print(f"figure: {FIGURE}")
