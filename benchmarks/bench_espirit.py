"""ESPIRiT beside sigpy: speed, error of the maps' span, and memory; same data, same process, interleaved.

Error: what the projection onto the maps leaves of the coil images inside the object, ``||(1 - s s^H) i|| / ||i||``,
where both give maps. The real scan is the 32-channel spin echo (images with their noise), the synthetic one knows the
noise-free images. The memory of a large grid is measured in a child process, above what was there before.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sigpy.mri.app
import torch

from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.espirit import espirit
from pulsetwin.recon.read import read

DATA = Path(__file__).parents[1] / "examples" / "data" / "pulseq_se"
CALIBRATION = 24
LARGE, LARGE_COILS = (176, 208, 240), 12


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spin_echo() -> tuple[torch.Tensor, torch.Tensor]:
    """Coil images and k-space of the real scan, ``[32, 1, 64, 64]``."""
    readouts = read(DATA / "image.dat", DATA / "image.seq", trust_seq=True).groups[0]
    order = readouts.trajectory.offset[:, 1].argsort()
    kspace = torch.from_numpy(readouts.samples[order]).movedim(1, 0)[:, None]
    return ifft(kspace, (2, 3)), kspace


def synthetic(shape: tuple[int, int, int], coils: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coil images of an ellipsoid with holes inside a cylinder of coils, and their k-space with noise."""
    z, y, x = np.meshgrid(*[(np.arange(n, dtype=np.float32) - n // 2) * 2 / n for n in shape], indexing="ij")
    body = ((x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.8) ** 2 < 1).astype(np.float32)
    body -= 0.7 * (((x - 0.2) / 0.2) ** 2 + ((y + 0.1) / 0.3) ** 2 + (z / 0.3) ** 2 < 1)
    images = np.empty((coils, *shape), np.complex64)
    for coil in range(coils):
        angle, height = 4 * np.pi * coil / coils, 0.5 if coil < coils // 2 else -0.5
        dx, dy, dz = x - 1.3 * np.cos(angle), y - 1.3 * np.sin(angle), z - height
        phase = 1.5 * (dx * np.sin(angle) - dy * np.cos(angle)) + 0.6 * dz + angle
        images[coil] = body / (dx**2 + dy**2 + dz**2 + 0.15) * np.exp(1j * phase)
    clean = torch.from_numpy(images)
    noise = torch.randn(clean.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return clean, fft(clean, (1, 2, 3)) + 1e-3 * float(clean.abs().max()) * noise


def centre(kspace: torch.Tensor) -> torch.Tensor:
    picks = [slice(max(0, n // 2 - CALIBRATION // 2), n // 2 + CALIBRATION // 2) for n in kspace.shape[1:]]
    return kspace[(slice(None), *picks)].clone()


def ours(kspace: torch.Tensor) -> torch.Tensor:
    return espirit(centre(kspace), tuple(kspace.shape[1:]))


def theirs(kspace: torch.Tensor) -> torch.Tensor:
    flat = kspace[:, 0] if kspace.shape[1] == 1 else kspace
    app = sigpy.mri.app.EspiritCalib(flat.numpy(), calib_width=CALIBRATION, show_pbar=False)
    return torch.from_numpy(app.run()).reshape(kspace.shape)


def error(maps: torch.Tensor, images: torch.Tensor, inside: torch.Tensor) -> float:
    left = images - maps * (maps.conj() * images).sum(0)
    return float(left[:, inside].norm() / images[:, inside].norm())


def compare(name: str, images: torch.Tensor, kspace: torch.Tensor, rounds: int) -> str:
    size = torch.linalg.vector_norm(images, dim=0)
    found = ours(kspace), theirs(kspace)
    inside = (size > 0.1 * size.max()) & found[0].any(0) & found[1].any(0)
    times = [(seconds(lambda: ours(kspace)), seconds(lambda: theirs(kspace))) for _ in range(rounds)]
    mine, peer = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(row[1] / row[0] for row in times)
    errors = [error(maps, images, inside) for maps in found]
    return f"{name:<34} {mine:7.2f} {peer:7.2f} {ratio:6.1f}x   {errors[0]:.5f} {errors[1]:.5f}"


def large(queue: multiprocessing.Queue) -> None:
    """Report seconds and the peak memory of ESPIRiT on a large grid [GiB], beside that of the maps."""
    torch.set_num_threads(2)
    calibration = centre(synthetic((48, 48, 48), LARGE_COILS)[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = seconds(lambda: espirit(calibration, LARGE))
    queue.put((took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20))


def main() -> None:
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    print("ESPIRiT beside sigpy [s]; error: part of the coil images outside of the maps' span")
    print(f"{'':<34} {'ours':>7} {'sigpy':>7} {'ratio':>7}   {'error':<7} sigpy")
    print(compare("spin echo, 32 coils, 64x64", *spin_echo(), rounds=5), flush=True)
    print(compare("synthetic, 8 coils, 64x48x32", *synthetic((32, 48, 64), 8), rounds=2), flush=True)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=large, args=(queue,))
    child.start()
    took, peak = queue.get()
    child.join()
    maps = np.prod(LARGE) * LARGE_COILS * 8 / 2**30
    whole = maps * LARGE_COILS
    print(
        f"\n{LARGE_COILS} coils, 240x208x176: {took:.0f} s, peak {peak:.1f} GiB for maps of {maps:.1f} GiB "
        f"([coil, coil, grid] would take {whole:.0f} GiB)"
    )


if __name__ == "__main__":
    main()
