"""The bar: one line on a terminal, time left by the job's own begin, nothing elsewhere."""

from __future__ import annotations

import io
import os
import shutil
import time

from pulsetwin.progress import bar, silent


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_time_left_counts_from_the_jobs_begin_while_its_text_changes(monkeypatch):
    clock = iter([100.0, 100.0, 103.0, 103.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((100, 24)))
    shown = Terminal()
    draw = bar(shown)
    draw(1, 4, "optimise: loss 0.5")
    draw(3, 4, "optimise: loss 0.25" + "!" * 100)
    lines = shown.getvalue().split("\r")[1:]
    assert "1/4    0 s left loss 0.5" in lines[0]
    assert "3/4    1 s left loss 0.25" in lines[1]
    assert [len(line) for line in lines] == [99, 99]
    assert "\n" not in shown.getvalue()


def test_nothing_is_drawn_off_a_terminal():
    assert bar(io.StringIO()) is silent
