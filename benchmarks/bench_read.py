"""Opening and loading TWIX files beside twixtools' own read and mapping, both in one process, taken in turn."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.recon.read import read

ROOT = Path(__file__).resolve().parent.parent
GRE = ROOT / "tests" / "data" / "vendor_gre" / "gre.dat"


def synthetic(path: Path, readouts: int = 12_800, channels: int = 16, samples: int = 256) -> Path:
    """Write a scan of a few hundred MB."""
    rng = np.random.default_rng(0)
    line = (rng.standard_normal((64, channels, samples)) + 1j * rng.standard_normal((64, channels, samples))) * 1e-4
    values = np.tile(line.astype(np.complex64), (readouts // 64, 1, 1))
    labels = {"LIN": np.arange(readouts, dtype=np.int32) % 160, "PAR": np.arange(readouts, dtype=np.int32) // 160}
    group = Readouts(values, None, np.arange(readouts) * 5e-3, np.full(readouts, 5e-6), labels)
    geometry = Geometry((0.2, 0.2, 0.16), (128, 160, readouts // 160), np.diag([1.0, -1.0, 1.0]))
    write(RawData((group,), None, 5e-6, geometry, header={"sequence": "gre"}), path)
    return path


def _ours(path: Path) -> np.ndarray:
    return read(path).groups[0].samples[:]


def _ours_open(path: Path) -> int:
    return len(read(path).groups[0])


def _peer(path: Path) -> np.ndarray:
    import twixtools

    mapped = twixtools.map_twix(twixtools.read_twix(str(path), verbose=False))[-1]["image"]
    mapped.flags["remove_os"] = False
    return mapped[:]


def _peer_open(path: Path) -> object:
    import twixtools

    return twixtools.map_twix(twixtools.read_twix(str(path), verbose=False))


def _ratio(
    ours: Callable[[Path], object], peer: Callable[[Path], object], path: Path, rounds: int
) -> tuple[float, ...]:
    """Return median seconds of both and the median of the ratios peer/ours."""
    ours(path), peer(path)
    times = []
    for _ in range(rounds):
        pair = []
        for job in (ours, peer):
            gc.collect()
            start = time.perf_counter()
            job(path)
            pair.append(time.perf_counter() - start)
        times.append(pair)
    table = np.array(times)
    return (*np.median(table, axis=0), float(np.median(table[:, 1] / table[:, 0])))


def main() -> None:
    """Print seconds and ratios; a ratio above 1 means that pulsetwin is faster."""
    print(f"{'reading TWIX':<34}{'pulsetwin [s]':>14}{'twixtools [s]':>15}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        large = synthetic(Path(folder) / "large.dat")
        size = large.stat().st_size / 1e6
        for name, path, rounds in (("gre.dat", GRE, 9), (f"synthetic {size:.0f} MB", large, 3)):
            for what, ours, peer in (("open", _ours_open, _peer_open), ("open and load", _ours, _peer)):
                a, b, ratio = _ratio(ours, peer, path, rounds)
                print(f"{name + ', ' + what:<34}{a:>14.4f}{b:>15.4f}{ratio:>8.1f}")


if __name__ == "__main__":
    main()
