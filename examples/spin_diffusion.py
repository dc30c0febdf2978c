# %% [markdown]
# # Spin diffusion: the radius of particles, and the bias of a uniform liquid
#
# The four cases of the poster of Brossa et al. (2024): spheres of 25 nm and 2.5 µm, with as many nuclei in the solid as
# in the frozen solution around them ("homogeneous") or more ("heterogeneous", polystyrene in tetrachloroethane). Curves
# come from finite volumes, not from the model that fits them. Each is fitted twice: with polarisation that diffuses in
# the liquid, whose outer radius R' is known, and with the liquid polarised alike everywhere, which is the poster's
# assumption. Run it from anywhere: `python examples/spin_diffusion.py [FIGURE]`; seconds.
#
# The poster gives no constants. These were chosen (D 1e-3 µm²/s, T1 of 1000 and 0.5 s, P0 of 1 and 100, R' = 1.8 R) so
# that the uniform liquid comes near the poster's radii at 25 nm; at 2.5 µm they cannot be expected to.

# %%
import sys
from dataclasses import replace

import numpy as np

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.recon.spin_diffusion.curves import Curves
from pulsetwin.recon.spin_diffusion.fit import fit_radius
from pulsetwin.recon.spin_diffusion.particle import Material, Particle
from pulsetwin.sim.spin_diffusion.finite_volumes import grouped, profile
from pulsetwin.sim.spin_diffusion.layers import refined

FIGURE = sys.argv[1] if len(sys.argv) > 1 else "spin_diffusion.png"
TIMES = {25e-9: np.geomspace(0.01, 5, 40), 2.5e-6: np.geomspace(0.1, 5000, 40)}
CONCENTRATIONS = {"homogeneous": (1.0, 1.0), "heterogeneous": (80.8, 18.9)}
POSTER = {
    (25e-9, "homogeneous"): 36.6e-9, (2.5e-6, "homogeneous"): 2.50e-6,
    (25e-9, "heterogeneous"): 64.1e-9, (2.5e-6, "heterogeneous"): 2.56e-6,
}  # fmt: skip
SNR, CELLS = 200, 400


def particle(kind, radius):
    """Return what is known of a particle: all but its radius."""
    solid, liquid = CONCENTRATIONS[kind]
    materials = Material(1e-15, 1000.0, 1.0, solid), Material(1e-15, 0.5, 100.0, liquid)
    return Particle(*materials, outer_radius=1.8 * radius)


# %% [markdown]
# Simulate and fit, without noise and with it.

# %%
random = np.random.default_rng(8)
results = {}
for (radius, kind), poster in POSTER.items():
    known, times = particle(kind, radius), TIMES[radius]
    fine, parent = refined(known.layers(radius), CELLS, times)
    exact = grouped(fine, parent, times).numpy()
    noisy = exact + exact.max(1, keepdims=True) / SNR * random.standard_normal(exact.shape)
    for model in ("diffusion", "uniform"):
        clean = fit_radius(Curves(times, *exact), replace(known, boundary=model))
        found = fit_radius(Curves(times, *noisy), replace(known, boundary=model))
        results[radius, kind, model] = found
        errors = [100 * (one / radius - 1) for one in (clean.radius, found.radius, poster)]
        print(
            f"{1e9 * radius:6g} nm {kind:13} {model:9} error {errors[0]:+8.3f} % without noise, {errors[1]:+8.2f} % at "
            f"SNR {SNR} (+- {100 * found.precision.bound['radius']:.2f} %); poster {errors[2]:+.1f} %"
        )

# %% [markdown]
# Draw the radii, and why: in the liquid beside the solid the polarisation is far below its mean.

# %%
figure = new_figure(11, 4.2)
left, right = figure.subplots(1, 2)
labels = [f"{radius * 1e9:g} nm\n{kind}" for radius, kind in POSTER]
marks = {"diffusion": ("o", "tab:blue", "liquid: diffusion"), "uniform": ("s", "tab:red", "liquid: uniform")}
for model, (mark, colour, label) in marks.items():
    relative = [results[radius, kind, model].radius / radius for radius, kind in POSTER]
    left.plot(range(len(POSTER)), relative, mark, color=colour, label=label)
relative = [poster / radius for (radius, _), poster in POSTER.items()]
left.plot(range(len(POSTER)), relative, "x", color="black", label="poster (PINN, uniform liquid)")
left.axhline(1, color="0.6", linewidth=1)
left.set(xticks=range(len(POSTER)), ylabel="radius found / true", ylim=(0.8, 2.8), title=f"SNR {SNR}")
left.set_xticklabels(labels, fontsize=8)
left.legend(frameon=False)
for radius, colour, time in ((25e-9, "tab:blue", 0.4), (2.5e-6, "tab:green", 400.0)):
    fine, parent = refined(particle("heterogeneous", radius).layers(radius), CELLS, TIMES[radius])
    place = 0.5 * (fine.edges + np.concatenate(([0.0], fine.edges[:-1]))) / radius
    row = profile(fine, np.array([time])).numpy()[:, 0]
    mean = grouped(fine, parent, np.array([time])).numpy()[1, 0]
    right.plot(place, row, color=colour, label=f"{1e9 * radius:g} nm after {time:g} s")
    right.plot([1, 1.8], [mean, mean], "--", color=colour)
right.axvspan(0, 1, color="0.94", zorder=0)
right.set(xlim=(0, 1.8), xlabel="r / R; the solid is shaded", ylabel="polarisation", title="dashed: mean of the liquid")
right.legend(frameon=False)
save_png(figure, FIGURE, force=True)
print(f"figure: {FIGURE}")
