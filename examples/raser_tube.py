# %% [markdown]
# # RASER: the inner diameter of a tube, in a resonator that is stronger at the wall
#
# A tube of 4.1 mm in a field of view of 7.4 mm, 67 by 67 pixels and 30 angles, as measured by Becker et al. (2025). The
# resonator's field rises by a fifth from the axis to the wall, so the image is a doughnut: spins that couple more
# strongly are nearer to the threshold, by the square of the field, and lose their inversion faster. The inversion knows
# nothing of that; it takes the resonator as even. The equations are integrated here with four modes in a pixel and
# sixteen pixels in one, by other code than the inversion's. Run it from anywhere:
# `python examples/raser_tube.py [FIGURE] [PIXELS]`; a few minutes on one core, or seconds with 24 pixels.

# %%
import sys
from itertools import pairwise

import numpy as np

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.sim.raser.projections import random_start, strip_frequencies

FIGURE = sys.argv[1] if len(sys.argv) > 1 else "raser_tube.png"
PIXELS = int(sys.argv[2]) if len(sys.argv) > 2 else 67
FOV, DIAMETER, CENTRE, RISE = 7.4, 4.1, (0.2, -0.1), 0.2  # mm; x and y; of the field
FINE, CLASSES, BANDWIDTH = 4, 6, 8.19  # pixels and modes in a pixel, of the field, Hz over the field of view
T1, T2, TOTAL, SNR, DWELL, SAMPLES = 5.0, 0.7, 10.0, 1000.0, 1e-3, 4096
ANGLES = np.arange(30) * np.pi / 30

# %% [markdown]
# The object: rings of even field in the tube.

# %%
place = ((np.arange(FINE * PIXELS) + 0.5) / (FINE * PIXELS) - 0.5) * FOV
radius = 2 * np.hypot(place - CENTRE[0], place[:, None] - CENTRE[1]) / DIAMETER
edges = np.linspace(0, 1, CLASSES + 1)
field = 1 + RISE * ((edges[:-1] ** 2 + edges[1:] ** 2) / 2) ** 2
modes = int(np.ceil(FINE * PIXELS * 0.75))
areas = strip_areas(radius.shape, ANGLES, modes)
rings = [((radius >= low) & (radius < high)).ravel() for low, high in pairwise(edges)]
profiles = [b**2 * (areas @ ring).reshape(len(ANGLES), modes) for ring, b in zip(rings, field, strict=True)]
inversion = np.concatenate(profiles, 1)
loss = np.repeat(field**2, modes) / T2

# %% [markdown]
# What it emits: a and n of each mode times the field and its square, precession and relaxation exact, the rest by the
# classical Runge-Kutta method. Total inversions differ by 5 % between the angles; starts are random.

# %%
random = np.random.default_rng(4)
n = inversion * (TOTAL * (1 + 0.05 * random.standard_normal(len(ANGLES))) / inversion.sum(1))[:, None]
a = random_start(n, 1e-3, random)
omega = 2 * np.pi * np.tile(strip_frequencies(modes, BANDWIDTH / PIXELS / FINE), CLASSES)
turn, keep = np.exp((1j * omega - 1 / T2) * DWELL / 2), np.exp(-DWELL / (2 * T1))


def slopes(a, n):
    """Return what the resonator does to amplitudes and inversions, per second."""
    signal = a.sum(1, keepdims=True)
    return n * signal / T2, -loss * (a.conj() * signal).real


signal = np.empty((len(ANGLES), SAMPLES), complex)
for sample in range(SAMPLES):
    signal[:, sample] = a.sum(1)
    k = slopes(a, n)
    middle = turn * a, keep * n
    k1 = turn * k[0], keep * k[1]
    k2 = slopes(middle[0] + DWELL / 2 * k1[0], middle[1] + DWELL / 2 * k1[1])
    k3 = slopes(middle[0] + DWELL / 2 * k2[0], middle[1] + DWELL / 2 * k2[1])
    k4 = slopes(turn * (middle[0] + DWELL * k3[0]), keep * (middle[1] + DWELL * k3[1]))
    a = turn * (middle[0] + DWELL / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0])) + DWELL / 6 * k4[0]
    n = keep * (middle[1] + DWELL / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1])) + DWELL / 6 * k4[1]
noise = np.abs(signal).max(1).mean() / SNR
signal += noise * (random.standard_normal(signal.shape) + 1j * random.standard_normal(signal.shape))

# %% [markdown]
# Image, from T1, T2* and a gain that are 10, 3 and 10 % off; nothing is looked for more than 2.7 mm from the middle.

# %%
middles = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * FOV
found = invert(
    signal, DWELL, ANGLES, matrix=(PIXELS, PIXELS), pixel_bandwidth=BANDWIDTH / PIXELS, over_threshold=TOTAL,
    parameters=Parameters(5.5, 0.72, 0.9), inside=np.hypot(middles, middles[:, None]) < 2.7,
)  # fmt: skip

# %% [markdown]
# The diameter is where the mean over the circle about the centre of gravity falls to half of what it is near the wall.

# %%
image = found.image
x, y = (float((image.sum(axis) * middles).sum() / image.sum()) for axis in (0, 1))
away = np.hypot(middles - x, middles[:, None] - y)
width = FOV / PIXELS
bins = np.arange(width / 2, FOV / 2, width / 2)
means = np.array([image[np.abs(away - r) < width / 2].mean() for r in bins])
last = np.nonzero(means > means.max() / 2)[0][-1]
share = (means[last] - means.max() / 2) / (means[last] - means[last + 1])
diameter = 2 * float(bins[last] + share * width / 2)
error = 100 * (diameter / DIAMETER - 1)
print(f"inner diameter {diameter:.3f} mm, {error:+.1f} % of {DIAMETER} mm; centre {x:+.2f}, {y:+.2f} mm; "
      f"wall over axis {means.max() / means[:4].mean():.2f}, chi squared {found.chi_squared:.3f}, "
      f"T2* {found.parameters.t2:.3f} s")  # fmt: skip

figure = new_figure(8, 3.6)
left, right = figure.subplots(1, 2)
left.imshow(image, cmap="gray", extent=(-FOV / 2, FOV / 2, FOV / 2, -FOV / 2))
left.set(title="relative inversion", xlabel="x [mm]", ylabel="y [mm]")
right.plot(bins, means)
right.axvline(DIAMETER / 2, linestyle=":")
right.set(title="mean over the circle", xlabel="radius [mm]")
save_png(figure, FIGURE, force=True)
print(f"figure: {FIGURE}")
