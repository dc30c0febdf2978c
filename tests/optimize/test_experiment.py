"""Experiments: keys are checked, a run learns, and one that was broken off goes on to the same end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import FileError, MismatchError, OutputExistsError, ProtocolError
from pulsetwin.optimize.experiment import experiment_from, read_experiment
from pulsetwin.optimize.nerve_stimulation import nerve_peak
from pulsetwin.optimize.problem import problem_of
from pulsetwin.optimize.run import run_experiment
from pulsetwin.scanner import Scanner
from tests.optimize.broken_off import Broken, broken_off

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples/experiments").glob("*.toml"))
SMALL = """
title = "small"
[sequence]
kind = "gradient_echoes"
matrix = 8
[phantom]
name = "shepp-logan"
[learn]
free = ["flip_angle"]
[loss]
sar = 0.01
[loop]
steps = 12
every = 4
pictures = 6
states = 50
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def changed(**tables):
    base = {"sequence": {"kind": "gradient_echoes", "matrix": 8}, "learn": {"free": ["flip_angle"]}}
    return {name: base.get(name, {}) | tables.get(name, {}) for name in {**base, **tables}}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_experiments(path):
    if 'kind = "' not in path.read_text():
        pytest.skip("not an experiment of `pulsetwin optimize`")
    assert read_experiment(path).title


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"loop": {"stepps": 3}}, r"file: \[loop\]: no setting 'stepps', did you mean '?steps"),
        ({"loop": {"steps": 0}}, r"file: \[loop\]: steps = 0: give 1"),
        ({"loop": {"method": "magic"}}, r"\[loop\]: method = 'magic'"),
        ({"losses": {}}, "no table 'losses'"),
        ({"sequence": {"kind": "epi"}}, r"\[sequence\] kind = 'epi'"),
        ({"sequence": {"kind": ["epi"]}}, r"\[sequence\] kind = \['epi'\]"),
        ({"sequence": {"order": "centric"}}, r"\[sequence\]: no setting 'order'"),
        ({"learn": {"free": ["refocusing"]}}, r"\[learn\] free holds refocusing"),
        ({"sequence": {"te": 1e-4}}, r"file: \[sequence\]: gradient echoes: 8 samples of 4e-05 s do not fit TE 0.0001"),
        ({"learn": {"free": []}}, r"\[learn\] free is empty"),
        ({"phantom": {"name": "sparse"}, "loss": {"contrast": 1.0}}, "contrast is between the tissues"),
    ],
)
def test_what_is_wrong_is_named(tables, told):
    with pytest.raises(ProtocolError, match=told):
        experiment_from(changed(**tables), "file")


def test_files_are_toml(tmp_path):
    (tmp_path / "a.toml").write_text("[loop\n")
    for name in ("a.toml", "missing.toml"):
        with pytest.raises(FileError):
            read_experiment(tmp_path / name)


def test_a_run_learns_and_writes_all_of_it(small, tmp_path, capsys):
    assert main(["optimize", str(small), "-o", str(tmp_path / "run")]) == 0
    assert "SAR" in capsys.readouterr().out
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["steps"] == 12
    assert 0.1 < result["sar"] < 0.99
    learnt = np.load(tmp_path / "run/learnt.npz")
    assert learnt["flip_angle"].shape == (8,)
    assert learnt["image"].shape == (8, 8)
    error = np.linalg.norm(learnt["image"] - learnt["target"]) / np.linalg.norm(learnt["target"])
    assert error == pytest.approx(result["image_error"], rel=1e-6)
    for name in ("film.gif", "film.mp4", "state.png", "checkpoint.pt", "experiment.toml"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert main(["optimize", str(small), "-o", str(tmp_path / "run")]) == 2
    assert "--resume to go on" in capsys.readouterr().err


def test_an_interrupted_run_tells_how_to_go_on(small, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pulsetwin.optimize.run._finish", interrupt)
    run = ["optimize", str(small), "-o", str(tmp_path / "run")]
    assert main(run) == 130
    assert f"pass --resume to go on with the run in {tmp_path / 'run'}" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*run, "--resume"]) == 0


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path, capsys):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SMALL + 'scanner = "siemens-prism"\n')
    assert main(["optimize", str(wrong), "-o", str(tmp_path / "run")]) == 2
    assert "did you mean 'siemens-prisma'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def assert_same_frames(folder):
    """Assert that a whole and a broken run have the same pictures, byte for byte."""
    one, two = (
        {frame.name: frame.read_bytes() for frame in (folder / name / "frames").iterdir()}
        for name in ("whole", "broken")
    )
    assert len(one) > 2
    assert one == two


@pytest.mark.slow
def test_a_broken_run_goes_on_to_the_same_end(small, tmp_path):
    experiment = read_experiment(small)
    run_experiment(experiment, tmp_path / "whole")

    with pytest.raises(Broken):
        run_experiment(experiment, tmp_path / "broken", progress=broken_off(7))
    with pytest.raises(OutputExistsError, match="resume"):
        run_experiment(experiment, tmp_path / "broken")
    run_experiment(experiment, tmp_path / "broken", resume=True)
    one, two = (np.load(tmp_path / name / "learnt.npz") for name in ("whole", "broken"))
    for name in one.files:
        assert np.array_equal(one[name], two[name]), name
    assert_same_frames(tmp_path)
    small.write_text(SMALL.replace("0.01", "0.02"))
    with pytest.raises(MismatchError):
        run_experiment(read_experiment(small), tmp_path / "broken", resume=True)


def test_an_experiment_of_others_is_not_overwritten(small, tmp_path):
    own = tmp_path / "run" / "experiment.toml"
    own.parent.mkdir()
    own.write_text("title = 'of others'")
    with pytest.raises(OutputExistsError, match="not empty"):
        run_experiment(read_experiment(small), own.parent)
    assert own.read_text() == "title = 'of others'"


def test_limits_are_met_where_the_loss_alone_would_exceed_them(small, tmp_path):
    small.write_text(SMALL.replace("sar = 0.01", "") + "[limits]\nsar = 0.6\nrounds = 3\n")
    result = run_experiment(read_experiment(small), tmp_path / "run")
    assert result["steps"] == 36
    assert 0.5 < result["sar"] < 0.605
    assert result["sar_limit"] == 0.6
    assert result["exceeded"] == []


def test_a_limit_that_is_missed_is_told(small, tmp_path, capsys):
    small.write_text(SMALL.replace("steps = 12", "steps = 2") + "[limits]\nsar = 0.01\nrounds = 1\n")
    assert main(["optimize", str(small), "-o", str(tmp_path / "run")]) == 0
    assert "limit    of sar exceeded" in capsys.readouterr().out


def test_constraints_are_relative_to_the_limits():
    problem = problem_of(
        experiment_from(changed(learn={"free": ["flip_angle", "spoil"]}, limits={"sar": 0.5, "pns": 80.0}), "file")
    )
    halved = {"flip_angle": problem.scheme.values["flip_angle"] / 2}
    found = problem.constraints(halved)
    peak = float(nerve_peak(problem.timeline(halved), Scanner.preset("siemens-prisma"), 8e-3))
    assert found.tolist() == pytest.approx([0.25 / 0.5 - 1, peak / 80 - 1])


def test_sparse_phantoms_are_tested_on_the_phantom_that_is_named():
    tables = {"phantom": {"name": "sparse", "test": "brain", "samples": 2}}
    problem = problem_of(experiment_from(changed(**tables), "file"))
    assert problem.still == ()
    assert torch.equal(problem.shown().image, problem.imaged("brain").image)
    values = dict(problem.scheme.values)
    halved = values | {"flip_angle": values["flip_angle"] / 2}
    first, second, again = (problem.loss(halved, 0, torch.Generator().manual_seed(seed)) for seed in (1, 2, 1))
    assert float(first.total) == float(again.total) != float(second.total)


def test_the_target_itself_has_no_error():
    problem = problem_of(experiment_from(changed(), "file"))
    found = problem.loss(dict(problem.scheme.values), 0, torch.Generator())
    assert float(found.terms["error"]) < 1e-6
    assert float(found.terms["sar"]) == pytest.approx(1.0)


@pytest.mark.parametrize("sequence", ["gradient_echoes", "spin_echoes"])
def test_gradients_are_those_of_differences(sequence):
    gradient_echo = ["flip_angle", "phase", "centre", "readout", "bend", "spoil"]
    free = {"gradient_echoes": gradient_echo, "spin_echoes": ["refocusing"]}
    tables = {
        "sequence": {"kind": sequence, "matrix": 8}, "phantom": {"name": "shepp-logan"},
        "learn": {"free": free[sequence]},
        "loss": {"l1": 0.1, "kspace": 0.3, "sar": 0.1, "smoothness": 0.1, "coverage": 0.2, "gradients": 1e-3,
                 "pns": 0.1},
        "target": {"method": "cg", "iterations": 4},
    }  # fmt: skip
    problem = problem_of(experiment_from(tables, "file"))
    generator = torch.Generator().manual_seed(1)

    def disturbed(name):
        value = problem.scheme.values[name]
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return value + 0.03 * (value.abs().mean() + (50 if name == "bend" else 1)) * noise

    values = {name: disturbed(name).requires_grad_() for name in free[sequence]}
    problem.loss(values, 0, generator).total.backward()
    for name, value in values.items():
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        step = 2e-3 * value.detach().abs().mean()
        ends = [values | {name: value.detach() + sign * step * way} for sign in (1, -1)]
        with torch.no_grad():
            high, low = (problem.loss(end, 0, generator).total for end in ends)
        expected = float((high - low) / (2 * step))
        assert float((value.grad * way).sum()) == pytest.approx(expected, rel=0.02, abs=2e-4), name
