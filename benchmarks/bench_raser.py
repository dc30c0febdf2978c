"""RASER signals: time of an image of 30 projections, 67 modes, 4096 points, and its error, beside scipy's DOP853.

Times are those of the processor in one thread, medians of several images; errors are relative to the largest signal, by
DOP853 with a tolerance of 1e-12. Other work on the machine makes times longer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pulsetwin.operators.strips import strip_areas
from pulsetwin.sim.phantoms import shepp_logan
from pulsetwin.sim.raser.modes import play
from pulsetwin.sim.raser.projections import random_start, strip_frequencies
from pulsetwin.sim.raser.training_data import Domain, one_image
from tests.sim.raser.raser_cases import T1, T2, solved

ANGLES, MODES, SAMPLES, DWELL, BAND = 30, 67, 4096, 1e-3, 8.19


def median(job: Callable[[], Any], count: int) -> float:
    """Return the median time of the processor [s] of a job, after one that compiles."""
    job()
    times = []
    for _ in range(count):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return float(np.median(times))


def image_of(total: float, finer: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inversions, frequencies and starts of the Shepp-Logan head, `finer` modes in a pixel."""
    edge = 44 * finer
    head = shepp_logan((1, edge, edge)).proton_density[0].numpy()
    strips = strip_areas((edge, edge), np.pi * np.arange(ANGLES) / ANGLES, MODES * finer)
    profiles = (strips @ head.ravel()).reshape(ANGLES, -1)
    inversion = total * profiles / profiles.sum(1, keepdims=True)
    start = random_start(inversion, 1e-3, np.random.default_rng(0))
    return inversion, strip_frequencies(MODES * finer, BAND / MODES / finer), start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=9, help="images for a median")
    count = parser.parse_args().count
    times = {"t1": T1, "t2": T2, "dwell": DWELL, "samples": SAMPLES}
    for total in (3, 10, 30, 83):
        inversion, frequency, start = image_of(total)
        exact = solved(inversion[7], frequency, start[7], DWELL, SAMPLES)[:2].sum(1)
        exact = exact[0] + 1j * exact[1]
        for tolerance in (1e-6, 1e-7):
            signal = play(inversion, frequency, start, **times, tolerance=tolerance)[7].numpy()
            error = abs(signal - exact).max() / abs(exact).max()
            seconds = median(lambda: play(inversion, frequency, start, **times, tolerance=tolerance), count)  # noqa: B023
            print(f"{total:3d} x threshold, to {tolerance:g}: {1e3 * seconds:6.1f} ms an image, error {error:.1e}")
    inversion, frequency, start = image_of(10)
    peer = median(lambda: solved(inversion[7], frequency, start[7], DWELL, SAMPLES, rtol=1e-6), 3)
    print(f"DOP853 of scipy, tolerance 1e-6, one sum: {1e3 * ANGLES * peer:.0f} ms an image")
    for finer in (1, 2, 4, 8):
        case = image_of(10, finer)
        seconds = median(lambda: play(*case, **times, tolerance=1e-6), count)  # noqa: B023
        print(f"{MODES * finer} modes: {1e3 * seconds:.1f} ms an image, {1e6 * seconds / MODES / finer:.0f} us a mode")
    inversion, start = (torch.tensor(part, requires_grad=True) for part in image_of(10)[::2])

    def differentiated() -> None:
        play(inversion, frequency, start, **times, tolerance=1e-6).abs().square().sum().backward()

    print(f"with gradients of all inversions and starts: {1e3 * median(differentiated, 3):.0f} ms an image")
    numbers = iter(range(10**6))
    seconds = median(lambda: one_image(Domain(), 0, next(numbers)), 10 * count)
    print(f"training data: {1e3 * seconds:.1f} ms an image, {21_000 * seconds / 60:.1f} minutes for 21 000")


if __name__ == "__main__":
    main()
