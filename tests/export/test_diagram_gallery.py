"""The gallery page: its figures are there and small, its lines are those that made them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

from pulsetwin.cli.parser import parser
from pulsetwin.sequences.library import NAMES, sequence_named, summary
from pulsetwin.sequences.protocol import protocol_from

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (DOCS / "gallery.md").read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_names_sequences_of_the_library():
    assert len(SECTIONS) >= 8
    assert {name for name, _ in SECTIONS} <= set(NAMES)


@pytest.mark.parametrize(("name", "text"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_each_sequence_has_its_line_and_a_small_figure(maker, name, text):
    assert summary(name) in text
    design, plot = (line.split() for line in re.search(r"```\n(.*?)\n```", text, re.S)[1].splitlines())
    assert design == ["pulsetwin", *maker.design_line(name, f"{name}.seq")]
    assigned = dict(setting.split("=", 1) for setting in parser().parse_args(design[1:]).set)
    assert protocol_from(sequence_named(name).Protocol, assigned, "--set")
    assert parser().parse_args(plot[1:]).seq == f"{name}.seq"
    picture = DOCS / re.search(r"\((figures/.*?)\)", text)[1]
    assert picture.stat().st_size < 120_000
    with Image.open(picture) as drawn:
        assert min(drawn.size) >= 500
