"""The rules of `.seq` text: clean files pass, and each deliberate fault is found at its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import SeqError
from pulsetwin.export.seq_rules import ERROR, text_faults
from tests.sequences import made

ROOT = Path(__file__).resolve().parents[2]
REAL = sorted((ROOT / "examples" / "data").rglob("*.seq"))


def errors(path: Path) -> list[str]:
    return [str(fault) for fault in text_faults(path) if fault.severity == ERROR]


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
@pytest.mark.parametrize("build", [made.spin_echo, made.spiral, lambda: made.gradient_echo(6)])
def test_files_of_pypulseq_keep_the_rules(tmp_path, build, version):
    assert text_faults(made.write(build(), tmp_path / "a.seq", version)) == ()


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_files_keep_the_rules(path):
    assert errors(path) == []


@pytest.mark.slow
def test_shared_files_keep_the_rules():
    files = sorted((ROOT.parent / "shared" / "data").rglob("*.seq"))
    if not files:
        pytest.skip("the shared data are not here")
    assert [(path.name, errors(path)) for path in files if errors(path)] == []


@pytest.fixture(scope="module", params=["1.4.1", "1.5.0"])
def written(request, tmp_path_factory) -> Path:
    """A file with every section: pulses, shaped gradients, trapezoids, acquisitions, labels, a trigger."""
    seq = made.spin_echo(3)
    seq.add_block(pp.make_trigger("physio1", duration=1e-3))
    return made.write(seq, tmp_path_factory.mktemp("rules") / "a.seq", request.param)


def edited(path: Path, section: str, column: int, word: str, folder: Path) -> tuple[Path, int]:
    """Return a copy with one word of the first line of data of a section replaced, and the number of the line."""
    lines = path.read_text().split("\n")
    row = next(i for i, line in enumerate(lines) if line.startswith(section)) + 1
    while not lines[row].strip() or lines[row].startswith("#"):
        row += 1
    words = lines[row].split()
    words[column] = word
    lines[row] = " ".join(words)
    copy = folder / "edited.seq"
    copy.write_text("\n".join(lines))
    return copy, row + 1


@pytest.mark.parametrize(
    ("section", "column", "word"),
    [
        ("[BLOCKS]", 1, "1e+03"),
        ("[BLOCKS]", 1, "-5"),
        ("[BLOCKS]", 2, "77"),
        ("[BLOCKS]", 6, "1.0"),
        ("[BLOCKS]", 7, "99"),
        ("[BLOCKS]", 1, "3000000000"),
        ("[RF]", 1, "nan"),
        ("[RF]", 1, "0x10"),
        ("[RF]", 2, "88"),
        ("[RF]", 4, "-1"),
        ("[GRADIENTS]", 1, "1_000"),
        ("[TRAP]", 2, "2.5"),
        ("[TRAP]", 0, "2"),
        ("[ADC]", 1, "70000"),
        ("[ADC]", 2, "3333.33"),
        ("[ADC]", 3, "1e2"),
        ("[EXTENSIONS]", 3, "55"),
        ("extension LABELSET", 1, "1.7"),
        ("extension LABELSET", 1, "5"),
        ("extension LABELSET", 1, "70000"),
        ("extension LABELSET", 2, "NOSLC"),
        ("extension TRIGGERS", 3, "1.5"),
        ("[SHAPES]", 1, "one"),
        ("[VERSION]", 1, "2"),
        ("[DEFINITIONS]", 0, "AdcRaster"),
    ],
)
def test_each_fault_is_found(written, tmp_path, section, column, word):
    path, _ = edited(written, section, column, word, tmp_path)
    assert errors(path), f"{word} in column {column} of {section} went unnoticed"


@pytest.mark.parametrize(("section", "column", "word"), [("[RF]", 1, "x"), ("[ADC]", 2, "1e3"), ("[TRAP]", 3, "0.5")])
def test_the_line_and_the_column_are_named(written, tmp_path, section, column, word):
    path, line = edited(written, section, column, word, tmp_path)
    fault = next(fault for fault in text_faults(path) if fault.severity == ERROR)
    assert (fault.line, fault.section) == (line, section)
    assert f"column {column + 1}" in fault.problem
    assert word in fault.problem


def test_pypulseq_writes_late_pulses_in_exponent_notation(tmp_path):
    """The fault that made these rules: the official reader takes 1.5e+06 us for 1 us, and says nothing."""
    seq = pp.Sequence(made.SYSTEM)
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, delay=1.5, system=made.SYSTEM, use="excitation"))
    path = made.write(seq, tmp_path / "late.seq", "1.4.1")
    assert any("'1.5e+06'" in fault for fault in errors(path))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"revision 0", b"revision 0\n" + b"#" * 300, "300 characters"),
        (b"[TRAP]", b"[TRAPS]", "no section"),
        (b"[ADC]", b"[RF]", "stands twice"),
        (b"GradientRasterTime 1e-05", b"GradientRasterTime 2e-05", "GradientRasterTime"),
        (b" LIN\n", b" OFF\n", "unknown to 1.5.0"),
        (b"extension TRIGGERS", b"extension ROTATIONS", "1.5.1"),
        (b"Type md5\n", b"Type md5\nHash cut", "the last line"),
    ],
)
def test_faults_of_whole_files(tmp_path, old, new, found):
    seq = made.spin_echo(3)
    seq.add_block(pp.make_trigger("physio1", duration=1e-3))
    raw = made.write(seq, tmp_path / "a.seq", "1.5.0").read_bytes()
    assert old in raw
    text = raw.replace(old, new, 1)
    (tmp_path / "a.seq").write_bytes(text[: text.index(b"Hash cut") + 8] if b"Hash cut" in text else text)
    assert any(found in fault for fault in errors(tmp_path / "a.seq")), errors(tmp_path / "a.seq")


def test_flags_are_not_incremented(tmp_path):
    seq = made.spin_echo(2)
    raw = made.write(seq, tmp_path / "a.seq", "1.4.1").read_text()
    head, tail = raw.split("extension LABELINC", 1)
    (tmp_path / "a.seq").write_text(head + "extension LABELINC" + tail.replace(" LIN\n", " NAV\n", 1))
    assert any("flag NAV is incremented" in fault for fault in errors(tmp_path / "a.seq"))


def test_crlf_unwrapped_phases_and_edits_are_warnings(tmp_path):
    seq = pp.Sequence(made.SYSTEM)
    pulse = make_pulse(phase=np.deg2rad(117) * 50**2 / 2)
    seq.add_block(pulse)
    path = made.write(seq, tmp_path / "a.seq", "1.4.1")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").replace(b"# Created", b"# created"))
    problems = " ".join(fault.problem for fault in text_faults(path))
    assert errors(path) == []
    assert all(word in problems for word in ("CR", "more than a turn", "not that of the text"))


def make_pulse(phase: float):
    return pp.make_sinc_pulse(
        0.2, duration=1e-3, phase_offset=phase, system=made.SYSTEM, delay=100e-6, use="excitation"
    )


def test_shapes_of_1_5_do_not_pass_as_1_4(tmp_path):
    """The Bruker interpreter of 2025 reads columns of 1.4 whatever the version says; so might an edited file."""
    path = made.write(made.spiral(1), tmp_path / "a.seq", "1.5.0")
    path.write_text(path.read_text().replace("minor 5", "minor 4"))
    assert any("columns where" in fault for fault in errors(path))


def test_what_is_no_seq_file_is_refused(tmp_path):
    (tmp_path / "b.seq").write_bytes(b"\0\1\2")
    with pytest.raises(SeqError):
        text_faults(tmp_path / "b.seq")
