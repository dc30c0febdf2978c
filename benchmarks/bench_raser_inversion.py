"""RASER images by inversion, on data of four modes in a pixel and sixteen pixels in one of the image.

``python benchmarks/bench_raser_inversion.py --head 10 20 30 --images 0 100 --table --to figures.csv``: Shepp-Logan's
head at multiples of the threshold, random images of about 10 times, and a table of the head over signal-to-noise
ratios, multiples of the threshold, spreads of the inversion and pumping, each beside the spectra as they are.

T1, T2* and kappa start 10, 3 and 10 % wrong; scales of the projections, phases and amplitudes at the start are random,
and of random images it is only known that they are about 10 times above the threshold. A pumped scan has two pumps in
each projection, anywhere in the middle quarter of the profile (24/67 to 42/67 of it; in one projection of 19 both are
at one place, and the second counts), at other places for each random image; the inversion is only told that they decay
in 0.8 s, which is 20 % wrong. MSE and SSIM after the multiple that suits best (LS), and after both are stretched from 0
to 1 (MM).

Each scan is a row of the file; those that are in it already are not done again, so a call that was interrupted goes
on. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.agreement import ssim_uniform
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.features import spectra
from pulsetwin.recon.raser.inversion import invert
from pulsetwin.recon.raser.tomography import filtered_back_projection
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.raser.images import random_image
from pulsetwin.sim.raser.projections import emitted, strip_frequencies

ANGLES, PIXELS, FINE, MODES, BANDWIDTH = np.arange(30) * np.pi / 30, 44, 4, 268, 8.19 / 67
DWELL, SAMPLES, SIDE = 1e-3, 4096, PIXELS * FINE
WRONG = Parameters(5.5, 0.72, 0.9)
PUMPED, PUMP_DECAY = (24 / 67, 42 / 67), 1.0  # where pumps may be, and their decay [s]
FIGURES = ("LS MSE", "LS SSIM", "MM MSE", "MM SSIM")
COLUMNS = ("object", "over", "snr", "spread", "pumped", *FIGURES, "T1", "T2*", "kappa", "chi2", "seconds", *(
    f"raw {name}" for name in FIGURES), "pump decay")  # fmt: skip


class Case(NamedTuple):
    """A scan: the head, or the number of a random image; the head's seed is 0."""

    object: str
    over: float = 10.0
    snr: float = 1000.0
    spread: float = 0.05
    pumped: bool = False

    @property
    def seed(self) -> int:
        """Of all that is random about it."""
        return 0 if self.object == "head" else int(self.object)


def image_of(case: Case) -> np.ndarray:
    """Return an object of `FINE` times as many pixels."""
    if case.object == "head":
        return shepp_logan((1, SIDE, SIDE), (0.1, 0.1, 0.01)).proton_density[0].numpy().astype(float)
    return random_image(np.random.default_rng(case.seed), SIDE)


def scan(image: np.ndarray, case: Case) -> np.ndarray:
    """Return its noisy signals; a random image is 10 % more or less above the threshold than it is said to be."""
    rng = np.random.default_rng(case.seed)
    over = case.over * (1 if case.object == "head" else 1 + 0.1 * np.random.default_rng(case.seed).standard_normal())
    areas = strip_areas(image.shape, ANGLES, MODES, per_pixel=1.0)
    profiles = (areas @ image.ravel()).reshape(len(ANGLES), MODES)
    totals = np.maximum(over * (1 + case.spread * rng.standard_normal(len(ANGLES))), 0.2 * over)
    played = {"t1": 5.0, "t2": 0.7, "share": 1e-3, "dwell": DWELL, "samples": SAMPLES}
    if case.pumped:
        played |= {"pump_source": pumps(totals, case), "pump_decay": PUMP_DECAY}
    signal = emitted(profiles, totals, strip_frequencies(MODES, BANDWIDTH / FINE), rng, **played)
    noise = np.abs(signal).max(1).mean() / case.snr
    return signal + noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))


def pumps(totals: np.ndarray, case: Case) -> np.ndarray:
    """Return what two pumps, each in the width of a pixel, add a second to the modes, ``[angle, mode]``."""
    rng = np.random.default_rng((1, case.seed))  # other places than those of the image's own draws
    source = np.zeros((len(totals), MODES // FINE, FINE))
    low, high = (int(share * source.shape[1]) for share in PUMPED)
    for angle, total in enumerate(totals):
        source[angle, rng.integers(low, high + 1, 2)] = 0.5 * rng.random((2, 1)) * total / FINE
    return source.reshape(len(totals), -1)


def figures(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return MSE and SSIM, LS then MM."""
    scaled = found * (found * wanted).sum() / (found**2).sum()
    low, high = ((one - one.min()) / np.ptp(one) for one in (found, wanted))
    pairs = (scaled, wanted), (low, high)
    return np.array([f(*pair) for pair in pairs for f in (lambda a, b: np.mean((a - b) ** 2), ssim_uniform)])


def fitted(
    case: Case, signal: np.ndarray, wanted: np.ndarray, parameters: Parameters, first: np.ndarray | None = None,
    bandwidth: float = BANDWIDTH,
) -> np.ndarray:  # fmt: skip
    """Return figures, parameters, chi squared and decay of the pumping, no numbers where the inversion refuses."""
    with suppress(ProtocolError):
        found = invert(
            signal, DWELL, ANGLES, matrix=wanted.shape, pixel_bandwidth=bandwidth, over_threshold=case.over,
            parameters=parameters, first=first, pump_decay=said_decay(case),
        )  # fmt: skip
        faded = 0.0 if found.pump_decay is None else found.pump_decay[0]
        return np.array([*figures(found.image, wanted), *found.parameters, found.chi_squared, faded])
    return np.full(len(FIGURES) + 5, np.nan)


def said_decay(case: Case) -> float | None:
    """Return what the decay of a pumped scan is said to be."""
    return 0.8 * PUMP_DECAY if case.pumped else None


def measure(case: Case) -> list[float]:
    """Return the figures of a scan, in the order of `COLUMNS` after those of the case."""
    image = image_of(case)
    signal, wanted = scan(image, case), image.reshape(PIXELS, FINE, PIXELS, FINE).mean((1, 3))
    began = time.process_time()
    told = fitted(case, signal, wanted, WRONG)
    took = time.process_time() - began
    raw = filtered_back_projection(
        spectra(signal, DWELL, 67, BANDWIDTH), strip_areas((PIXELS, PIXELS), ANGLES, 67)
    ).reshape(wanted.shape)
    told = [*told[:-1], took, *figures(raw, wanted), told[-1]]
    return [float(f"{one:.5g}") for one in told]


def table_cases() -> list[Case]:
    """Return the scans of the table, what is asked for most often first, and what takes longest last."""
    return sorted(
        (Case("head", over, snr, spread, pumped) for over, snr, spread, pumped in product(
            (10.0, 30.0, 3.0, 83.0), (1000.0, 100.0, 10000.0), (0.05, 0.2), (False, True))),
        key=lambda case: 9 * (case.over == 83) + (case.snr != 1000) + (case.spread != 0.05) + 2 * case.pumped,
    )  # fmt: skip


def cases(asked: argparse.Namespace) -> list[Case]:
    """Return what is asked for."""
    wanted = [Case("head", over) for over in asked.head] + [Case(str(number)) for number in range(*asked.images)]
    return wanted + (table_cases() if asked.table else [])


def main() -> None:
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("--head", type=float, nargs="*", default=[])
    asks.add_argument("--images", type=int, nargs="+", default=[0, 0], help="first, last + 1 and, if not 1, the step")
    asks.add_argument("--table", action="store_true")
    asks.add_argument("--to", type=Path, required=True)
    asked = asks.parse_args()
    write_rows(asked.to, COLUMNS, cases(asked), measure)
    summarise(asked.to)


def write_rows(
    path: Path, columns: Sequence[str], wanted: Sequence[Case], measured: Callable[[Case], list[float]]
) -> None:
    """Write and print a row of each case that a file does not have."""
    if not path.exists():
        path.write_text(",".join(columns) + "\n")
    with path.open(newline="") as file:
        done = {tuple(row[: len(Case._fields)]) for row in csv.reader(file)}
    for case in wanted:
        if tuple(map(str, case)) in done:
            continue
        done.add(tuple(map(str, case)))
        row = [*case, *measured(case)]
        with path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(*(f"{name} {one}" for name, one in zip(columns, row, strict=True)), sep=", ", flush=True)


def summarise(path: Path) -> None:
    """Print mean, deviation and median of the random images in a file."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["object"] != "head"]
    for name in FIGURES if rows else ():
        one = np.array([float(row[name]) for row in rows])
        print(f"{len(rows)} random images, {name}: {one.mean():.4f} +- {one.std():.4f}, median {np.median(one):.4f}")


if __name__ == "__main__":
    main()
