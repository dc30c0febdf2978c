"""The sequence of a run's folder: realised, played by the scanner, and near to what was learnt."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import FileError, OutputExistsError
from pulsetwin.export.playable import check
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.problem import problem_of
from pulsetwin.optimize.realise_run import realise_run, realise_values
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.optimize.run import run_experiment
from pulsetwin.scanner import Scanner
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantoms import shepp_logan

TABLES = {
    "sequence": {"kind": "gradient_echoes", "matrix": 8, "te": 3e-3},
    "phantom": {"name": "shepp-logan"},
    "learn": {"free": ["flip_angle", "phase", "centre", "readout", "spoil"], "start": "zero"},
    "loop": {"steps": 3, "pictures": 100},
}
TEXT = """
[sequence]
kind = "gradient_echoes"
matrix = 8
te = 3e-3
[phantom]
name = "shepp-logan"
[learn]
free = ["flip_angle", "phase", "centre", "readout", "spoil"]
start = "zero"
[loop]
steps = 3
pictures = 100
"""


def learn(tmp_path, tables, text):
    run_experiment(experiment_from(tables, "a", text), tmp_path / "run")
    return json.loads((tmp_path / "run" / "result.json").read_text())


def test_a_run_from_zero_ends_in_a_sequence(tmp_path):
    result = learn(tmp_path, TABLES, TEXT)
    assert check(tmp_path / "run" / "sequence.seq", Scanner.preset("siemens-prisma")).playable
    assert "sequence.seq" in result["hashes"]
    assert result["reality"]["longer"] == {}
    assert 0 < result["reality"]["gap"] < 0.05
    with pytest.raises(OutputExistsError):
        realise_run(tmp_path / "run")
    told, gap = realise_run(tmp_path / "run", force=True)
    assert told == result["reality"]
    assert float((gap.realised - gap.learnt).norm() / gap.learnt.norm()) == pytest.approx(told["gap"])


def test_weak_refocusing_pulses_turn_k_in_raw_data(tmp_path):
    """All readers of 1.5 are told what a pulse is for: 20 degrees would pass for an excitation."""
    sequence = {"kind": "spin_echoes", "matrix": 8}
    tables = {"sequence": sequence, "phantom": {"name": "shepp-logan"}, "learn": {"free": ["refocusing"]}}
    problem = problem_of(experiment_from(tables, "a"))
    values = {"refocusing": torch.full((8,), math.radians(20), dtype=torch.float64)}
    realise_values(problem, values, problem.shown(), tmp_path / "a.seq")
    raw = acquire(tmp_path / "a.seq", shepp_logan((1, 8, 8)), problem.scanner)
    wanted = sampled_kspace(problem.timeline(values), problem.scheme.refocusing).reshape(8, 8, 3)[..., :2]
    np.testing.assert_allclose(raw.groups[0].trajectory.positions()[..., :2], wanted, atol=2e-3)


def test_the_gap_is_told_by_graphs_whatever_engine_learnt(tmp_path, capsys):
    path = tmp_path / "spins.toml"
    path.write_text(TEXT + 'engine = "isochromats"\nspins = 16\n')
    assert main(["optimize", str(path), "-o", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["engine"], result["reality"]["engine"]) == ("isochromats", "graphs")
    told = f"by graphs its image differs from the learnt one by {100 * result['reality']['gap']:.1f} %"
    assert told in capsys.readouterr().out


def test_what_cannot_be_played_is_told_and_the_run_ends(tmp_path, capsys):
    """Six samples are no multiple of four."""
    path = tmp_path / "six.toml"
    path.write_text(TEXT.replace("matrix = 8", "matrix = 6"))
    assert main(["optimize", str(path), "-o", str(tmp_path / "run")]) == 0
    assert "sequence none: readouts of 6 samples" in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "readouts of 6 samples" in result["not_realised"]
    assert not (tmp_path / "run" / "sequence.seq").exists()


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(FileError, match="holds no finished run"):
        realise_run(tmp_path)
