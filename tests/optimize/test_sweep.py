"""A sweep runs each combination once, wherever it runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.optimize.experiment import read_experiment
from pulsetwin.optimize.sweep import sweep
from tests.optimize.test_experiment import SMALL


def test_each_combination_is_run_once(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL.replace("steps = 12", "steps = 3"))
    asked = {"loss.sar": [0.0, 0.1], "loop.seed": [1]}
    with ThreadPoolExecutor(1) as pool:
        results = sweep(path, asked, tmp_path / "runs", pool)
        written = (tmp_path / "runs/0000/result.json").stat().st_mtime_ns
        again = sweep(path, asked, tmp_path / "runs", pool)
    assert [one["settings"]["loss.sar"] for one in results] == [0.0, 0.1]
    assert results[1]["sar"] < results[0]["sar"]
    assert again == results
    assert (tmp_path / "runs/0000/result.json").stat().st_mtime_ns == written
    assert read_experiment(tmp_path / "runs/0001/experiment.toml").loss.sar == 0.1
    with ThreadPoolExecutor(1) as pool, pytest.raises(MismatchError, match="another folder"):
        sweep(path, asked | {"loss.sar": [0.1, 0.2]}, tmp_path / "runs", pool)


def test_what_is_no_setting_is_refused_before_any_run(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    for asked in ({"loop.stepps": [1]}, {"seed": [1]}, {"title.seed": [1]}):
        with ThreadPoolExecutor(1) as pool, pytest.raises(ProtocolError):
            sweep(path, asked, tmp_path / "runs", pool)
    assert not (tmp_path / "runs").exists()


def test_what_is_no_toml_is_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[loop\n")
    with ThreadPoolExecutor(1) as pool, pytest.raises(FileError, match=r"broken\.toml"):
        sweep(path, {"loop.seed": [1]}, tmp_path / "runs", pool)
