"""Encoding of the tissue table, axis by axis, beside a NUFFT in three dimensions: same images, lines and process.

Images are complex noise in the voxels of a brain, lines those of a QALAS of its matrix with all of the ellipse; what
relaxes and precesses during a line is the brain's. ``--voxel`` is the edge of voxels in mm. Times are CPU time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pulsetwin.scanner import Scanner
from pulsetwin.sequences import qalas
from pulsetwin.sim.acquire import along_gradients
from pulsetwin.sim.grid_encoding import grid_of
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.table_encoding import PathEncoding, grouped_readouts
from pulsetwin.sim.table_lines import line_encoding
from pulsetwin.sim.time_expansion import expand_in_time
from pulsetwin.sim.timeline_from_seq import as_seq_file, timeline_from_seq

FOV = (0.192, 0.224, 0.16)


def timed(work) -> tuple[np.ndarray, float]:
    began = time.process_time()
    result = work()
    return result.numpy(), time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxel", type=float, nargs="+", default=[10.0, 6.0, 4.0], help="edges to try [mm]")
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(" mm   voxels  lines  terms  by axes, s  NUFFT, s  ratio  largest difference")
    for edge in options.voxel:
        matrix = tuple(2 * round(1e3 * length / edge / 2) for length in FOV)
        protocol = qalas.Protocol(fov=FOV, matrix=matrix, acceleration=None, calibration=0, bandwidth=500.0, dummies=0)
        seq = as_seq_file(qalas.build(protocol, Scanner.preset("siemens-prisma")))
        readouts = next(grouped_readouts(timeline_from_seq(seq)))
        voxels = along_gradients(brain(matrix[::-1], FOV).voxels())
        rate = (1 / voxels.t2 + 1 / voxels.t2_prime + 2j * np.pi * voxels.b0).numpy()
        expansion = expand_in_time(rate, readouts.time)
        given = (
            grid_of(voxels.position.numpy()), voxels.size, voxels.shape, readouts.start, readouts.course, rate,
            expansion,
        )  # fmt: skip
        images = torch.randn(options.images, len(voxels), dtype=torch.complex64)
        ours, quick = timed(lambda given=given, images=images: line_encoding(*given)(images))
        theirs, slow = timed(lambda given=given, images=images: PathEncoding(*given)(images))
        print(
            f"{edge:3g} {len(voxels):8} {len(readouts.start):6} {len(expansion.times):6} {quick:11.2f} {slow:9.2f} "
            f"{slow / quick:6.1f}  {np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
