from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pulsetwin import __version__, cli
from pulsetwin.volume import Images
from tests.conftest import ROOT
from tests.synthetic import cartesian_positions, scan

EPI = ROOT / "examples" / "data" / "pulseq_epi"
SCAN = (str(EPI / "ramp_epi_pe_plus.dat"), "--seq", str(EPI / "ramp_epi_pe_plus.seq"))
REFERENCE = ("--reference", str(EPI / "ramp_epi_pe_none.dat"), "--reference-seq", str(EPI / "ramp_epi_pe_none.seq"))
SEQ = str(EPI / "ramp_epi_pe_plus.seq")


def fails(capsys, *arguments: str) -> str:
    """Run a command that must fail with one line on stderr, and return that line."""
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("pulsetwin: ")
    return output.err


@pytest.fixture
def stubs(monkeypatch):
    """Replace the reader and the reconstruction; return the arguments they were called with."""
    from pulsetwin.recon import read, reconstruct

    shape, calls = (1, 8, 8), []
    raw = scan(np.ones((8, 1, 8)), cartesian_positions(shape), shape)
    images = Images(np.ones((1, *shape), np.complex64), np.eye(4), ({},), quality={"ghost_level_after": 0.01})
    monkeypatch.setattr(read, "read", lambda *args, **kept: calls.append(("read", args, kept)) or raw)
    monkeypatch.setattr(
        reconstruct, "reconstruct", lambda *args, **kept: calls.append(("reconstruct", args, kept)) or images
    )
    return calls


@pytest.mark.parametrize("verb", ["recon", "info", "check", "plot"])
def test_every_verb_has_help_with_an_example(capsys, verb):
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    assert stop.value.code == 0
    assert f"example: pulsetwin {verb}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"pulsetwin {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["desing"],
        ["recon", "scan.dat"],
        ["recon", "scan.dat", "-o", "out", "--coils", "0"],
        ["recon", "scan.dat", "-o", "out", "--memory", "nan"],
        ["recon", "scan.dat", "-o", "out", "--method", "magic"],
    ],
)
def test_wrong_usage_is_told(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: pulsetwin" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("info",), ("check", "--scanner", "siemens-prisma"), ("plot", "-o", "x.png")])
def test_missing_file_and_folder(capsys, tmp_path, verb):
    assert "no such file" in fails(capsys, verb[0], str(tmp_path / "absent"), *verb[1:])
    told = "holds no data.1d or fid.1d" if verb[0] == "info" else "is a folder"
    assert told in fails(capsys, verb[0], str(tmp_path), *verb[1:])


def test_options_without_their_partner(capsys, tmp_path):
    out = str(tmp_path / "out")
    assert "needs --reference" in fails(capsys, "recon", SCAN[0], "-o", out, "--reference-seq", SEQ)
    assert "needs --seq" in fails(capsys, "recon", SCAN[0], "-o", out, "--trust-seq")


def test_existing_output_is_found_before_any_work(capsys, tmp_path, stubs):
    (tmp_path / "file").touch()
    assert "--force" in fails(capsys, "recon", *SCAN, "-o", str(tmp_path))
    told = fails(capsys, "recon", *SCAN, "-o", str(tmp_path / "file"), "--force")
    assert "is a file; give the name of a folder" in told
    assert stubs == []


def test_options_reach_the_reconstruction(capsys, tmp_path, stubs):
    options = ["--method", "sense", "--coils", "8", "--memory", "1.5", "--partial", "--trust-seq", "--double"]
    options += ["--device", "cuda:1"]
    assert cli.main(["recon", *SCAN, *REFERENCE, *options, "-o", str(tmp_path / "out")]) == 0
    (_, scan_args, reading), (_, reference_args, _), (_, _, settings) = stubs
    assert scan_args == (SCAN[0], SCAN[2])
    assert reference_args == (REFERENCE[1], REFERENCE[3])
    assert (reading["partial"], reading["trust_seq"], reading["noise"]) == (True, True, None)
    assert settings["reference"] is not None
    del settings["progress"], settings["reference"]
    expected = {"method": "sense", "coils": 8, "memory": 3 << 29, "precision": "double", "device": "cuda:1"}
    assert settings == expected
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"]["memory"] == 1.5
    assert set(summary["inputs"]) == {"scan", "seq", "reference", "reference_seq"}
    assert set(summary["timings_s"]) == {"read", "read the reference", "reconstruct", "write"}
    output = capsys.readouterr()
    assert "ghost level after: 1 %" in output.out
    assert "\r" not in output.err, "no progress bar off a terminal"


def test_interrupt_leaves_nothing(capsys, tmp_path, stubs, monkeypatch):
    from pulsetwin.export import recon_output

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(recon_output, "_page", interrupt)
    assert cli.main(["recon", *SCAN, "-o", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "\npulsetwin: interrupted; no output was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_unreadable_file_is_an_error(capsys, tmp_path):
    (tmp_path / "scan.dat").touch(mode=0o000)
    assert "permission" in fails(capsys, "info", str(tmp_path / "scan.dat")).lower()


def test_recon_of_the_real_epi(capsys, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["recon", *SCAN, *REFERENCE, "-o", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["quality"]["ghost_level_before"] > 10 * summary["quality"]["ghost_level_after"]
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("*.*")) == summary["outputs"]
    image = nibabel.load(out / "images.nii.gz")
    assert image.shape == (96, 96, 1, 1)
    np.testing.assert_allclose(image.header.get_zooms()[:3], (220 / 96, 220 / 96, 4), rtol=1e-5)
    output = capsys.readouterr()
    for name in ("images.nii.gz", "figures", "report.html"):
        assert str(out / name) in output.out
    assert all(line.startswith("warning: ") for line in output.err.splitlines())
    assert not [warning for warning in summary["warnings"] if "could not be drawn" in warning]


def test_wrong_sequence_is_refused(capsys, tmp_path):
    wrong = str(EPI / "ramp_epi_pe_none.seq")
    message = fails(capsys, "recon", SCAN[0], "--seq", wrong, "-o", str(tmp_path / "out"))
    assert "ramp_epi_pe_none.seq" in message
    assert list(tmp_path.iterdir()) == []


def test_truncated_scan_needs_partial(capsys, tmp_path):
    whole = Path(SCAN[0]).read_bytes()
    cut = tmp_path / "cut.dat"
    cut.write_bytes(whole[:-30_000])
    out = str(tmp_path / "out")
    assert "--partial" in fails(capsys, "recon", str(cut), *SCAN[1:], "-o", out)
    assert cli.main(["info", str(cut)]) == 0
    assert "readouts" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0" * 4096])
def test_what_is_no_scan_is_an_error(capsys, tmp_path, content):
    (tmp_path / "scan.dat").write_bytes(content)
    assert "scan.dat" in fails(capsys, "info", str(tmp_path / "scan.dat"))


def test_info_of_raw_data(capsys):
    assert cli.main(["info", str(ROOT / "tests" / "data" / "vendor_gre" / "gre.dat")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for expected in (["coils", "2"], ["imaging", "160"], ["LIN", "0", "to", "159"], ["fov_mm", "200,", "200,", "4"]):
        assert expected in lines


def test_info_as_json(capsys):
    assert cli.main(["info", SCAN[0], "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["coils"] == 1
    assert facts["readouts"][0]["count"] == 96
    assert facts["readouts"][0]["samples"] == 136


def test_info_of_a_sequence(capsys):
    assert cli.main(["info", SEQ, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["signature"] == "9d6df5a85bad21639167ff169a80d783"
    assert cli.main(["info", SEQ]) == 0
    assert "9d6df5a85bad21639167ff169a80d783" in capsys.readouterr().out


def test_check_tells_playable_from_not(capsys, tmp_path):
    report = tmp_path / "report.json"
    assert cli.main(["check", SEQ, "--scanner", "siemens-prisma", "--json", str(report)]) == 0
    assert "playable" in capsys.readouterr().out
    assert json.loads(report.read_text())["playable"] is True
    weak = tmp_path / "weak.toml"
    preset = ROOT / "pulsetwin" / "scanners" / "siemens-prisma.toml"
    weak.write_text(re.sub("max_slew *=.*", "max_slew = 100.0", preset.read_text()))
    assert cli.main(["check", SEQ, "--scanner", str(weak)]) == 1
    assert "NOT playable" in capsys.readouterr().out
    assert "siemens-prisma" in fails(capsys, "check", SEQ, "--scanner", "siemens-prism")


def test_plot(capsys, tmp_path):
    picture = tmp_path / "scan.png"
    assert cli.main(["plot", SEQ, "-o", str(picture)]) == 0
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 300
    capsys.readouterr()
    assert "--force" in fails(capsys, "plot", SEQ, "-o", str(picture))
    assert cli.main(["plot", SEQ, "-o", str(picture), "--force"]) == 0


def test_closed_pipe_is_no_traceback():
    command = f"import sys; from pulsetwin.cli import main; sys.exit(main(['info', {SEQ!r}]))"
    run = subprocess.run(
        f'"{sys.executable}" -c "{command}" | true', shell=True, capture_output=True, text=True, timeout=60
    )
    assert run.stderr == ""
