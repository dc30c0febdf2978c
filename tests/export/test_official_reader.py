"""Files of the library in the Pulseq project's own C++ reader, and spoilt ones that it must refuse."""

from __future__ import annotations

import pytest

from pulsetwin.export.siemens import write_seq
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.protocol import definitions
from tests.export.official_reader import accepts, bundled, unpacked
from tests.sequences.small import SCANNERS, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bundled() is None, reason="needs seqeyes and xvfb, see official_reader.py"),
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return unpacked(bundled(), tmp_path_factory.mktemp("reader"))


def written(name, scanner_name, path, version="1.4.1"):
    scanner = Scanner.preset(scanner_name)
    protocol = small(name, scanner)
    seq = sequence_named(name).build(protocol, scanner)
    write_seq(seq, path, scanner=scanner, version=version, definitions=definitions(protocol, name, "0"))
    return path


@pytest.mark.parametrize("scanner_name", SCANNERS)
@pytest.mark.parametrize("name", NAMES)
def test_files_are_accepted(tmp_path, reader, name, scanner_name):
    for version in ("1.4.1", "1.5"):
        taken, said = accepts(reader, written(name, scanner_name, tmp_path / f"{version}.seq", version))
        assert taken, said


@pytest.mark.parametrize(
    ("old", "new"),
    [(" 1 NAV\n", " 5 NAV\n"), ("BlockDurationRaster 1e-05", ""), ("[RF]\n1 ", "[RF]\n1 x")],
)
def test_spoilt_files_are_refused(tmp_path, reader, old, new):
    path = written("epi", "siemens-prisma", tmp_path / "a.seq")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert not accepts(reader, path)[0]
