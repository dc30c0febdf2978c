"""RASER images by inversion, on data of four modes in a pixel and sixteen pixels in one of the image.

``python benchmarks/bench_raser_inversion.py --over 10 20 30 --images 8``: Shepp-Logan at multiples of the threshold,
then random images at the first. T1, T2* and kappa start 10, 3 and 10 % wrong; scales of the projections, phases and
amplitudes at the start are random. MSE and SSIM after the multiple that suits best (LS), and after both are stretched
from 0 to 1 (MM).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.agreement import ssim_uniform
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.recon.raser.tomography import filtered_back_projection, sirt
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.raser.images import random_image
from pulsetwin.sim.raser.projections import emitted, strip_frequencies

ANGLES, PIXELS, FINE, MODES, BANDWIDTH = np.arange(30) * np.pi / 30, 44, 4, 268, 8.19 / 67
DWELL, SAMPLES = 1e-3, 4096
WRONG = Parameters(5.5, 0.72, 0.9)


def scan(image: np.ndarray, over: float, snr: float, seed: int) -> np.ndarray:
    """Return noisy signals of an image of `FINE` times as many pixels."""
    rng = np.random.default_rng(seed)
    areas = strip_areas(image.shape, ANGLES, MODES, per_pixel=1.0)
    profiles = (areas @ image.ravel()).reshape(len(ANGLES), MODES)
    totals = over * (1 + 0.05 * rng.standard_normal(len(ANGLES)))
    frequency = strip_frequencies(MODES, BANDWIDTH / FINE)
    played = {"t1": 5.0, "t2": 0.7, "share": 1e-3, "dwell": DWELL, "samples": SAMPLES}
    signal = emitted(profiles, totals, frequency, rng, **played)
    noise = np.abs(signal).max(1).mean() / snr
    return signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def figures(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return MSE and SSIM, LS then MM."""
    scaled = found * (found * wanted).sum() / (found**2).sum()
    low, high = ((one - one.min()) / np.ptp(one) for one in (found, wanted))
    pairs = (scaled, wanted), (low, high)
    return np.array([f(*pair) for pair in pairs for f in (lambda a, b: np.mean((a - b) ** 2), ssim_uniform)])


def measure(name: str, image: np.ndarray, over: float, snr: float, seed: int) -> np.ndarray:
    """Print a line for an image and return its figures."""
    wanted = image.reshape(PIXELS, FINE, PIXELS, FINE).mean((1, 3))
    signal, began = scan(image, over, snr, seed), time.process_time()
    found = invert(
        signal, DWELL, ANGLES, matrix=(PIXELS, PIXELS), pixel_bandwidth=BANDWIDTH, over_threshold=over, parameters=WRONG
    )
    took = time.process_time() - began
    areas = strip_areas((PIXELS, PIXELS), ANGLES, 67)
    true = (strip_areas(image.shape, ANGLES, 67, per_pixel=1 / FINE) @ image.ravel()).reshape(30, 67) / FINE**2
    ideal = [figures(f(true, areas).reshape(wanted.shape), wanted) for f in (filtered_back_projection, sirt)]
    told = figures(found.image, wanted)
    print(
        f"{name:12} {over:4g} x, SNR {snr:g}: LS {told[0]:.4f}/{told[1]:.3f}  MM {told[2]:.4f}/{told[3]:.3f}  "
        f"T1 {found.parameters.t1:.3f}  T2* {found.parameters.t2:.4f}  kappa {found.parameters.kappa:.3f}  "
        f"chi2 {found.chi_squared:.3f}  {took:.0f} s;  true projections: FBP {ideal[0][0]:.4f}/{ideal[0][1]:.3f}, "
        f"SIRT {ideal[1][0]:.4f}/{ideal[1][1]:.3f}",
        flush=True,
    )
    return told


def main() -> None:
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("--over", type=float, nargs="+", default=[10.0, 20.0, 30.0])
    asks.add_argument("--snr", type=float, default=1000.0)
    asks.add_argument("--images", type=int, default=4)
    asked = asks.parse_args()
    side = PIXELS * FINE
    head = shepp_logan((1, side, side), (0.1, 0.1, 0.01)).proton_density[0].numpy().astype(float)
    for over in asked.over:
        measure("Shepp-Logan", head, over, asked.snr, 0)
    told = []
    for number in range(asked.images):
        image = random_image(np.random.default_rng(number), side)
        over = asked.over[0] * (1 + 0.1 * np.random.default_rng(number).standard_normal())
        told.append(measure(f"random {number}", image, over, asked.snr, number))
    if told:
        print("mean and deviation", np.mean(told, 0).round(4), np.std(told, 0).round(4))


if __name__ == "__main__":
    main()
