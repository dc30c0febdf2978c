"""The page to zoom in: what it embeds, that it needs no network, and its size."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.export.diagram_rows import content
from pulsetwin.export.diagram_window import window_of_repetition, window_of_time
from pulsetwin.export.interactive import BINS, page
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

EPI = Path(__file__).parents[2] / "examples" / "data" / "pulseq_epi" / "ramp_epi_pe_plus.seq"
VOID = {"meta", "br", "link", "img", "input"}


class Parts(HTMLParser):
    """Collects elements, attributes and scripts, and sees that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.scripts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def epi():
    return read_seq(EPI)


@pytest.fixture(scope="module")
def parts(epi):
    return Parts(page(epi, scanner=Scanner.preset("siemens-prisma")))


def times(curve):
    return np.cumsum(curve["t"]) * curve["unit"]


def test_the_page_needs_no_network(parts):
    assert parts.open == []
    assert not [one for one in parts.attributes if one[1] in ("src", "href", "srcset", "action", "data")]
    assert not re.search(r"https?:|//cdn|@import|url\(|fetch\(|XMLHttp|import\(", " ".join(parts.scripts))
    policy = next(value for tag, name, value in parts.attributes if tag == "meta" and name == "content")
    assert policy.startswith("default-src 'none'")


def test_the_page_holds_the_curves(epi, parts):
    data = json.loads(parts.scripts[0])
    shown = content(
        epi, window_of_repetition(epi, played_readouts(epi)), scanner=Scanner.preset("siemens-prisma"), bins=BINS
    )
    assert [row["name"] for row in data["rows"]] == ["|B₁|", "phase", "Gx", "Gy", "Gz"]
    assert data["rows"][2]["limits"] == [-80, 80]
    for row, drawn in zip(shown.rows, data["rows"], strict=True):
        assert np.allclose(times(drawn), row.time - data["start"], atol=1e-7)
        values = np.array([np.nan if one is None else one for one in drawn["v"]]) * drawn["step"]
        assert np.allclose(values, row.value, atol=np.nanmax(np.abs(row.value)) / 20_000, equal_nan=True)
    assert np.allclose(times(data["adc"]).reshape(-1, 2), shown.adc, atol=1e-7)


def test_the_page_numbers_the_blocks(epi, parts):
    blocks = json.loads(parts.scripts[0])["blocks"]
    assert (blocks["first"], blocks["next"], blocks["every"]) == (1, 1, 1)
    assert np.allclose(times(blocks), epi.block_start, atol=1e-7)


@pytest.mark.skipif(not shutil.which("node"), reason="needs a JavaScript interpreter")
def test_the_script_is_javascript(parts, tmp_path):
    (tmp_path / "a.js").write_text(parts.scripts[1], "utf-8")
    subprocess.run(["node", "--check", str(tmp_path / "a.js")], check=True)


def test_names_are_no_markup(tmp_path):
    path = tmp_path / "a.seq"
    source = made.spiral()
    source.set_definition("Name", "</script><b>&lt;")
    seq = read_seq(made.write(source, path, "1.5.0"))
    parts = Parts(page(seq))
    assert "b" not in parts.open
    assert json.loads(parts.scripts[0])["title"].startswith("</script><b>&lt;")


def test_a_long_scan_makes_a_small_page_quickly(tmp_path):
    """100,000 blocks, with pulses of 25,000 phases, phase-encoding steps and a label that counts."""
    count = 25_000
    rf = "".join(f"{n + 1} 500 1 0 0 100 0 {n % 6.28:.3f}\n" for n in range(count))
    trap = "1 900000 200 1000 200 0\n2 -600000 150 500 150 0\n" + "".join(
        f"{n} {7000 * (n - 130)} 200 400 200 0\n" for n in range(3, 259)
    )
    labels = "1 1 1 0\n\nextension LABELINC 1\n1 1 LIN\n"
    blocks = "".join(
        f"{4 * n + 1} 40 {n + 1} 0 0 0 0 0\n{4 * n + 2} 90 0 2 {3 + n % 256} 0 0 0\n"
        f"{4 * n + 3} 200 0 1 0 0 1 1\n{4 * n + 4} 70 0 0 0 0 0 0\n"
        for n in range(count)
    )
    path = tmp_path / "a.seq"
    shapes = "shape_id 1\nnum_samples 200\n" + "".join(f"{np.sin(np.pi * n / 199):.5f}\n" for n in range(200))
    adc = "1 128 10000 250 0 0\n"
    path.write_text(made.text("1.4.1", blocks, rf=rf, trap=trap, adc=adc, shapes=shapes, extensions=labels))
    seq = read_seq(path)
    begin = time.process_time()
    text = page(seq, window=window_of_time(seq, 0, seq.duration))
    assert time.process_time() - begin < 20
    assert len(text.encode()) < 3e6
    data = json.loads(Parts(text).scripts[0])
    strongest = [max(abs(v) for v in row["v"] if v is not None) * row["step"] for row in data["rows"]]
    assert strongest[0] == pytest.approx(1e6 * 500 / 42.576e6, rel=1e-3)
    assert strongest[2] == pytest.approx(1e3 * 900_000 / 42.576e6, rel=1e-3)
    assert strongest[3] == pytest.approx(1e3 * 7000 * 128 / 42.576e6, rel=1e-3)
    assert np.cumsum(data["labels"][0]["t"])[-1] > 0
    assert data["labels"][0]["v"][-1] == count
