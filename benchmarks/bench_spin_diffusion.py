"""Radius of particles by spin diffusion: errors beside the bound, coverage of intervals, CPU time of a fit.

Peers: the models of two publications on the same curves, the uniform liquid of the poster of Brossa et al. fitted
exactly, and with ``--network`` its physics-informed network (minutes a case). Accuracy of the solvers comes first:
finite volumes beside Laplace's domain, in units of the largest polarisation. Noise is that of an SNR of 200 of each
curve's largest value, 40 times; R' is known. Times are CPU times of one thread, medians.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from pulsetwin.recon.spin_diffusion.curves import Curves
from pulsetwin.recon.spin_diffusion.fit import fit_radius
from pulsetwin.recon.spin_diffusion.identifiability import least_deviation
from pulsetwin.recon.spin_diffusion.particle import Material, Particle
from pulsetwin.sim.spin_diffusion.finite_volumes import grouped
from pulsetwin.sim.spin_diffusion.laplace import build_up, build_up_slopes
from pulsetwin.sim.spin_diffusion.layers import refined

TIMES = {25e-9: np.geomspace(0.01, 5, 40), 2.5e-6: np.geomspace(0.1, 5000, 40)}
KINDS = {"homogeneous": (1.0, 1.0), "heterogeneous": (80.8, 18.9)}
SNR = 200


def particle(radius: float, kind: str) -> Particle:
    solid, liquid = KINDS[kind]
    materials = Material(1e-15, 1000.0, 1.0, solid), Material(1e-15, 0.5, 100.0, liquid)
    return Particle(*materials, outer_radius=1.8 * radius)


def solvers(known: Particle, radius: float) -> str:
    layers, times, told = known.layers(radius), TIMES[radius], []
    truth = build_up(layers, times)
    for cells in (100, 200, 400, 800):
        fine, parent = refined(layers, cells, times)
        took, means = timed(lambda fine=fine, parent=parent: grouped(fine, parent, times).numpy(), 3)
        error = (np.abs(means - truth).max(1) / truth.max(1)).max()
        told.append(f"{2 * cells} cells {error:.1e} in {1e3 * took:.0f} ms")
    exact, _ = timed(lambda: build_up(layers, times), 15)
    slopes, _ = timed(lambda: build_up_slopes(layers, times), 15)
    return f"finite volumes {', '.join(told)}; Laplace {1e3 * exact:.2f} ms, with derivatives {1e3 * slopes:.2f} ms"


def timed(work, repeats: int):
    """CPU time, median of some repeats, and the result."""
    took = []
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        took.append(time.process_time() - began)
    return float(np.median(took)), result


def draws(known: Particle, radius: float, count: int) -> str:
    """Errors of many fits beside the bound, coverage, and their time."""
    values = build_up(known.layers(radius), TIMES[radius])
    noise, random = values.max(1) / SNR, np.random.default_rng(200)
    errors, covered, took = [], [], []
    for _ in range(count):
        measured = Curves(TIMES[radius], *(values + noise[:, None] * random.standard_normal(values.shape)))
        seconds, found = timed(lambda measured=measured: fit_radius(measured, known), 1)
        low, high = (found.radius * end for end in found.precision.interval["radius"])
        errors.append(found.radius / radius - 1)
        covered.append(low <= radius <= high)
        took.append(seconds)
    bound = least_deviation(known, radius, TIMES[radius], noise)["radius"]
    return (
        f"error {100 * np.mean(errors):+.3f} +- {100 * np.std(errors):.3f} %, bound {100 * bound:.3f} % (ratio "
        f"{np.std(errors) / bound:.3f}), largest {100 * np.abs(errors).max():.2f} %; coverage "
        f"{100 * np.mean(covered):.1f} %; {1e3 * np.median(took):.0f} ms a fit with its interval"
    )


def peers(known: Particle, radius: float) -> str:
    measured, uniform = Curves(TIMES[radius], *build_up(known.layers(radius), TIMES[radius])), []
    for prefit in (False, True):
        found = fit_radius(measured, replace(known, boundary="uniform", prefit=prefit))
        uniform.append(f"{100 * (found.radius / radius - 1):+.1f} %")
    return f"uniform liquid {uniform[0]}, behind a stretched exponential {uniform[1]}"


def network(known: Particle, radius: float) -> str:
    from pulsetwin.recon.spin_diffusion.network import fit_network

    measured, told = Curves(TIMES[radius], *build_up(known.layers(radius), TIMES[radius])), []
    for boundary in ("uniform", "diffusion"):
        changes = {"boundary": boundary, "radius_range": (radius / 20, 8 * radius)}  # begins at 0.3 to 0.6 R
        took, found = timed(
            lambda changes=changes: fit_network(measured, replace(known, **changes), steps=1500, polish=300), 1
        )
        told.append(f"{boundary} {100 * (found.radius / radius - 1):+.1f} %, loss {found.loss:.1e}, {took:.0f} s")
    return f"network: {'; '.join(told)}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=300, help="noises a case (300)")
    options.add_argument("--network", action="store_true", help="the physics-informed network, too: minutes a case")
    chosen = options.parse_args()
    for radius in TIMES:
        for kind in KINDS:
            known = particle(radius, kind)
            print(f"{1e9 * radius:g} nm {kind}")
            print(f"  {solvers(known, radius)}\n  {draws(known, radius, chosen.draws)}\n  {peers(known, radius)}")
            if chosen.network:
                print(f"  {network(known, radius)}", flush=True)


if __name__ == "__main__":
    main()
