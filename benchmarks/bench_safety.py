"""Nerve stimulation and the whole check beside pypulseq, same sequences, same process.

Run as `python -m benchmarks.bench_safety` with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1: numpy's threads wait busily,
which counts as pypulseq's CPU time.

Nerve stimulation: `nerve_peak` beside `calculate_pns` with the same coefficients, on spoiled 3D gradient echoes of a
few seconds, as pypulseq takes minutes for a whole scan; ours also on the whole scan of 100k blocks. Prints CPU seconds,
the ratio and the largest difference of the waveforms relative to the peak.

Check: reading and `check` (nerve stimulation, RF power and acoustic bands included) beside pypulseq's `check_timing`
and `test_report` (without nerve stimulation), on the scan of 100k blocks, and the peak memory of ours.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypulseq as pp
from pypulseq.utils.safe_pns_prediction import safe_example_hw

from benchmarks.bench_seq import gradient_echo
from pulsetwin.export.acoustics import acoustic_findings
from pulsetwin.export.limits import amplitude_findings
from pulsetwin.export.nerve_stimulation import EXAMPLE_AXES, nerve_peak, stimulation
from pulsetwin.export.playable import check
from pulsetwin.export.rf_power import rf_power
from pulsetwin.scanner import PROTON, Scanner
from pulsetwin.sequences.seqfile import read_seq

SCANNER = dataclasses.replace(
    Scanner.preset("siemens-prisma"), pns=EXAMPLE_AXES, forbidden_bands=((540.0, 640.0), (1000.0, 1230.0))
)
ROUNDS = 5


def cpu(function: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, Any]:
    """Return the median CPU seconds and the last result."""
    seconds, result = [], None
    for _ in range(rounds):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def nerves(folder: Path, lines: int, partitions: int) -> None:
    """Print one line: ours beside pypulseq's."""
    path = gradient_echo(folder / f"{lines}x{partitions}.seq", lines, partitions)
    seq, theirs = read_seq(path), pp.Sequence()
    theirs.read(str(path))
    mine, _ = cpu(lambda: nerve_peak(seq, SCANNER))
    peer, (_, norm, axes, _) = cpu(lambda: theirs.calculate_pns(safe_example_hw(), do_plots=False), 1)
    worst = 0.0
    for first, percent in stimulation(seq, EXAMPLE_AXES, PROTON, SCANNER.gradient_raster):
        peers = 100 * axes[first : first + percent.shape[1]].T
        worst = max(worst, np.abs(percent[:, : peers.shape[1]] - peers).max(initial=0.0))
    difference = worst / (100 * norm.max())
    print(f"PNS {len(seq):>7} blocks {seq.duration:>6.1f} s: ours {mine:.4f} s, pypulseq {peer:.2f} s, ", end="")
    print(f"{peer / mine:.0f} times, difference {difference:.1e}")


def parts(path: Path) -> None:
    """Print the CPU seconds of each part of ours on a whole scan."""
    seconds, seq = cpu(lambda: read_seq(path), 3)
    print(f"ours, {len(seq)} blocks, {seq.duration:.0f} s: read {seconds:.2f} s", end="")
    for name, part in (
        ("limits", lambda: amplitude_findings(seq, SCANNER)),
        ("PNS", lambda: nerve_peak(seq, SCANNER)),
        ("RF power", lambda: rf_power(seq, SCANNER.gamma)),
        ("acoustics", lambda: acoustic_findings(seq, SCANNER)),
    ):
        print(f", {name} {cpu(part, 3)[0]:.2f} s", end="")
    print(f", peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def whole(path: Path) -> None:
    """Print the whole check beside pypulseq's."""
    mine, _ = cpu(lambda: check(path, SCANNER), 3)
    theirs = pp.Sequence()
    theirs.read(str(path))
    timing, _ = cpu(theirs.check_timing, 1)
    report, _ = cpu(theirs.test_report, 1)
    print(f"check: ours with reading and PNS {mine:.2f} s; pypulseq check_timing {timing:.2f} s, ", end="")
    print(f"test_report {report:.2f} s (reading and PNS excluded): {(timing + report) / mine:.1f} times")


def main() -> None:
    """Print the figures; the part that needs the peak memory of ours alone comes first."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        scan = gradient_echo(folder / "scan.seq", 160, 160)
        parts(scan)
        for partitions in (1, 4):
            nerves(folder, 160, partitions)
        whole(scan)


if __name__ == "__main__":
    main()
