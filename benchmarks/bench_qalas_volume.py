"""QALAS end to end: designed, played by the twin into a TWIX file, reconstructed and mapped by `pulsetwin recon`.

By default a brain of 4 mm, half of whose lines are sampled; ``--full`` is the 1 mm protocol of 256 x 240 x 208, 6.2
times undersampled. The twin works with real pulses, relaxation and diffusion (tissue table), coil by coil into a file.
Noise is white; ``--snr`` is that of white matter in the fifth contrast, had all of k-space been sampled. What is told
of `recon` is its wall clock, its CPU time and its largest memory. Errors are medians over all voxels of a tissue, and
over those with nothing but that tissue around them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy import ndimage

from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sequences.geometry import with_sequence
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sim.acquire import RAS_OF_GRADIENTS, along_gradients
from pulsetwin.sim.coil_array import array_loops, loop_field
from pulsetwin.sim.phantom import Phantom, Voxels
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.table import simulate_table
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

SCANNER = Scanner.preset("siemens-prisma")
SHIM = 60.0  # Hz
LEVEL = 0.055  # of the fifth contrast in white matter, for a density of 1
TISSUES = {"white matter": (0.75, 0.95), "grey matter": (1.2, 1.5)}  # by T1 [s]


@dataclass(frozen=True, slots=True)
class NoisySamples:
    """Samples ``[readout, coil, sample]`` of a signal ``[coil, readout, sample]``, with noise, drawn when indexed."""

    signal: np.ndarray
    level: float
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, ...]:
        coils, readouts, samples = self.signal.shape
        return readouts, coils, samples

    @property
    def dtype(self) -> np.dtype:
        return self.signal.dtype

    def __getitem__(self, readouts) -> np.ndarray:
        part = np.ascontiguousarray(self.signal[:, readouts].swapaxes(0, 1))
        return part + self.level * white(self.rng, part.shape)


def white(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


def with_array(voxels: Voxels, coils: int, radius: float) -> Voxels:
    """Return voxels with the sensitivities of `coil_array`, computed where they are only."""
    centres, loop = array_loops(coils, radius)
    maps = torch.empty(coils, len(voxels), dtype=torch.complex64)
    power = 0.0
    for one, centre in zip(maps, centres, strict=True):
        normal = centre * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
        field = loop_field(torch.cat((voxels.position, torch.zeros(1, 3))), centre, normal / normal.norm(), loop)
        one[:] = torch.complex(field[:-1, 0], -field[:-1, 1])
        power += float(field[-1, :2].square().sum())
    return replace(voxels, coils=maps / power**0.5)


def simulated(seq: SeqFile, phantom: Phantom, coils: int, snr: float, tol: float, folder: Path) -> RawData:
    """Return the scan, its signal in a file."""
    played, timeline = played_readouts(seq), timeline_from_seq(seq, field_strength=SCANNER.field_strength)
    voxels = with_array(phantom.voxels(), coils, 0.6 * max(phantom.fov[:2]))
    signal = np.memmap(folder / "signal", np.complex64, "w+", shape=(coils, timeline.samples))
    _, facts = simulate_table(timeline, along_gradients(voxels), tol=tol, out=signal)
    print(f"twin: {facts}", flush=True)
    level = LEVEL * np.sqrt(np.prod(phantom.grid)) / snr
    samples = NoisySamples(signal.reshape(coils, len(played), -1), level, np.random.default_rng(0))
    events = np.arange(len(played))
    where = Geometry(phantom.fov, phantom.grid[::-1], RAS_OF_GRADIENTS, np.zeros((1, 3)), "HFS")
    groups, where, _ = with_sequence((played.readouts(events, samples),), where, played, events)
    noise = level * white(np.random.default_rng(1), (coils, 1 << 14))
    header = {"vendor": "pulsetwin", "sequence": "pulseq", "signature": seq.signature}
    return RawData(groups, noise, float(groups[0].dwell[0]), where, seq.definitions, header)


def affine_of(phantom: Phantom) -> np.ndarray:
    """Return where the voxels of a phantom lie, RAS [mm]."""
    edges = 1e3 * np.array(phantom.size)
    return np.block([[np.diag(edges), -(edges * (np.array(phantom.grid[::-1]) // 2))[:, None]], [np.zeros(3), 1.0]])


def errors(folder: Path, phantom: Phantom) -> None:
    """Print how far maps are from the phantom."""
    image = nibabel.load(next(folder.rglob("T1.nii.gz")))
    cells = np.indices(image.shape).reshape(3, -1)
    at = np.linalg.inv(affine_of(phantom)) @ image.affine @ np.concatenate((cells, np.ones((1, cells.shape[1]))))
    index = tuple(np.rint(row).astype(int) % n for row, n in zip(at[2::-1], phantom.grid, strict=True))
    truth = {name: getattr(phantom, name.lower()).numpy()[index].reshape(image.shape) for name in ("T1", "T2")}
    filled = phantom.proton_density.numpy()[index].reshape(image.shape) > 0.5
    found = {name: nibabel.load(next(folder.rglob(f"{name}.nii.gz"))).get_fdata() for name in truth}
    for tissue, (low, high) in TISSUES.items():
        all_of_it = filled & (truth["T1"] > low) & (truth["T1"] < high)
        for where, inside in (("all", all_of_it), ("within", ndimage.binary_erosion(all_of_it, np.ones((3, 3, 3))))):
            inside = inside & (found["T1"] > 0)
            if inside.any():
                ratio = [100 * (found[name][inside] / truth[name][inside] - 1) for name in truth]
                middle, size = [np.median(one) for one in ratio], [np.median(np.abs(one)) for one in ratio]
                print(
                    f"{tissue}, {where}: {inside.sum()} voxels; median error T1 {middle[0]:+.2f} %, T2 "
                    f"{middle[1]:+.2f} %; median of its size {size[0]:.1f} %, {size[1]:.1f} %",
                    flush=True,
                )


def reconstructed(folder: Path, out: Path) -> None:
    """Run `pulsetwin recon` and print what it took."""
    verb = [sys.executable, "-c", "import sys; from pulsetwin.cli import main; sys.exit(main())", "recon"]
    files = [folder / "scan.dat", "--seq", folder / "qalas.seq", "--b1", folder / "b1.nii.gz", "-o", out, "--force"]
    began = time.perf_counter()
    subprocess.run([*verb, *map(str, files)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"recon: {time.perf_counter() - began:.0f} s by the clock, {used.ru_utime + used.ru_stime:.0f} s of CPU time, "
        f"{used.ru_maxrss / 2**20:.2f} GiB at most",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the 1 mm protocol")
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--snr", type=float, default=60.0)
    parser.add_argument("--tol", type=float, default=2e-2, help="of the tissue table")
    parser.add_argument("--oversampling", type=int, default=1, help="of the readout; a scanner's is 2")
    parser.add_argument("--folder", type=Path, default=Path("bench_qalas"))
    parser.add_argument("--keep", action="store_true", help="keep the raw data, or use those that are there")
    options = parser.parse_args()
    protocol = qalas.Protocol(oversampling=options.oversampling)
    if not options.full:
        protocol = replace(protocol, matrix=tuple(n // 4 for n in protocol.matrix), acceleration=2.0)
    options.folder.mkdir(parents=True, exist_ok=True)
    scan, file = options.folder / "scan.dat", options.folder / "qalas.seq"
    phantom = brain(protocol.matrix[::-1], protocol.fov)
    phantom = replace(phantom, b0=phantom.b0.clamp(-SHIM, SHIM), shape="sinc")
    if not (options.keep and scan.exists()):
        qalas.build(protocol, SCANNER).write(str(file))
        seq, began = read_seq(file), time.process_time()
        write(simulated(seq, phantom, options.coils, options.snr, options.tol, options.folder), scan, force=True)
        print(f"twin and TWIX of {scan.stat().st_size / 1e9:.2f} GB: {time.process_time() - began:.0f} s of CPU time")
        (options.folder / "signal").unlink()
        b1 = nibabel.Nifti1Image(phantom.b1[0].abs().numpy().T.astype(np.float32), affine_of(phantom))
        nibabel.save(b1, options.folder / "b1.nii.gz")
    reconstructed(options.folder, options.folder / "out")
    errors(options.folder / "out", phantom)
    if not options.keep:
        scan.unlink()


if __name__ == "__main__":
    main()
