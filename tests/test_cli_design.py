"""The verb `design`."""

from __future__ import annotations

import random
import shlex
from contextlib import suppress
from dataclasses import replace

import pytest

from pulsetwin import cli
from pulsetwin.errors import ProtocolError, PulsetwinError
from pulsetwin.export.playable import check
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.protocol import protocol_from, settings
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences.small import small

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
        assert max(map(len, shown.splitlines())) <= 110
        words = " ".join(shown.split())
        for one in settings(sequence_named(name).Protocol):
            assert f"\n  {one.name} " in shown
            assert one.meaning in words
            assert all(choice in shown for choice in one.choices)
    assert run("--help") == 0
    assert "--slew" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_the_help_works(name, capsys, tmp_path, monkeypatch):
    run(name, "--help")
    example = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("example: "))
    module, built = sequence_named(name), []

    def record(protocol, scanner):
        built.append((protocol, scanner))
        raise ProtocolError("enough")

    monkeypatch.setattr(module, "build", record)
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(example)[2:]) == 2
    assert "enough" in capsys.readouterr().err
    protocol, scanner = built[0]
    for one in settings(protocol):  # it sets what is so by default
        expected = pytest.approx(one.default) if one.kind is float else one.default
        assert getattr(protocol, one.name) == expected
    assert scanner == Scanner.preset("siemens-prisma")


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
        ((), "--list"), (("flsh",), "did you mean 'flash'"), (("flash",), "-o"),
        (("flash", "--set", "te=1us", "-o", "x.seq"), "the least that works"),
        (("flash", "--set", "te=1deg", "-o", "x.seq"), "in s or ms or us"),
        (("flash", "--set", "tee=1", "-o", "x.seq"), "did you mean 'te'"),
        (("flash", "--set", "te", "-o", "x.seq"), "name=value"),
        (("flash", "--set", "matrix=16,16", "-o", "x.seq"), "3 numbers"),
        (("flash", "--set", "echoes=1.5", "-o", "x.seq"), "whole number"),
        (("flash", "--protocol", "none.toml", "-o", "x.seq"), "no such file"),
        (("flash", "--set", "slices=1e400", "-o", "x.seq"), "slices = inf: give a whole number"),
        (("flash", "--set", "te=1e400", "-o", "x.seq"), "te = inf: give a number"),
        (("flash", "--slew", "0", "-o", "x.seq"), "--slew 0: give a fraction"),
        (("flash", "--slew", "1.1", "-o", "x.seq"), "0.01 to 1"),
        (("flash", "--slew", "nan", "-o", "x.seq"), "--slew nan"),
    ],
)  # fmt: skip
def test_errors_are_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flash = 3", "flash is no table"),
        ("[rare]\ntrain = 8\n[epi]\n", "has settings of rare, epi, not of flash; add a table [flash]"),
        ("te = 5e-3\n[flash]\n", "has te outside the table"),
        ("te = true", "te = True: give a number"),
        ("te = [1, 2]", "te = (1.0, 2.0): give a number"),
        ("[te]\nx = 1", "te = {"),
        ("fov = 0.2", "give 3 numbers"),
        ("te = 2020-01-01", "give a number"),
        ("te = nan", "give a number"),
        (f"te = {10**400}", "te = inf"),
        (f"slices = {10**400}", "slices = that many: give 1 to 512"),
        (f"slices = {'9' * 5000}", "is not TOML"),
        (f"fov = {'[' * 5000}", "is not TOML"),
        ("fov", "is not TOML"),
    ],
)  # fmt: skip
def test_errors_of_a_file_are_told_in_a_line(text, told, tmp_path, capsys):
    (tmp_path / "a.toml").write_text(text)
    assert run("flash", "--protocol", str(tmp_path / "a.toml"), "-o", str(tmp_path / "x.seq")) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith(f"pulsetwin: {tmp_path / 'a.toml'}: ")
    assert error.count("\n") == 1


def test_an_error_is_blamed_on_where_it_comes_from(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("[rare]\ntrain = 8\n")
    chosen = ("rare", "--protocol", str(tmp_path / "a.toml"), "-o", str(tmp_path / "x.seq"))
    assert run(*chosen, "--set", "slices=0") == 2
    assert "pulsetwin: --set: slices = 0" in capsys.readouterr().err
    assert run(*chosen, "--set", "matrix=16,9") == 2
    assert f"{tmp_path / 'a.toml'} and --set: matrix" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_a_setting_or_an_error(name):
    rng, kind, taken = random.Random(name), sequence_named(name).Protocol, 0
    parts = ["1", "2", "-1", "0.", ".5", "1e-3", "1e400", "e", "nan", "inf", "none", "true", ",", "ms", "deg", "mm",
             "%", " ", "\x00", "\n", "\u0663", "uT", "kHz", "=", "'", "golden", "", "ppm"]  # fmt: skip
    known = list(settings(kind))
    for _ in range(300):
        one, text = rng.choice(known), "".join(rng.choices(parts, k=rng.randint(0, 4)))
        with suppress(ProtocolError):
            protocol_from(kind, {one.name: text}, "--set")
            taken += 1
    assert taken


def test_warnings_are_told_with_remedies_that_help(tmp_path, capsys):
    out, slow = str(tmp_path / "out.seq"), str(tmp_path / "slow.seq")
    small_epi = ["epi", "--set", "matrix=32,32"]
    assert run(*small_epi, "-o", out) == 0
    told = capsys.readouterr()
    shown = told.err.splitlines()
    warned = {finding.rule for finding in check(out, Scanner.preset("siemens-prisma")).warnings}
    assert warned == {"slew-vector", "pns"}
    assert any(" pns: " in line and line.endswith("; a smaller --slew stimulates less") for line in shown)
    assert (len(shown), told.out.count("\n")) == (len(warned), 1)
    assert any("slew-vector" in line and line.endswith("--slew 0.577 allows any orientation") for line in shown)
    assert run(*small_epi, "--slew", "0.577", "-o", slow) == 0
    assert "slew-vector" not in capsys.readouterr().err
    seq, prisma = read_seq(slow), Scanner.preset("siemens-prisma")
    assert seq.definitions["SlewFraction"] == 0.577
    assert "SlewFraction" not in read_seq(out).definitions
    fast, peaks = check(out, prisma).peaks, check(slow, prisma).peaks
    assert peaks["PNS (example coefficients) [%]"] < 0.8 * fast["PNS (example coefficients) [%]"]
    assert 0.5 * prisma.max_slew < max(peaks[f"slew {axis} [T/m/s]"] for axis in "xyz") <= 0.5771 * prisma.max_slew


@pytest.mark.parametrize("name", NAMES)
def test_little_slew_builds_or_says_what_is_wrong(name):
    prisma = Scanner.preset("siemens-prisma")
    slow = replace(prisma, max_slew=0.02 * prisma.max_slew)
    with suppress(PulsetwinError):
        assert sequence_named(name).build(small(name, prisma), slow).check_timing()[0]
