"""`fit-diffusion` from files to a folder, and its errors in one line."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pulsetwin import __version__, cli
from tests.conftest import ROOT
from tests.test_cli import fails

CURVES = ROOT / "examples" / "data" / "spin_diffusion" / "curves.csv"
CONFIG = ROOT / "examples" / "data" / "spin_diffusion" / "particle.toml"


def command(folder: Path, curves: Path = CURVES, config: Path = CONFIG) -> tuple[str, ...]:
    return ("fit-diffusion", str(curves), "--config", str(config), "-o", str(folder / "out"))


def test_files_become_a_folder(capsys, tmp_path):
    assert cli.main(command(tmp_path)) == 0
    output, out = capsys.readouterr(), tmp_path / "out"
    assert output.err == ""
    assert output.out.startswith("radius   2")
    told = json.loads((out / "summary.json").read_text())
    assert sorted(told["outputs"]) == sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert told["pulsetwin"] == __version__
    assert told["inputs"]["curves"]["sha256"] == hashlib.sha256(CURVES.read_bytes()).hexdigest()
    assert told["inputs"]["particle"]["sha256"] == hashlib.sha256(CONFIG.read_bytes()).hexdigest()
    assert told["settings"]["solid"]["t1"] == 1000
    fit = told["fit"]
    low, high = fit["interval"]["radius"]
    assert low < fit["radius_m"] < high
    assert abs(fit["radius_m"] / 25e-9 - 1) < 0.02
    assert fit["starts_agreeing"] == 5
    with (out / "fit.csv").open() as file:
        rows = list(csv.DictReader(file))
    left = np.array([[float(row[name]) - float(row[f"{name}_fit"]) for row in rows] for name in ("solid", "liquid")])
    assert np.allclose(np.sqrt(np.square(left).mean(1)), fit["residual_rms"], rtol=1e-4)
    assert "data:image/png;base64" in (out / "report.html").read_text()
    for name in ("fit", "polarisation"):
        with Image.open(out / "figures" / f"{name}.png") as picture:
            assert picture.size[0] > 500
    assert "--force" in fails(capsys, *command(tmp_path))
    assert cli.main((*command(tmp_path), "--force")) == 0


def test_a_known_outer_radius_is_told_of_in_the_report(tmp_path):
    config = tmp_path / "particle.toml"
    config.write_text(CONFIG.read_text().replace("outer_ratio = 1.8", "outer_radius = 4.5e-8", 1))
    assert cli.main(command(tmp_path, config=config)) == 0
    change = json.loads((tmp_path / "out" / "summary.json").read_text())["fit"]["radius_change_percent_per_percent"]
    assert next(iter(change)) == "outer_radius"
    assert 0.05 < abs(change["outer_radius"]) < 5
    assert "outer_radius" in (tmp_path / "out" / "report.html").read_text().split("What the radius owes")[1]


def test_uniform_liquid_and_warnings(capsys, tmp_path):
    config = tmp_path / "particle.toml"
    config.write_text('boundary = "uniform"\n' + CONFIG.read_text())
    assert cli.main(command(tmp_path, config=config)) == 0
    output = capsys.readouterr()
    assert "warning: what is left of the curve of the solid is no noise" in output.err
    assert (tmp_path / "out" / "figures" / "polarisation.png").exists()


def lines(change) -> str:
    rows = CURVES.read_text().splitlines()[1:]
    return "\n".join(change(rows)) + "\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: [*rows[:3], "0.5,nan,2"], "line 4: solid is nan"),
        (lambda rows: [*rows, "-0.5,1,2"], "time_s is -0.5; give times after saturation"),
        (lambda rows: ["t,solid,liquid", *rows[1:]], "has the columns t, solid, liquid"),
        (lambda rows: ["time_s,solid,liquid,other", *rows[1:]], "has the columns"),
        (lambda rows: [rows[0], *(f"{k + 1},5,5" for k in range(30))], "solid: the curve never rises"),
        (lambda rows: rows[:1], "has no rows of numbers"),
        (lambda rows: [*rows[:3], "0.5,1e200,2"], "line 4: solid is 1e+200"),
        (lambda rows: [*rows[:3], f"0.5,{140_000 * '1'},2"], "line 4: is no CSV"),
    ],
)
def test_bad_curves_are_told_in_one_line(capsys, tmp_path, change, told):
    curves = tmp_path / "curves.csv"
    curves.write_text(lines(change))
    assert told in fails(capsys, *command(tmp_path, curves=curves))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("t1 = 0.5", "", "[liquid]: t1 missing"),
        ("t1 = 0.5", "t1 = '0.5'", "liquid.t1 = '0.5' is no number"),
        ("t1 = 0.5", "t1 = 1" + 400 * "0", "liquid.t1 is beyond 1e-50 to 1e+50"),
        ("t1 = 0.5", "T_1 = 0.5", "unknown key 'T_1'"),
        ("diffusion = 1e-15", "diffusion = 1e-3", "give it in m^2/s"),
        ("[liquid]", "[liqid]", "unknown key 'liqid', did you mean 'liquid'"),
        ('shape = "sphere"', 'shape = "cube"', "take one of slab, cylinder, sphere"),
        ('shape = "sphere"', "shape = ", "is not TOML"),
        ('free = ["radius"]', 'free = "radius"', "give a list"),
        ('free = ["radius"]', 'free = ["radius", 3]', "unknown 3"),
        ('free = ["radius"]', "noise = [1.0]", "a list of two numbers"),
    ],
)
def test_bad_particles_are_told_in_one_line(capsys, tmp_path, old, new, told):
    config = tmp_path / "particle.toml"
    assert old in CONFIG.read_text()
    config.write_text(CONFIG.read_text().replace(old, new, 1))
    assert told in fails(capsys, *command(tmp_path, config=config))


def test_example_ends_in_a_figure(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spin_diffusion.py", str(tmp_path / "figure.png")])
    runpy.run_path(str(ROOT / "examples" / "spin_diffusion.py"), run_name="__main__")
    rows = [line for line in capsys.readouterr().out.splitlines() if " diffusion " in line]
    assert len(rows) == 4
    assert all(abs(float(re.search(r"([+-][\d.]+) % without noise", row)[1])) < 0.01 for row in rows)
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size[0] > 1000


def test_an_output_of_the_wrong_kind_is_found_before_the_fit(capsys, tmp_path, monkeypatch):
    from pulsetwin.recon.spin_diffusion import fit

    (tmp_path / "out").touch()
    monkeypatch.setattr(fit, "fit_radius", lambda *_: pytest.fail("the fit must not run"))
    assert "is a file; give the name of a folder" in fails(capsys, *command(tmp_path), "--force")


def test_files_that_are_not_there(capsys, tmp_path):
    assert "no such file" in fails(capsys, *command(tmp_path, curves=tmp_path / "none.csv"))
    assert "is a folder" in fails(capsys, *command(tmp_path, config=tmp_path))
