"""The sequence of a run's folder: realised, played by the scanner, and near to what was learnt."""

from __future__ import annotations

import json

import pytest

from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.realise_run import realise_run
from pulsetwin.optimize.run import run_experiment
from pulsetwin.scanner import Scanner

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


@pytest.mark.slow
def test_a_run_from_zero_is_realised(tmp_path):
    run_experiment(experiment_from(TABLES, "a", TEXT), tmp_path / "run")
    told, gap = realise_run(tmp_path / "run")
    assert check(tmp_path / "run" / "sequence.seq", Scanner.preset("siemens-prisma")).playable
    assert json.loads((tmp_path / "run" / "reality.json").read_text()) == told
    assert told["longer"] == {}
    assert 0 < gap.gap < 0.05
    with pytest.raises(OutputExistsError):
        realise_run(tmp_path / "run")


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(FileError, match="holds no finished run"):
        realise_run(tmp_path)
    sparse = TABLES | {"phantom": {"name": "sparse"}}
    text = TEXT.replace("shepp-logan", "sparse")
    run_experiment(experiment_from(sparse, "a", text), tmp_path / "run")
    with pytest.raises(ProtocolError, match="new in each step"):
        realise_run(tmp_path / "run")
