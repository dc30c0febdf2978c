"""Damaged raw files end in a typed error, a flagged result, or the intact data; see `damage`."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import warnings
from collections import Counter

import pytest

from tests.recon.damage import CASES, ROOT, SCANS, damaged, judge

FILES = 2000
LIMIT = 10.0
WORKERS = 2


@pytest.mark.parametrize("case", CASES)
def test_named_damage(case, tmp_path):
    for scan in ("gre", "epi"):
        d = damaged(scan, seed=0)
        CASES[case](d)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            judge(d, tmp_path)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        ("intact", "equal"),
        ("cut at 50 %", "error"),
        ("cut at 50 %, partial", "flagged"),
        ("cut before the first readout, partial", "error"),
        ("RAID count 1000", "error"),
        ("channels 65535", "error"),
        ("samples 0", "error"),
        ("SYNCDATA, DMA 0", "error"),
        ("zero tail 30 %", "error"),
        ("end mark in the middle", "error"),
        ("LIN 60000", "error"),
        ("all counters 65535", "error"),
        ("NaN", "error"),
        ("NaN, partial", "flagged"),
        ("LIN + 1", "flagged"),
        ("padding lost", "equal"),
    ],
)
def test_verdicts_on_the_vendor_scan(case, verdict, tmp_path):
    d = damaged("gre", seed=0)
    CASES[case](d)
    found = judge(d, tmp_path)
    assert found == verdict or (case == "padding lost" and found == "error")


class Pool:
    """Worker processes that are killed and replaced when a file takes too long."""

    def __init__(self, seeds: range) -> None:
        self.seeds: queue.SimpleQueue[int] = queue.SimpleQueue()
        for seed in seeds:
            self.seeds.put(seed)
        self.results: list[tuple[int, str, str]] = []

    def run(self) -> list[tuple[int, str, str]]:
        threads = [threading.Thread(target=self._serve) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.results

    def _serve(self) -> None:
        worker, lines = None, None
        while True:
            try:
                seed = self.seeds.get_nowait()
            except queue.Empty:
                break
            if worker is None:
                worker, lines = self._start()
            worker.stdin.write(f"{seed}\n")
            worker.stdin.flush()
            try:
                line = lines.get(timeout=LIMIT)
            except queue.Empty:
                line = f"{seed}\tBAD took more than {LIMIT:.0f} s\t"
            if line is None:
                line = f"{seed}\tBAD the process died\t"
            number, verdict, what = line.rstrip("\n").split("\t", 2)
            self.results.append((int(number), verdict, what))
            if verdict.startswith(("BAD took", "BAD the process")):
                worker.kill()
                worker.wait()
                worker = None
        if worker is not None:
            worker.stdin.close()
            worker.wait(timeout=30)

    def _start(self) -> tuple[subprocess.Popen, queue.Queue]:
        command = [sys.executable, "-m", "tests.recon.fuzz_worker"]
        worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lines: queue.Queue[str | None] = queue.Queue()

        def pump() -> None:
            with worker.stdout as stream:
                for line in stream:
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, daemon=True).start()
        assert lines.get(timeout=120) == "ready\n"
        return worker, lines


@pytest.mark.slow
def test_two_thousand_damaged_files():
    results = Pool(range(FILES)).run()
    bad = [result for result in results if result[1].startswith("BAD")]
    assert not bad, "\n".join(map(str, bad[:20]))
    assert len(results) == FILES
    verdicts = Counter(verdict for _, verdict, _ in results)
    assert min(verdicts[name] for name in ("error", "flagged", "equal")) > FILES // 20, verdicts
    assert set(SCANS) == {what.split(":")[0] for _, _, what in results}
