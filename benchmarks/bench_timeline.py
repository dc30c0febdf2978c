"""`timeline_from_seq` on real and made sequences, beside pypulseq's `calculate_kspace` of the same file.

Prints one line a file: blocks, seconds to read it, seconds to make the timeline (median), its size, and pypulseq's
seconds where it takes less than minutes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pypulseq as pp
import torch

from benchmarks.bench_seq import gradient_echo
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

DATA = Path(__file__).parents[1] / "examples" / "data"
ROUNDS = 3
SYSTEM = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6, B0=3.0)


def spirals(path: Path, arms: int) -> Path:
    """Write spirals of 2000 points, each a waveform of its own."""
    seq = pp.Sequence(SYSTEM)
    excite = pp.make_block_pulse(0.2, duration=0.5e-3, delay=100e-6, system=SYSTEM, use="excitation")
    part = (np.arange(2000) + 0.5) / 2000
    adc = pp.make_adc(4000, dwell=5e-6, system=SYSTEM)
    for arm in range(arms):
        wave = 2e5 * np.sin(np.pi * part) * np.exp(2j * np.pi * (10 * part + arm / arms))
        seq.add_block(excite)
        pair = (("x", wave.real), ("y", wave.imag))
        seq.add_block(adc, *(pp.make_arbitrary_grad(n, w, first=0, last=0, system=SYSTEM) for n, w in pair))
    seq.write(str(path))
    return path


def spokes(path: Path, count: int) -> Path:
    """Write a kooshball of `count` spokes by rotations, with a selective pulse that turns too."""
    rng = np.random.default_rng(0)
    quaternions = rng.normal(size=(count, 4))
    rows = "\n".join(f"{i + 1} {' '.join(f'{v:.9f}' for v in q)}" for i, q in enumerate(quaternions))
    lists = "\n".join(f"{i + 1} 1 {i + 1} 0" for i in range(count))
    blocks = "\n".join(f"{2 * i + 1} 130 1 1 0 0 0 {i + 1}\n{2 * i + 2} 160 0 2 0 0 1 {i + 1}" for i in range(count))
    signal = np.sinc(4 * (np.arange(500) + 0.5) / 500 - 2)
    values = "\n".join(f"{v:.9f}" for v in signal)
    path.write_text(
        "[VERSION]\nmajor 1\nminor 5\nrevision 1\n[DEFINITIONS]\nGradientRasterTime 1e-05\n"
        "RadiofrequencyRasterTime 2e-06\nAdcRasterTime 1e-07\nBlockDurationRaster 1e-05\n"
        f"[BLOCKS]\n{blocks}\n[RF]\n1 250 1 0 0 500 100 0 0 0 0 e\n[TRAP]\n1 40000 100 1000 100 0\n"
        f"2 200000 100 1300 100 0\n[ADC]\n1 128 10000 150 0 0 0 0 0\n[EXTENSIONS]\n{lists}\n\n"
        f"extension ROTATIONS 1\n{rows}\n[SHAPES]\nshape_id 1\nnum_samples 500\n{values}\n"
    )
    return path


def timed(function: Callable[[Path], object], path: Path, rounds: int) -> tuple[float, object]:
    """Return the median seconds and the last result."""
    seconds, result = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        result = function(path)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def pypulseq_k_space(path: Path) -> object:
    """Read the file and integrate with pypulseq."""
    seq = pp.Sequence()
    seq.read(str(path), detect_rf_use=read_seq(path).version < (1, 5, 0))
    return seq.calculate_kspace()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    columns = ("blocks", "read s", "timeline s", "pulses", "intervals", "shapes", "readouts", "pypulseq s")
    print(f"{'file':<28}" + "".join(f"{name:>12}" for name in columns))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Path(folder)
        files = [(path, True) for path in sorted(DATA.rglob("*.seq"))]
        files += [(spirals(made / "spirals.seq", 64), True), (spokes(made / "kooshball.seq", 20_000), False)]
        files += [(gradient_echo(made / "gre_160x160.seq", 160, 160), False)]
        for path, peer in files:
            _line(path, peer)


def _line(path: Path, peer: bool) -> None:
    reading, seq = timed(read_seq, path, ROUNDS)
    making, line = timed(lambda _: timeline_from_seq(seq), path, ROUNDS)
    other = f"{timed(pypulseq_k_space, path, 1)[0]:>12.2f}" if peer else f"{'-':>12}"
    distinct = len(line.readout_shape.unique())
    numbers = f"{line.pulses:>12}{len(line.duration):>12}{len(line.shapes):>12}{distinct:>12}"
    print(f"{path.name:<28}{len(seq):>12}{reading:>12.3f}{making:>12.3f}{numbers}{other}")


if __name__ == "__main__":
    main()
