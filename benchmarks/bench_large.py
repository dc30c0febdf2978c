"""A simulated 32-coil 3D scan of 2.6 GB: read and reconstructed by the command line within 4 GiB of peak memory.

Prints the peak memory of the whole process, the time, and the error to the simulated object.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import scipy.fft

from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData, Readouts, Trajectory

SHAPE, COILS, FOV = (104, 208, 240), 32, (0.24, 0.208, 0.104)
BUDGET_GIB = 4.0


def simulate(folder: Path, shape: tuple[int, int, int], coils: int) -> tuple[RawData, np.ndarray]:
    """Simulate a twofold oversampled Cartesian scan coil by coil into a file; return it and the object's magnitude."""
    nz, ny, nx = shape
    z, y, x = np.meshgrid(
        *[((np.arange(n) - n // 2) / n).astype(np.float32) for n in shape], indexing="ij", sparse=True
    )
    body = ((x / 0.35) ** 2 + (y / 0.42) ** 2 + (z / 0.4) ** 2 < 1).astype(np.float32)
    body *= 1 + 0.5 * (np.cos(9 * x) * np.cos(7 * y) * np.cos(5 * z) > 0.2)
    samples = np.memmap(folder / "samples.bin", np.complex64, "w+", shape=(nz * ny, coils, 2 * nx))
    rng = np.random.default_rng(0)
    sensitivity = np.zeros(shape, np.float32)
    padded = np.zeros((nz, ny, 2 * nx), np.complex64)
    for coil in range(coils):
        angle, height = 2 * np.pi * coil / (coils / 2), 0.3 * (-1) ** coil
        distance = (x - 0.7 * np.cos(angle)) ** 2 + (y - 0.7 * np.sin(angle)) ** 2 + (z - height) ** 2
        receive = (1 / (0.2 + distance) * np.exp(1j * (angle + x * y))).astype(np.complex64)
        sensitivity += np.abs(receive) ** 2
        padded[:, :, nx // 2 : nx // 2 + nx] = body * receive
        kspace = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(padded), norm="ortho", workers=2))
        noise = rng.standard_normal((nz * ny, 2 * nx * 2), dtype=np.float32).view(np.complex64)
        samples[:, coil] = kspace.reshape(nz * ny, 2 * nx) + 0.05 * noise
    lines = np.stack(np.meshgrid(np.arange(nz) - nz // 2, np.arange(ny) - ny // 2, indexing="ij"), -1).reshape(-1, 2)
    offset = np.zeros((nz * ny, 3))
    offset[:, 1], offset[:, 2] = lines[:, 1] / FOV[1], lines[:, 0] / FOV[2]
    along = np.zeros((1, 2 * nx, 3))
    along[0, :, 0] = (np.arange(2 * nx) - nx) / (2 * FOV[0])
    labels = {"LIN": (lines[:, 1] + ny // 2).astype(np.int32), "PAR": (lines[:, 0] + nz // 2).astype(np.int32)}
    readouts = Readouts(
        samples,
        Trajectory(along, np.zeros(nz * ny, np.int64), offset),
        5e-3 * np.arange(nz * ny),
        np.full(nz * ny, 5e-6),
        labels,
    )
    noise_scan = 0.05 * rng.standard_normal((coils, 4096 * 2), dtype=np.float32).view(np.complex64)
    return RawData((readouts,), noise_scan, 5e-6, Geometry(FOV, (nx, ny, nz))), body * np.sqrt(sensitivity)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw, truth = simulate(folder, SHAPE, COILS)
        write(raw, folder / "scan.dat")
        size = (folder / "scan.dat").stat().st_size
        del raw
        (folder / "samples.bin").unlink()
        began = time.perf_counter()
        command = [sys.executable, "-m", "pulsetwin.cli", "recon", "scan.dat", "-o", "out", "--memory", str(BUDGET_GIB)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        image = nibabel.load(folder / "out" / "images.nii.gz").get_fdata()[..., 0].T
    scale = np.vdot(image, truth) / np.vdot(image, image)
    error = np.linalg.norm(scale * image - truth) / np.linalg.norm(truth)
    print(f"scan {size / 1e9:.2f} GB, {COILS} coils, {SHAPE[2]}x{SHAPE[1]}x{SHAPE[0]}")
    print(f"peak memory {peak / 2**30:.2f} GiB (budget {BUDGET_GIB:.0f} GiB), {seconds:.0f} s, NRMSE {error:.4f}")


if __name__ == "__main__":
    main()
