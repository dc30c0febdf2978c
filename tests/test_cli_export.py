"""The verb `export`."""

from __future__ import annotations

import pytest

from pulsetwin import cli
from pulsetwin.export.cest_lists import read_cest_list
from pulsetwin.export.siemens import write_siemens
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from tests.export import bruker_cases as cases


@pytest.fixture
def source(tmp_path):
    """Return a sequence of 1.5 without definitions of its own but those of the test."""
    terra = Scanner.preset("siemens-terra")
    path = tmp_path / "source.seq"
    write_siemens(cases.gradient_echo(), path, scanner=terra, version="1.5", definitions=cases.STATED, unsafe=True)
    return path


def run(*arguments) -> int:
    return cli.main(["export", *map(str, arguments)])


def test_bruker_names_what_it_wrote(tmp_path, source, capsys):
    assert run(source, "--target", "bruker", "-o", tmp_path / "gre.seq") == 0
    told = capsys.readouterr().out
    assert "gre_seq  (ParaVision lists no names with symbols)" in told
    assert "gre_seq_index.json" in told
    assert "% of maximum" in told
    assert read_seq(tmp_path / "gre_seq").version == (1, 4, 1)
    assert run(source, "--target", "bruker", "-o", tmp_path / "gre.seq") == 2
    assert "--force" in capsys.readouterr().err
    assert run(source, "--target", "bruker", "-o", tmp_path / "gre_seq", "--force") == 0
    assert "no names" not in capsys.readouterr().out


def test_siemens_converts_versions(tmp_path):
    terra, source = Scanner.preset("siemens-terra"), tmp_path / "source.seq"
    slow = cases.sequence([cases.pulse()], [cases.trapezoid()], [cases.acquisition()], length=6e-3)
    write_siemens(slow, source, scanner=terra, version="1.4.1", definitions=cases.STATED, unsafe=True)
    for version in ("1.5.0", "1.4.1", None):
        out = tmp_path / f"{version}.seq"
        chosen = ["--version", version] if version else []
        assert run(source, "--target", "siemens", "--scanner", "siemens-terra", *chosen, "-o", out) == 0
        assert read_seq(out).version == tuple(map(int, (version or "1.4.1").split(".")))


def test_a_design_for_bruker_is_exported(tmp_path):
    out, small = tmp_path / "flash.seq", ["matrix=16,16,1", "fov=0.03,0.03,1e-3", "bandwidth=1562.5", "dummies=2"]
    chosen = [word for one in small for word in ("--set", one)]
    assert cli.main(["design", "flash", "--scanner", "bruker-biospec-94", *chosen, "-o", str(out)]) == 0
    assert run(out, "--target", "bruker", "-o", tmp_path / "flash_seq") == 0
    assert len(read_seq(tmp_path / "flash_seq").adc) > 0


def test_fov_and_name_of_files_that_lack_them(tmp_path, source, capsys):
    text = source.read_text().split("\n[SIGNATURE]")[0]
    bare = "\n".join(line for line in text.split("\n") if not line.startswith(("FOV", "Name")))
    (tmp_path / "bare.seq").write_text(bare)
    assert run(tmp_path / "bare.seq", "--target", "bruker", "-o", tmp_path / "out") == 2
    assert "FOV" in capsys.readouterr().err
    chosen = ["--fov", "0.03", "0.03", "1e-3"]
    assert run(tmp_path / "bare.seq", "--target", "bruker", *chosen, "-o", tmp_path / "out") == 0
    stated = read_seq(tmp_path / "out").definitions
    assert (stated["FOV"], stated["Name"]) == ((0.03, 0.03, 1e-3), "bare")


def test_cest_lists_come_from_tables(tmp_path, capsys):
    table = tmp_path / "protocol.csv"
    table.write_text("tr,b1,offset_ppm,flip_angle,saturation_time\n3.9,1.004e-6,8,1.5707963,0.4\n")
    assert run(table, "--target", "cest-list", "-o", tmp_path / "list.txt") == 0
    told = capsys.readouterr().out
    assert "1 image" in told
    assert "rounded  b1 by up to 4e-09" in told
    assert read_cest_list(tmp_path / "list.txt").tr[0] == 3.9
    table.write_text(table.read_text().replace("3.9", "3900"))
    assert run(table, "--target", "cest-list", "-o", tmp_path / "b.txt") == 2
    assert "milliseconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "bruker", "--version", "1.5.0", "-o", "x"), "--version is for siemens"),
        (("--target", "cest-list", "--scanner", "bruker-biospec-94", "-o", "x"), "for sequences"),
        (("--target", "bruker", "--scanner", "siemens-prisma", "-o", "x"), "siemens"),
        (("--target", "siemens", "--scanner", "bruker-biospec-94", "-o", "x.seq"), "bruker"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, monkeypatch, source, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert run(source, *arguments) == 2
    assert told in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["source.seq"]


def test_what_is_read_is_never_overwritten(tmp_path, source, capsys):
    assert run(source, "--target", "siemens", "-o", source, "--force") == 2
    assert "would be overwritten" in capsys.readouterr().err
    named = tmp_path / "a_seq"
    named.write_bytes(source.read_bytes())
    assert run(named, "--target", "bruker", "-o", tmp_path / "a.seq", "--force") == 2
    assert "would be overwritten" in capsys.readouterr().err
