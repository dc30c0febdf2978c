"""NUFFT beside sigpy: speed of both directions and error to the exact sum, same data, same process, interleaved.

The exact sum is that of finufft in double precision at 1e-13, itself checked here on 200 points against the sum
written out. Each direction is timed with positions already known; sigpy has no plan to prepare, the time for ours is in
the last column.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable

import finufft
import numpy as np
import sigpy as sp
import torch

from pulsetwin.operators.nufft import Nufft

CASES = [((256, 256), 64000, 8), ((96, 96, 96), 300000, 2), ((64, 64), 16000, 32)]
ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def exact(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The sum in double precision, ``[coil, point]``, verified on some points."""
    shape = image.shape[1:]
    plan = finufft.Plan(2, shape, len(image), eps=1e-13, isign=-1, dtype="complex128")
    plan.setpts(*(np.ascontiguousarray(2 * np.pi * k / n) for k, n in zip(positions.T, shape, strict=True)))
    result = plan.execute(image.astype(complex)) / math.sqrt(math.prod(shape))
    for j in range(0, len(positions), len(positions) // 200):
        direct = image[0].astype(complex)
        for k, n in zip(positions[j], shape, strict=True):
            direct = np.tensordot(np.exp(-2j * np.pi * k * (np.arange(n) - n // 2) / n), direct, 1)
        assert abs(direct / math.sqrt(math.prod(shape)) - result[0, j]) < 1e-9 * abs(result).max()
    return result


def compare(shape: tuple[int, ...], points: int, coils: int) -> str:
    rng = np.random.default_rng(0)
    positions = (rng.random((points, len(shape))) - 0.5) * np.array(shape)
    image = (rng.standard_normal((coils, *shape)) + 1j * rng.standard_normal((coils, *shape))).astype(np.complex64)
    truth, single, tensor = exact(image, positions), positions.astype(np.float32), torch.from_numpy(image)
    prepare = seconds(lambda: Nufft(torch.from_numpy(positions), shape)(tensor))
    nufft = Nufft(torch.from_numpy(positions), shape)
    data = nufft(tensor)
    errors = [
        np.linalg.norm(result - truth) / np.linalg.norm(truth) for result in (data.numpy(), sp.nufft(image, single))
    ]
    sp.nufft_adjoint(data.numpy(), single, oshape=image.shape)
    times: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        times.append(
            (
                seconds(lambda: nufft(tensor)),
                seconds(lambda: sp.nufft(image, single)),
                seconds(lambda: nufft.adjoint(data)),
                seconds(lambda: sp.nufft_adjoint(data.numpy(), single, oshape=image.shape)),
            )
        )
    ours, theirs, ours_back, theirs_back = (statistics.median(column) for column in zip(*times, strict=True))
    forward = statistics.median(row[1] / row[0] for row in times)
    adjoint = statistics.median(row[3] / row[2] for row in times)
    extra = max(prepare - ours, 0.0)
    grid = "x".join(map(str, shape))
    return (
        f"{grid:>9} {points:>7} {coils:>5}  {ours:7.3f} {theirs:7.3f} {forward:6.1f}x  {ours_back:7.3f} "
        f"{theirs_back:7.3f} {adjoint:6.1f}x  {errors[0]:.1e} {errors[1]:.1e}  {extra:7.3f}"
    )


def main() -> None:
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    print("NUFFT and its adjoint beside sigpy [s]; error: relative L2 to the exact sum")
    print("     grid  points coils  forward   sigpy  ratio  adjoint   sigpy  ratio   error   sigpy  prepare")
    for case in CASES:
        print(compare(*case), flush=True)


if __name__ == "__main__":
    main()
