"""The time of a run is that of all its legs, however they end."""

from __future__ import annotations

import json

import pytest

from pulsetwin.optimize import time_spent as module
from pulsetwin.optimize.experiment import experiment_from
from pulsetwin.optimize.run import run_experiment
from pulsetwin.optimize.time_spent import SPENT, time_spent
from tests.optimize.broken_off import Broken

TABLES = {
    "sequence": {"kind": "gradient_echoes", "matrix": 4}, "phantom": {"name": "shepp-logan"},
    "learn": {"free": ["flip_angle"]}, "loop": {"steps": 2, "pictures": 100},
}  # fmt: skip


def test_legs_add_up_however_they_end(tmp_path, monkeypatch):
    clocks = {"monotonic": 0.0, "process_time": 100.0}
    for name in clocks:
        monkeypatch.setattr(module.time, name, lambda name=name: clocks[name])
    path = tmp_path / SPENT

    def leg():
        with time_spent(path) as spent:
            clocks["monotonic"] += 5
            clocks["process_time"] += 3
            spent()
            clocks["monotonic"] += 2
            raise Broken

    with pytest.raises(Broken):
        leg()
    assert json.loads(path.read_text()) == {"seconds": 7.0, "cpu_seconds": 3.0}
    clocks["monotonic"] += 1000  # between the legs
    with time_spent(path) as spent:
        clocks["monotonic"] += 4
        clocks["process_time"] += 1
        assert spent() == {"seconds": 11.0, "cpu_seconds": 4.0}


def test_a_run_that_ends_before_it_began_leaves_nothing(tmp_path):
    with pytest.raises(Broken), time_spent(tmp_path / SPENT):
        raise Broken
    assert not list(tmp_path.iterdir())


def test_a_finished_run_that_is_resumed_keeps_its_time(tmp_path):
    experiment = experiment_from(TABLES, "file")
    first = run_experiment(experiment, tmp_path)
    again = run_experiment(experiment, tmp_path, resume=True)
    for name, value in json.loads((tmp_path / SPENT).read_text()).items():
        assert 0 < first[name] <= again[name] == value
