"""RASER on the command line: from a sequence to raw data of both vendors, trained networks, images and figures."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pulsetwin.cli import main, recon_raser
from pulsetwin.recon.raser import methods

SETTINGS = ("fov=3mm,3mm,10mm", "matrix=12,12,1", "angles=6", "samples=1024", "dwell=2ms", "pumping=0.1s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold a sequence, its scan as TWIX and Spinsolve, and networks that were hardly trained for it."""
    folder = tmp_path_factory.mktemp("raser")
    seq, given = str(folder / "a.seq"), [part for one in SETTINGS for part in ("--set", one)]
    assert main(["design", "raser", "--scanner", "magritek-spinsolve-60", *given, "-o", seq]) == 0
    for name in ("a.dat", "a.spinsolve"):
        simulated = ["simulate", seq, "--phantom", "tube", "--matrix", "12", "--snr", "1000"]
        assert main([*simulated, "-o", str(folder / name)]) == 0
    assert main(["train", "raser", "--seq", seq, "--steps", "1", "-o", str(folder / "a.safetensors")]) == 0
    return folder


def recon(folder, scan: str, out: str, *options: str) -> int:
    return main(["recon", str(folder / scan), "--seq", str(folder / "a.seq"), "-o", str(folder / out), *options])


def test_all_methods_are_offered():
    assert recon_raser.METHODS == methods.METHODS


def test_both_vendors_files_give_one_image(folder):
    networks = ("--method", "cnn", "--raser-networks", str(folder / "a.safetensors"))
    assert recon(folder, "a.dat", "twix", *networks) == 0
    assert recon(folder, "a.spinsolve", "spinsolve", *networks) == 0
    one, other = (np.load(folder / out / "images_complex.npy") for out in ("twix", "spinsolve"))
    assert one.shape == (1, 1, 12, 12)
    assert np.abs(one - other).max() < 1e-4
    summary = json.loads((folder / "spinsolve" / "summary.json").read_text())
    assert summary["inputs"]["scan"]["bytes"] > 6 * 8 * 1024
    assert summary["settings"]["method"] == "cnn"
    assert summary["settings"]["gain"] is None
    assert (folder / "twix" / "figures" / "sinogram.png").exists()


def test_an_inversion_is_the_default_and_shows_deviation_and_residual(folder, capsys):
    assert recon(folder, "a.dat", "inverted", "--over-threshold", "9", "--gain", "1", "--raser-t1", "4.5") == 0
    settings = json.loads((folder / "inverted" / "summary.json").read_text())["settings"]
    assert settings["method"] == "inversion"
    assert [settings[name] for name in ("over_threshold", "gain", "raser_t1", "raser_t2star")] == [9, 1, 4.5, 0.7]
    for name in ("images", "sinogram", "deviation", "residual"):
        assert (folder / "inverted" / "figures" / f"{name}.png").exists(), name
    told = capsys.readouterr().out
    for words in ("chi squared", "T2star error", "kappa", "residual correlation"):
        assert words in told, words


def test_raw_spectra_are_shown_with_a_warning(folder, capsys):
    assert recon(folder, "a.dat", "raw", "--method", "fbp") == 0
    assert "distorted" in capsys.readouterr().err


def test_what_does_not_go_together_is_told(folder, capsys):
    networks = ("--raser-networks", str(folder / "a.safetensors"))
    for options, words in (
        (("--method", "fbp", *networks), "cnn or hybrid"),
        (("--method", "fft", "--gain", "2"), "--gain is for RASER"),
        (("--method", "cnn", "--coils", "2"), "--coils is not for a RASER"),
        (("--noise", str(folder / "a.dat")), "--noise is not for a RASER"),
        (("--method", "fbp", "--maps", "none"), "--maps is not for a RASER"),
        (("--method", "cnn"), "train some for it"),
        (("--method", "inversion", "--gain", "-2"), "gain -2"),
        (("--method", "inversion", "--gain", "1e6"), "check the gain"),
        (("--method", "fbp", "--gain", "2"), "--gain is not for --method fbp"),
        (("--method", "fbp", "--over-threshold", "12"), "--over-threshold is not for --method fbp"),
        (("--method", "cnn", "--raser-t2star", "0.8", *networks), "train some for it"),
        (("--raser-t1", "-5"), "T1 -5"),
        (("--raser-pump-decay", "0"), "decay of the pumping 0"),
        (("--method", "fbp", "--raser-pump-decay", "1"), "--raser-pump-decay is not for --method fbp"),
    ):
        assert recon(folder, "a.dat", "nothing", *options) == 2
        assert words in capsys.readouterr().err
    assert not (folder / "nothing").exists()


def test_an_interrupted_training_tells_its_checkpoint(folder, capsys, monkeypatch):
    from pulsetwin.recon.raser import train as training

    def interrupt(write, path, *_, **__):
        if write:
            Path(f"{path}.new").touch()
            Path(f"{path}.new").replace(path)
        raise KeyboardInterrupt

    path = folder / "interrupted.safetensors"
    for write, options, told in (
        (False, (), "no output was written"), (True, (), "pass --resume to go on"),
        (False, ("--force",), "no output was written"), (True, ("--force",), "pass --resume to go on"),
        (False, ("--resume",), "pass --resume to go on"),
    ):  # fmt: skip
        monkeypatch.setattr(training, "train", partial(interrupt, write))
        assert main(["train", "raser", "-o", str(path), *options]) == 130
        err = capsys.readouterr().err
        assert err.startswith("\npulsetwin: interrupted; ")
        assert told in err
        assert ("pass --resume" not in told) or f"the last checkpoint is {path}" in err


def test_networks_are_not_written_to_a_folder(folder, capsys, monkeypatch):
    from pulsetwin.recon.raser import train as training

    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("the training must not run"))
    (folder / "kept.safetensors").mkdir()
    for options in ((), ("--force",)):
        assert main(["train", "raser", "-o", str(folder / "kept.safetensors"), *options]) == 2
        assert "is a folder; give the name of a file" in capsys.readouterr().err


def test_info_reads_folders_of_spinsolve(folder, capsys):
    assert main(["info", str(folder / "a.spinsolve"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["header"]["format"] == "Spinsolve"
    assert told["readouts"][0]["count"] == 6


def test_trainings_are_resumed_and_kept(folder, capsys):
    given = ["train", "raser", "--seq", str(folder / "a.seq"), "--steps", "2"]
    path = str(folder / "a.safetensors")
    for arguments, words in (
        (["-o", path], "exists already"),
        (["-o", path, "--resume"], "is over after 1 steps"),
        (["-o", path, "--resume", "--t2star", "0.5"], "resume with the same settings"),
        (["-o", str(folder / "d.safetensors"), "--t1", "-1"], "above 0"),
        (["-o", str(folder / "d.safetensors"), "--seed", "9" * 23], "a seed of 0 or more"),
        (["-o", str(folder / "b.pt")], "written as .safetensors"),
        (["-o", str(folder / "c.safetensors"), "--resume"], "no such file"),
    ):
        assert main([*given, *arguments]) == 2
        assert words in capsys.readouterr().err
