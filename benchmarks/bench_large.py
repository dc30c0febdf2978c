"""Simulated 32-coil 3D scans, reconstructed by the command line: peak memory of the whole process, time and error.

By default a fully sampled scan of 2.6 GB within 4 GiB. With ``--real-size``: 240 x 208 x 176, five contrasts, 2 x 2
undersampled, by SENSE (a few minutes, 7 GB of temporary disk).
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

COILS, FOV = 32, (0.24, 0.208, 0.176)


def sampled(shape: tuple[int, int, int], acceleration: int, centre: int = 24) -> np.ndarray:
    """Return the sampled ``(z, y)`` lines: every `acceleration`-th both ways and the whole centre."""
    nz, ny, _ = shape
    z, y = np.meshgrid(np.arange(nz), np.arange(ny), indexing="ij")
    block = (np.abs(z - nz // 2) < centre // 2) & (np.abs(y - ny // 2) < centre // 2)
    return np.argwhere((z % acceleration == 0) & (y % acceleration == 0) | block)


def sequence(path: Path, shape: tuple[int, int, int], contrasts: int, lines: np.ndarray) -> None:
    """Write the `.seq` of a 3D gradient echo with LIN, PAR and ECO labels."""
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
    for contrast in range(contrasts):
        for z, y in lines.tolist():
            counters = (("LIN", y), ("PAR", z), ("ECO", contrast))
            seq.add_block(rf)
            seq.add_block(back, y_steps[y], z_steps[z])
            seq.add_block(read, adc, *(pp.make_label(type="SET", label=name, value=value) for name, value in counters))
    seq.set_definition("FOV", list(FOV))
    seq.set_definition("Name", "gre3d")
    seq.write(str(path), create_signature=True, v141_compat=True)


def simulate(
    folder: Path, shape: tuple[int, int, int], contrasts: int, lines: np.ndarray
) -> tuple[RawData, np.ndarray]:
    """Simulate what `sequence` plays, coil by coil into a file; return it and the object's magnitude."""
    nz, ny, nx = shape
    z, y, x = np.meshgrid(
        *[((np.arange(n) - n // 2) / n).astype(np.float32) for n in shape], indexing="ij", sparse=True
    )
    body = ((x / 0.35) ** 2 + (y / 0.42) ** 2 + (z / 0.4) ** 2 < 1).astype(np.float32)
    body *= 1 + 0.5 * (np.cos(9 * x) * np.cos(7 * y) * np.cos(5 * z) > 0.2)
    samples = np.memmap(folder / "samples.bin", np.complex64, "w+", shape=(contrasts, len(lines), COILS, 2 * nx))
    rng = np.random.default_rng(0)
    sensitivity = np.zeros(shape, np.float32)
    padded = np.zeros((nz, ny, 2 * nx), np.complex64)
    for coil in range(COILS):
        angle, height = 2 * np.pi * coil / (COILS / 2), 0.3 * (-1) ** coil
        distance = (x - 0.7 * np.cos(angle)) ** 2 + (y - 0.7 * np.sin(angle)) ** 2 + (z - height) ** 2
        receive = (1 / (0.2 + distance) * np.exp(1j * (angle + x * y))).astype(np.complex64)
        sensitivity += np.abs(receive) ** 2
        padded[:, :, nx // 2 : nx // 2 + nx] = body * receive
        kspace = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(padded), norm="ortho", workers=2))
        kept = kspace[lines[:, 0], lines[:, 1]]
        for contrast in range(contrasts):
            noise = rng.standard_normal((len(lines), 4 * nx), dtype=np.float32).view(np.complex64)
            samples[contrast, :, coil] = kept / (1 + contrast) + 0.05 * noise
    count = contrasts * len(lines)
    offset = np.zeros((len(lines), 3))
    offset[:, 1], offset[:, 2] = (lines[:, 1] - ny // 2) / FOV[1], (lines[:, 0] - nz // 2) / FOV[2]
    along = np.zeros((1, 2 * nx, 3))
    along[0, :, 0] = (np.arange(2 * nx) - nx) / (2 * FOV[0])
    labels = {name: np.tile(lines[:, axis], contrasts).astype(np.int32) for name, axis in (("LIN", 1), ("PAR", 0))}
    labels["ECO"] = np.repeat(np.arange(contrasts, dtype=np.int32), len(lines))
    readouts = Readouts(
        samples.reshape(count, COILS, 2 * nx),
        Trajectory(along, np.zeros(count, np.int64), np.tile(offset, (contrasts, 1))),
        played_readouts(read_seq(folder / "scan.seq")).start_time,
        np.full(count, 5e-6),
        labels,
    )
    noise_scan = 0.05 * rng.standard_normal((COILS, 4096 * 2), dtype=np.float32).view(np.complex64)
    return RawData((readouts,), noise_scan, 5e-6, Geometry(FOV, (nx, ny, nz))), body * np.sqrt(sensitivity)


def run(shape: tuple[int, int, int], contrasts: int, acceleration: int, budget: float) -> None:
    """Simulate, write, reconstruct by the command line within `budget` [GiB], compare."""
    lines = sampled(shape, acceleration)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sequence(folder / "scan.seq", shape, contrasts, lines)
        raw, truth = simulate(folder, shape, contrasts, lines)
        write(raw, folder / "scan.dat", seq_signature=read_seq(folder / "scan.seq").signature)
        size = (folder / "scan.dat").stat().st_size
        del raw
        (folder / "samples.bin").unlink()
        began = time.perf_counter()
        command = [str(Path(sys.executable).parent / "pulsetwin"), "recon", "scan.dat", "--seq", "scan.seq"]
        command += ["-o", "out", "--memory", str(budget)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        images = nibabel.load(folder / "out" / "images.nii.gz").get_fdata(dtype=np.float32)
    inside = truth > 0
    errors = []
    for contrast in range(contrasts):
        image = images[..., contrast].T[inside]
        scale = np.vdot(image, truth[inside]) / np.vdot(image, image)
        errors.append(np.linalg.norm(scale * image - truth[inside]) / np.linalg.norm(truth[inside]))
    print(f"scan {size / 1e9:.2f} GB, {COILS} coils, {shape[2]}x{shape[1]}x{shape[0]}, {contrasts} contrasts")
    print(f"peak memory {peak / 2**30:.2f} GiB (budget {budget:.0f} GiB), {seconds:.0f} s")
    print("NRMSE in the object, per contrast: " + ", ".join(f"{error:.4f}" for error in errors))


def main() -> None:
    if "--real-size" in sys.argv:
        run((176, 208, 240), 5, 2, 12.0)
    else:
        run((104, 208, 240), 1, 1, 4.0)


if __name__ == "__main__":
    main()
