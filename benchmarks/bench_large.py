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
import pypulseq as pp
import scipy.fft

from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData, Readouts, Trajectory
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq

SHAPE, COILS, FOV = (104, 208, 240), 32, (0.24, 0.208, 0.104)
BUDGET_GIB = 4.0


def sequence(path: Path, shape: tuple[int, int, int]) -> None:
    """Write the `.seq` of a 3D gradient echo with LIN and PAR labels."""
    nz, ny, nx = shape
    system = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", rf_dead_time=1e-4)
    seq = pp.Sequence(system)
    rf = pp.make_block_pulse(0.1, duration=2e-4, delay=1e-4, system=system, use="excitation")
    read = pp.make_trapezoid("x", flat_area=nx / FOV[0], flat_time=nx * 1e-5, system=system)
    adc = pp.make_adc(2 * nx, dwell=5e-6, delay=read.rise_time, system=system)
    # The sample nx of 2 nx lies on the k-space centre, half a sample off the middle of the readout.
    back = pp.make_trapezoid("x", area=-read.area / 2 - 0.25 / FOV[0], duration=1e-3, system=system)
    y_steps = [pp.make_trapezoid("y", area=(i - ny // 2) / FOV[1], duration=1e-3, system=system) for i in range(ny)]
    z_steps = [pp.make_trapezoid("z", area=(i - nz // 2) / FOV[2], duration=1e-3, system=system) for i in range(nz)]
    for z, z_step in enumerate(z_steps):
        for y, y_step in enumerate(y_steps):
            seq.add_block(rf)
            seq.add_block(back, y_step, z_step)
            seq.add_block(
                read,
                adc,
                pp.make_label(type="SET", label="LIN", value=y),
                pp.make_label(type="SET", label="PAR", value=z),
            )
    seq.set_definition("FOV", list(FOV))
    seq.set_definition("Name", "gre3d")
    seq.write(str(path), create_signature=True, v141_compat=True)


def simulate(folder: Path, shape: tuple[int, int, int], coils: int) -> tuple[RawData, np.ndarray]:
    """Simulate what `sequence` plays, coil by coil into a file; return it and the object's magnitude."""
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
        played_readouts(read_seq(folder / "scan.seq")).start_time,
        np.full(nz * ny, 5e-6),
        labels,
    )
    noise_scan = 0.05 * rng.standard_normal((coils, 4096 * 2), dtype=np.float32).view(np.complex64)
    return RawData((readouts,), noise_scan, 5e-6, Geometry(FOV, (nx, ny, nz))), body * np.sqrt(sensitivity)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sequence(folder / "scan.seq", SHAPE)
        raw, truth = simulate(folder, SHAPE, COILS)
        write(raw, folder / "scan.dat", seq_signature=read_seq(folder / "scan.seq").signature)
        size = (folder / "scan.dat").stat().st_size
        del raw
        (folder / "samples.bin").unlink()
        began = time.perf_counter()
        command = [str(Path(sys.executable).parent / "pulsetwin"), "recon", "scan.dat", "--seq", "scan.seq"]
        command += ["-o", "out", "--memory", str(BUDGET_GIB)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        image = nibabel.load(folder / "out" / "images.nii.gz").get_fdata()[..., 0].T
    image, truth = image[truth > 0], truth[truth > 0]
    scale = np.vdot(image, truth) / np.vdot(image, image)
    error = np.linalg.norm(scale * image - truth) / np.linalg.norm(truth)
    print(f"scan {size / 1e9:.2f} GB, {COILS} coils, {SHAPE[2]}x{SHAPE[1]}x{SHAPE[0]}")
    print(f"peak memory {peak / 2**30:.2f} GiB (budget {BUDGET_GIB:.0f} GiB), {seconds:.0f} s")
    print(f"NRMSE in the object {error:.4f}")


if __name__ == "__main__":
    main()
