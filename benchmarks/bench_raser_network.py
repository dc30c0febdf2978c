"""RASER images by networks: random images that no network was trained with, and Shepp-Logan's head.

``python -m benchmarks.bench_raser_network --images 100 --heads 5``. Data are played with four modes in a pixel and
sixteen pixels in one of the image, where those of the training have two and four. T1, T2* (but for the head),
inversions, starts and noise are random as in the training; the gain is told by the data. MSE and SSIM after the best
multiple (LS), and after both are stretched from 0 to 1 (MM): raw spectra by filtered back-projection, profiles of the
first network by damped least squares, both networks; by ``--table --hybrid`` the inversion begun with them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import product

import numpy as np
import torch

from benchmarks.bench_raser_inversion import figures
from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.calibrate import kappa_of
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.examples import domain_of
from pulsetwin.recon.raser.features import features, spectra
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.recon.raser.methods import SHIPPED
from pulsetwin.recon.raser.network import Networks
from pulsetwin.recon.raser.network_file import load_networks
from pulsetwin.recon.raser.symmetry import averaged
from pulsetwin.recon.raser.tomography import filtered_back_projection
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.raser.projections import emitted, strip_frequencies
from pulsetwin.sim.raser.training_data import one_image

FINER = 4
SEED = 20_000_000  # of images that are held out; trainings have small seeds
WAYS = ("raw", "profiles", "both", "hybrid")
DWELL, SAMPLES = 1e-3, 4096  # of the head


def noisy(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    noise = np.abs(signal).max(1).mean() / snr
    return signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def measure(
    networks: Networks, signal: np.ndarray, dwell: float, wanted: np.ndarray, over: float, hybrid: bool = False
) -> np.ndarray:
    """Return the figures of each way, ``[way, figure]``."""
    p = networks.purpose
    try:
        kappa = kappa_of(signal, dwell, p.modes, p.bandwidth, t1=p.t1, t2=p.t2, over_threshold=over)
    except ProtocolError:
        kappa = 1.0  # nothing tells it: known, then
    parameters, angles = Parameters(p.t1, p.t2, kappa), np.pi * np.arange(p.angles) / p.angles
    seen = features(signal, dwell, p.modes, p.bandwidth, parameters, over)
    with torch.no_grad():
        _, linear, _ = networks(torch.from_numpy(seen)[None])
    linear, both = (part[0].double().numpy() for part in (linear, averaged(networks, torch.from_numpy(seen)[None])[1]))
    areas = strip_areas((p.matrix, p.matrix), angles, p.modes)
    raw = filtered_back_projection(spectra(signal, dwell, p.modes, p.bandwidth), areas).reshape(wanted.shape)
    found = [raw, linear, both]
    if hybrid:
        settings = {"matrix": wanted.shape, "pixel_bandwidth": p.bandwidth, "over_threshold": over}
        found.append(invert(signal, dwell, angles, parameters=parameters, first=both, **settings).image)
    return np.stack([figures(one, wanted) for one in found])


def random_images(networks: Networks, count: int, snr: float, pumped: float) -> np.ndarray:
    """Return the figures of random images at 10 times the threshold, ``[image, way, figure]``."""
    domain = replace(domain_of(networks.purpose), finer=FINER, pumped=(pumped, 0.5))
    told = []
    for number in range(count):
        played = one_image(domain, SEED, number)
        signal = noisy(played["signal"], snr, np.random.default_rng([SEED, number, 1]))
        told.append(measure(networks, signal, domain.dwell, played["image"] / played["image"].max(), 10.0))
    return np.array(told)


def heads(
    networks: Networks, count: int, snr: float, over: float, spread: float = 0.05, hybrid: bool = False
) -> np.ndarray:
    """Return the figures of Shepp-Logan's head at a multiple of the threshold, other starts and noise each time."""
    p = networks.purpose
    side, modes = p.matrix * FINER, p.modes * FINER
    head = shepp_logan((1, side, side)).proton_density[0].numpy().astype(float)
    wanted = head.reshape(p.matrix, FINER, p.matrix, FINER).mean((1, 3))
    profiles = (strip_areas(head.shape, np.pi * np.arange(p.angles) / p.angles, modes) @ head.ravel()).reshape(
        -1, modes
    )
    frequency, told = strip_frequencies(modes, p.bandwidth / FINER), []
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        totals = over * (1 + spread * rng.uniform(-1, 1, p.angles))
        times = {"t1": p.t1, "t2": p.t2, "dwell": DWELL, "samples": SAMPLES}
        signal = noisy(emitted(profiles, totals, frequency, rng, share=1e-3, **times), snr, rng)
        told.append(measure(networks, signal, DWELL, wanted / wanted.max(), over, hybrid))
    return np.array(told)


def tell(name: str, told: np.ndarray) -> None:
    """Print mean, deviation and median of each way."""
    for way, one in zip(WAYS, told.swapaxes(0, 1), strict=False):
        mean, spread, median = one.mean(0), one.std(0), np.median(one, 0)
        words = [
            f"{kind} {mean[i]:.4f} +- {spread[i]:.4f} / {mean[i + 1]:.3f} +- {spread[i + 1]:.3f} "
            f"(median {median[i]:.4f} / {median[i + 1]:.3f})"
            for kind, i in (("LS", 0), ("MM", 2))
        ]
        print(f"{name:28} {way:8} {'   '.join(words)}", flush=True)


def main() -> None:
    asks = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asks.add_argument("--networks", default=SHIPPED)
    asks.add_argument("--images", type=int, default=100)
    asks.add_argument("--heads", type=int, default=5)
    asks.add_argument("--table", action="store_true", help="one head in each of many cells")
    asks.add_argument("--hybrid", action="store_true", help="in the table, too: minutes a cell")
    asked = asks.parse_args()
    networks, training, _ = load_networks(asked.networks)
    print({name: value for name, value in training.items() if name != "held_out"})
    began = time.process_time()
    if asked.table:
        for snr, over, spread in [*product((100.0, 1000.0, 10000.0), (3.0, 10.0, 30.0, 83.0), (0.05,)),
                                  (1000.0, 10.0, 0.2), (1000.0, 30.0, 0.2)]:  # fmt: skip
            tell(f"SNR {snr:g}, {over:g} x, {spread:g}", heads(networks, 1, snr, over, spread, asked.hybrid))
        return
    for name, pumped in (("not pumped", 0.0), ("pumped", 1.0)):
        tell(f"{asked.images} images, {name}", random_images(networks, asked.images, 1000.0, pumped))
    for over in (10.0, 20.0, 30.0):
        tell(f"Shepp-Logan, {over:g} times", heads(networks, asked.heads, 1000.0, over))
    print(f"{time.process_time() - began:.0f} s of CPU time")


if __name__ == "__main__":
    main()
