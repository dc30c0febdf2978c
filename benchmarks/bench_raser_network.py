"""RASER images by networks: random images that no network was trained with, and Shepp-Logan's head.

``python benchmarks/bench_raser_network.py --images 100 --heads 10``. Data are played with four modes in a pixel and
sixteen pixels in one of the image, where those of the training have two and four. T1, T2* (but for the head),
inversions, starts and noise are random as in the training; the gain is told by the data. MSE and SSIM after the best
multiple (LS), and after both are stretched from 0 to 1 (MM): raw spectra by filtered back-projection, profiles of the
first network by damped least squares, both networks.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.bench_raser_inversion import figures
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.calibrate import kappa_of
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.examples import domain_of
from pulsetwin.recon.raser.features import features, spectra
from pulsetwin.recon.raser.methods import SHIPPED
from pulsetwin.recon.raser.network import Networks
from pulsetwin.recon.raser.network_file import load_networks
from pulsetwin.recon.raser.tomography import filtered_back_projection
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.raser.projections import emitted, strip_frequencies
from pulsetwin.sim.raser.training_data import one_image

FINER = 4
SEED = 20_000_000  # of images that are held out; trainings have small seeds
WAYS = ("raw", "profiles", "both")


def noisy(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    noise = np.abs(signal).max(1).mean() / snr
    return signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def measure(networks: Networks, signal: np.ndarray, dwell: float, wanted: np.ndarray, gain: bool) -> np.ndarray:
    """Return the figures of each way, ``[way, figure]``."""
    p = networks.purpose
    nominal = {"t1": p.t1, "t2": p.t2, "over_threshold": p.over_threshold}
    kappa = 1.0 if gain else kappa_of(signal, dwell, p.modes, p.bandwidth, **nominal)
    seen = features(signal, dwell, p.modes, p.bandwidth, Parameters(p.t1, p.t2, kappa), p.over_threshold)
    with torch.no_grad():
        _, linear, both = (part[0].double().numpy() for part in networks(torch.from_numpy(seen)[None]))
    areas = strip_areas((p.matrix, p.matrix), np.pi * np.arange(p.angles) / p.angles, p.modes)
    raw = filtered_back_projection(spectra(signal, dwell, p.modes, p.bandwidth), areas).reshape(wanted.shape)
    return np.stack([figures(one, wanted) for one in (raw, linear, both)])


def random_images(networks: Networks, count: int, snr: float, pumped: float, gain: bool) -> np.ndarray:
    domain = replace(domain_of(networks.purpose), finer=FINER, pumped=(pumped, 0.5))
    told = []
    for number in range(count):
        played = one_image(domain, SEED, number)
        signal = noisy(played["signal"], snr, np.random.default_rng([SEED, number, 1]))
        told.append(measure(networks, signal, domain.dwell, played["image"] / played["image"].max(), gain))
    return np.array(told)


def heads(networks: Networks, count: int, snr: float, over: float, gain: bool) -> np.ndarray:
    """Return the figures of Shepp-Logan's head at a multiple of the threshold, other starts and noise each time."""
    p = networks.purpose
    side, modes = p.matrix * FINER, p.modes * FINER
    head = shepp_logan((1, side, side)).proton_density[0].numpy().astype(float)
    wanted = head.reshape(p.matrix, FINER, p.matrix, FINER).mean((1, 3))
    profiles = (strip_areas(head.shape, np.pi * np.arange(p.angles) / p.angles, modes) @ head.ravel()).reshape(
        -1, modes
    )
    frequency, domain, told = strip_frequencies(modes, p.bandwidth / FINER), domain_of(p), []
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        totals = over * (1 + domain.spread * rng.uniform(-1, 1, p.angles))
        times = {"t1": p.t1, "t2": p.t2, "dwell": domain.dwell, "samples": domain.samples}
        signal = noisy(emitted(profiles, totals, frequency, rng, share=1e-3, **times), snr, rng)
        told.append(measure(networks, signal, domain.dwell, wanted / wanted.max(), gain))
    return np.array(told)


def tell(name: str, told: np.ndarray) -> None:
    """Print mean, deviation and median of each way."""
    for way, one in zip(WAYS, told.swapaxes(0, 1), strict=True):
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
    asks.add_argument("--heads", type=int, default=10)
    asks.add_argument("--snr", type=float, default=1000.0)
    asks.add_argument("--gain", action="store_true", help="the gain is known")
    asked = asks.parse_args()
    networks, training, _ = load_networks(asked.networks)
    print({name: value for name, value in training.items() if name != "held_out"})
    began = time.process_time()
    for name, pumped in (("not pumped", 0.0), ("pumped", 1.0)):
        told = random_images(networks, asked.images, asked.snr, pumped, asked.gain)
        tell(f"{asked.images} images, {name}", told)
    for over in (10.0, 20.0):
        tell(f"Shepp-Logan, {over:g} times", heads(networks, asked.heads, asked.snr, over, asked.gain))
    print(f"{time.process_time() - began:.0f} s of CPU time")


if __name__ == "__main__":
    main()
