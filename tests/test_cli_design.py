"""The verb `design`."""

from __future__ import annotations

import pytest

from pulsetwin import cli
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.protocol import settings
from pulsetwin.sequences.seqfile import read_seq

SMALL = ["--set", "matrix=16,16,1", "--set", "dummies=2"]


def run(*arguments: str) -> int:
    return cli.main(["design", *arguments])


def test_list_and_help_follow_the_library(capsys):
    assert run("--list") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    for name in NAMES:
        assert run(name, "--help") == 0
        shown = capsys.readouterr().out
        for one in settings(sequence_named(name).Protocol):
            assert f"  {one.name} " in shown
            assert one.meaning in shown


def test_a_sequence_is_written_with_its_protocol(tmp_path, capsys):
    out = str(tmp_path / "out.seq")
    assert run("flash", *SMALL, "--set", "te=5ms", "--set", "flip_angle=12deg", "-o", out) == 0
    seq = read_seq(out)
    assert seq.definitions["Name"] == "flash"
    assert seq.definitions["Protocol_te"] == pytest.approx(5e-3)
    assert seq.definitions["Protocol_flip_angle"] == pytest.approx(0.20943951)
    assert cli.main(["check", out, "--scanner", "siemens-prisma"]) == 0
    assert run("flash", *SMALL, "-o", out) == 2
    assert "--force" in capsys.readouterr().err


def test_settings_of_a_file_and_of_the_command_line(tmp_path):
    table, out = tmp_path / "protocol.toml", str(tmp_path / "out.seq")
    table.write_text("[flash]\nmatrix = [16, 16, 1]\ndummies = 0\ntr = 0.02\n")
    assert run("flash", "--protocol", str(table), "--set", "tr=30ms", "-o", out) == 0
    assert read_seq(out).definitions["TR"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--list"), (("flsh",), "did you mean flash"), (("flash",), "-o"),
        (("flash", "--set", "te=1us", "-o", "x.seq"), "the least that works"),
        (("flash", "--set", "te=1deg", "-o", "x.seq"), "in s or ms or us"),
        (("flash", "--set", "tee=1", "-o", "x.seq"), "did you mean te"),
        (("flash", "--set", "te", "-o", "x.seq"), "name=value"),
        (("flash", "--set", "matrix=16,16", "-o", "x.seq"), "3 numbers"),
        (("flash", "--set", "echoes=1.5", "-o", "x.seq"), "whole number"),
        (("flash", "--protocol", "none.toml", "-o", "x.seq"), "no such file"),
    ],
)  # fmt: skip
def test_errors_are_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
