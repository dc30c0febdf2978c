"""RASER images by networks: random images that no network was trained with, and Shepp-Logan's head.

``python -m benchmarks.bench_raser_network --images 100 --heads 5``. Data are played with four modes in a pixel and
sixteen pixels in one of the image, where those of the training have two and four. T1, T2* (but for the head),
inversions, starts and noise are random as in the training; the gain is told by the data. MSE and SSIM after the best
multiple (LS), and after both are stretched from 0 to 1 (MM): raw spectra by filtered back-projection, profiles of the
first network by damped least squares, both networks.

``--table figures.csv``: instead, the networks, and the inversion begun with their image (hybrid), on the very scans of
the table of `bench_raser_inversion`, T1 and T2* said 10 and 3 % wrong, the gain told by the data, or given where these
do not tell it. Each scan is a row of the file, as there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_raser_inversion import (
    FIGURES,
    WRONG,
    Case,
    figures,
    fitted,
    image_of,
    said_decay,
    scan,
    table_cases,
    write_rows,
)
from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.raser.calibrate import kappa_of
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.examples import domain_of
from pulsetwin.recon.raser.features import features, spectra
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
WAYS = ("raw", "profiles", "both")
COLUMNS = (
    *Case._fields, *(f"{way} {name}" for way in ("networks", "hybrid") for name in FIGURES), "T1", "T2*", "kappa",
    "chi2", "kappa told before", "seconds", "pump decay",
)  # fmt: skip
DWELL, SAMPLES = 1e-3, 4096  # of the head


def noisy(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    noise = np.abs(signal).max(1).mean() / snr
    return signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def measure(networks: Networks, signal: np.ndarray, dwell: float, wanted: np.ndarray, over: float) -> np.ndarray:
    """Return the figures of each way, ``[way, figure]``."""
    p = networks.purpose
    parameters = told_before(networks, signal, dwell, over, (p.t1, p.t2))
    linear, both = by_networks(networks, signal, dwell, over, parameters)
    areas = strip_areas((p.matrix, p.matrix), np.pi * np.arange(p.angles) / p.angles, p.modes)
    raw = filtered_back_projection(spectra(signal, dwell, p.modes, p.bandwidth), areas).reshape(wanted.shape)
    return np.stack([figures(one, wanted) for one in (raw, linear, both)])


def told_before(
    networks: Networks, signal: np.ndarray, dwell: float, over: float, times: tuple[float, float],
    pump_decay: float | None = None,
) -> Parameters:  # fmt: skip
    """Return T1 and T2* as they are said, and the gain that the data tell with them; 1 where nothing tells it."""
    t1, t2 = times
    asked = {"t1": t1, "t2": t2, "over_threshold": over, "pump_decay": pump_decay}
    try:
        return Parameters(t1, t2, kappa_of(signal, dwell, networks.purpose.modes, networks.purpose.bandwidth, **asked))
    except ProtocolError:
        return Parameters(t1, t2, 1.0)


def by_networks(
    networks: Networks, signal: np.ndarray, dwell: float, over: float, parameters: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image by the mended profiles, and that by both networks."""
    p = networks.purpose
    seen = torch.from_numpy(features(signal, dwell, p.modes, p.bandwidth, parameters, over))[None]
    with torch.no_grad():
        _, linear, _ = networks(seen)
    return linear[0].double().numpy(), averaged(networks, seen)[1][0].double().numpy()


def with_hybrid(networks: Networks, case: Case) -> list[float]:
    """Return the figures of a scan of the table, in the order of `COLUMNS` after those of the case."""
    image, p = image_of(case), networks.purpose
    signal, fine = scan(image, case), len(image) // p.matrix
    wanted = image.reshape(p.matrix, fine, p.matrix, fine).mean((1, 3))
    began = time.process_time()
    parameters = told_before(networks, signal, DWELL, case.over, WRONG[:2], said_decay(case))
    both = by_networks(networks, signal, DWELL, case.over, parameters)[1]
    hybrid = fitted(case, signal, wanted, parameters, both, p.bandwidth)
    told = [*figures(both, wanted), *hybrid[:-1], parameters.kappa, time.process_time() - began, hybrid[-1]]
    return [float(f"{one:.5g}") for one in told]


def random_images(networks: Networks, count: int, snr: float, pumped: float) -> np.ndarray:
    """Return the figures of random images at 10 times the threshold, ``[image, way, figure]``."""
    domain = replace(domain_of(networks.purpose), finer=FINER, pumped=(pumped, 0.5))
    told = []
    for number in range(count):
        played = one_image(domain, SEED, number)
        signal = noisy(played["signal"], snr, np.random.default_rng([SEED, number, 1]))
        told.append(measure(networks, signal, domain.dwell, played["image"] / played["image"].max(), 10.0))
    return np.array(told)


def heads(networks: Networks, count: int, snr: float, over: float) -> np.ndarray:
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
        totals = over * (1 + 0.05 * rng.uniform(-1, 1, p.angles))
        times = {"t1": p.t1, "t2": p.t2, "dwell": DWELL, "samples": SAMPLES}
        signal = noisy(emitted(profiles, totals, frequency, rng, share=1e-3, **times), snr, rng)
        told.append(measure(networks, signal, DWELL, wanted / wanted.max(), over))
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
    asks.add_argument("--heads", type=int, default=5)
    asks.add_argument("--table", type=Path, help="file of the networks and the hybrid in each of many cells: an hour")
    asked = asks.parse_args()
    networks, training, _ = load_networks(asked.networks)
    print({name: value for name, value in training.items() if name != "held_out"})
    began = time.process_time()
    if asked.table:
        write_rows(asked.table, COLUMNS, table_cases(), lambda case: with_hybrid(networks, case))
        return
    for name, pumped in (("not pumped", 0.0), ("pumped", 1.0)):
        tell(f"{asked.images} images, {name}", random_images(networks, asked.images, 1000.0, pumped))
    for over in (10.0, 20.0, 30.0):
        tell(f"Shepp-Logan, {over:g} times", heads(networks, asked.heads, 1000.0, over))
    print(f"{time.process_time() - began:.0f} s of CPU time")


if __name__ == "__main__":
    main()
