"""Reading `.seq` files and their k-space, beside pypulseq: `read` + `calculate_kspace`, same files, same process.

Prints one line a file: seconds of each (median), the ratio pypulseq / ours (median of interleaved pairs) and the
largest difference of the k-space positions relative to the largest |k|. pypulseq is not run where it takes minutes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp

from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq

DATA = Path(__file__).parents[1] / "examples" / "data"
SHARED = Path(__file__).parents[2] / "shared" / "data"
ROUNDS = 5


def gradient_echo(path: Path, lines: int, partitions: int) -> Path:
    """Write a spoiled 3D gradient echo of four blocks a line."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6, B0=3.0)
    seq = pp.Sequence(system)
    excite = pp.make_block_pulse(0.2, duration=0.5e-3, delay=100e-6, system=system, use="excitation")
    read = pp.make_trapezoid("x", flat_area=64 / 0.2, flat_time=1.28e-3, system=system)
    adc = pp.make_adc(64, duration=1.28e-3, delay=read.rise_time, system=system)
    pre = pp.make_trapezoid("x", area=-read.area / 2, duration=1e-3, system=system)
    count, wait, step = 0, pp.make_delay(2e-3), pp.make_label("LIN", "INC", 1)
    phases = [pp.make_trapezoid("y", area=(n - lines // 2) / 0.2, duration=1e-3, system=system) for n in range(lines)]
    for partition in range(partitions):
        slab = pp.make_trapezoid("z", area=(partition - partitions // 2) / 0.1, duration=1e-3, system=system)
        for line in range(lines):
            excite.phase_offset = adc.phase_offset = np.deg2rad(117 * count * count / 2) % (2 * np.pi)
            seq.add_block(excite)
            seq.add_block(pre, phases[line], slab)
            seq.add_block(read, adc, pp.make_label("LIN", "SET", 0) if line == 0 else step)
            seq.add_block(wait)
            count += 1
    seq.write(str(path))
    return path


def ours(path: Path) -> np.ndarray:
    """Return the positions of all samples [1/m], ``[3, sample]``."""
    played = played_readouts(read_seq(path))
    return played.trajectory(np.arange(len(played))).positions().reshape(-1, 3).T


def theirs(path: Path) -> np.ndarray:
    """Return the same from pypulseq."""
    seq = pp.Sequence()
    seq.read(str(path), detect_rf_use=read_seq(path).version < (1, 5, 0))
    return seq.calculate_kspace()[0]


def timed(function, path: Path) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    k = function(path)
    return time.perf_counter() - start, k


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    print(f"{'file':<44}{'blocks':>8}{'ours s':>9}{'pypulseq s':>12}{'ratio':>8}{'difference':>12}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [(path, rounds) for path in sorted(DATA.rglob("*.seq"))]
        files.append((gradient_echo(Path(folder) / "generated_gre.seq", 160, 160), 1))
        files += [(path, 0) for path in sorted(SHARED.glob("bmsim/case_1.seq"))]
        for path, pairs in files:
            _line(path, pairs)


def _line(path: Path, pairs: int) -> None:
    mine, peer, k, other = [], [], None, None
    for _ in range(max(pairs, 1)):
        seconds, k = timed(ours, path)
        mine.append(seconds)
        if pairs:
            seconds, other = timed(theirs, path)
            peer.append(seconds)
    row = f"{path.name:<44}{len(read_seq(path)):>8}{statistics.median(mine):>9.3f}"
    if other is None:
        print(f"{row}{'> 60':>12}")
        return
    ratio = statistics.median(b / a for a, b in zip(mine, peer, strict=True))
    worst = np.abs(k - other).max() / np.abs(other).max()
    print(f"{row}{statistics.median(peer):>12.3f}{ratio:>8.1f}{worst:>12.1e}")


if __name__ == "__main__":
    main()
