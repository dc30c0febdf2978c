"""The protocols of a rodent at 9.4 T: each builds, passes the check, and is exported for Bruker or refused as told."""

from __future__ import annotations

import re
import tomllib

import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.bruker import write_bruker
from pulsetwin.export.siemens import write_seq
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.protocol import definitions, protocol_from
from pulsetwin.sequences.seqfile import read_seq
from tests.conftest import ROOT

BIOSPEC = Scanner.preset("bruker-biospec-94")
TABLES = tomllib.loads((ROOT / "examples" / "protocols" / "rodent.toml").read_text("utf-8"))
REFUSED = {
    "afi": {"bruker-blocks"},
    "epi": {"bruker-adc-gap"},
    "mprage": {"bruker-blocks", "bruker-events"},
    "qalas": {"bruker-blocks", "bruker-events"},
    "radial": {"bruker-events"},
    "saturation_recovery": {"bruker-gradient-shapes"},
    "spiral": {"bruker-shaped"},
    "ute": {"bruker-blocks", "bruker-events"},
    "wasabi": {"bruker-blocks"},
}
LONG = ("afi", "cest_mrf", "mprage", "qalas", "ute")
CASES = [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in NAMES]


def test_there_is_a_table_for_each_sequence_and_the_page_tells_which_are_refused():
    assert set(TABLES) == set(NAMES)
    page = (ROOT / "docs" / "how-to" / "bruker.md").read_text("utf-8")
    told = page.split("## Which protocols of a rodent")[1].split("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in told.splitlines() if line.startswith("| `")]
    assert {name: set(re.findall(r"bruker-[a-z-]+", rules)) for name, rules in rows} == REFUSED


@pytest.mark.parametrize("name", NAMES)
def test_each_table_is_a_protocol(name):
    protocol_from(sequence_named(name).Protocol, TABLES[name], name)


@pytest.mark.parametrize("name", CASES)
def test_each_builds_and_is_exported_or_refused_as_told(name, tmp_path):
    module = sequence_named(name)
    protocol = protocol_from(module.Protocol, TABLES[name], name)
    path, out = tmp_path / "a.seq", tmp_path / "a_seq"
    stated = definitions(protocol, name, "0")
    assert write_seq(module.build(protocol, BIOSPEC), path, scanner=BIOSPEC, definitions=stated).playable
    if name not in REFUSED:
        write_bruker(read_seq(path), out, scanner=BIOSPEC)
        assert read_seq(out).version == (1, 4, 1)
        return
    with pytest.raises(ProtocolError) as refused:
        write_bruker(read_seq(path), out, scanner=BIOSPEC)
    assert set(re.findall(r"bruker-[a-z-]+(?=:)", str(refused.value))) == REFUSED[name]
    assert not out.exists()
