"""Examples run, and documentation does not lie about files and options."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from PIL import Image

from pulsetwin import cli
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_epi_example_ends_in_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reconstruct_epi.py", str(tmp_path / "epi.png")])
    runpy.run_path(str(ROOT / "examples" / "reconstruct_epi.py"), run_name="__main__")
    assert "96 readouts of 136 samples" in capsys.readouterr().out
    with Image.open(tmp_path / "epi.png") as picture:
        assert picture.size[0] > 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


def actions_of(parser):
    """Return the actions of a parser and of those below it."""
    for action in parser._actions:
        yield action
        for below in action.choices.values() if isinstance(action.choices, dict) else []:
            yield from actions_of(below)


def test_every_option_is_documented_and_no_other():
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    verbs = next(action for action in cli._parser()._actions if action.dest == "VERB" or action.choices).choices
    options = {name for verb in verbs.values() for action in actions_of(verb) for name in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z0-9-]+", reference)) == {name for name in options if name.startswith("--")}
    assert all(f"## pulsetwin {verb} " in reference for verb in verbs)
