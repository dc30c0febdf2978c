"""The loop finds known minima, and a run that was killed ends bit for bit as one that was not."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pulsetwin.errors import DivergedError, FileError, MismatchError, ProtocolError
from pulsetwin.optimize.checkpoint import load_checkpoint, save_checkpoint
from pulsetwin.optimize.loop import Loss, optimise
from pulsetwin.optimize.parameters import Parameter

PARAMETERS = {"x": Parameter(torch.tensor([-1.2, 1.0]))}
ROOT = Path(__file__).resolve().parents[2]


def rosenbrock(values, step, generator):
    x, y = values["x"]
    residuals = torch.stack((1 - x, 10 * (y - x * x)))
    return Loss(residuals.square().sum(), {"x": x}, residuals)


def bowl(values, step, generator):
    residuals = torch.tensor([[2.0, 1.0], [0.0, 1.0]], dtype=torch.float64) @ (values["x"] - 1)
    return Loss(residuals.square().sum())


def noisy(values, step, generator):
    noise = torch.randn(2, generator=generator, dtype=torch.float64)
    return Loss((values["x"] - noise).square().sum() + 0.01 * values["x"].pow(4).sum(), {"noise": noise[0]})


@pytest.mark.parametrize(
    ("method", "loss", "settings", "tolerance"),
    [
        ("adam", bowl, {"steps": 400, "rate": 0.1, "decay": 0.1}, 1e-5),
        ("lbfgs", rosenbrock, {"steps": 60, "rate": 1.0}, 1e-7),
        ("gauss-newton", rosenbrock, {"steps": 40, "rate": 1.0}, 1e-7),
    ],
)
def test_each_method_finds_the_minimum(method, loss, settings, tolerance):
    learnt = optimise(loss, PARAMETERS, method=method, **settings)
    assert torch.allclose(learnt.values["x"], torch.ones(2, dtype=torch.float64), atol=tolerance)
    assert len(learnt.history) == learnt.step == settings["steps"]
    assert torch.allclose(learnt.best["x"], torch.ones(2, dtype=torch.float64), atol=tolerance)


def test_rates_decay_and_restart():
    learnt = optimise(rosenbrock, PARAMETERS, steps=8, rate=0.1, decay=0.01, restarts=1)
    rates = [line["rate"] for line in learnt.history]
    assert rates[:4] == pytest.approx([0.1 * 0.01 ** (n / 4) for n in range(4)])
    assert rates[4:] == rates[:4]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("method", ["adam", "lbfgs", "gauss-newton"])
def test_a_resumed_run_is_bit_identical(method, tmp_path):
    loss = rosenbrock if method != "adam" else noisy
    settings = {"method": method, "steps": 20, "rate": 0.3, "decay": 0.5, "restarts": 1, "seed": 3, "every": 7}
    whole = optimise(loss, PARAMETERS, **settings)

    def stop(step, values, history):
        assert len(history) == step + 1
        if step == 16:
            raise Stopped

    file = tmp_path / "state.pt"
    with pytest.raises(Stopped):
        optimise(loss, PARAMETERS, **settings, checkpoint=file, watch=stop)
    assert load_checkpoint(file)["step"] == 14
    again = optimise(loss, PARAMETERS, **settings, checkpoint=file)
    assert torch.equal(again.values["x"], whole.values["x"])
    assert torch.equal(again.best["x"], whole.best["x"])
    assert again.history == whole.history


SETTINGS = {"steps": 60, "rate": 0.1, "decay": 0.5, "restarts": 2, "seed": 1, "every": 5}
KILLED = """
import sys, time, torch
from pathlib import Path
from pulsetwin.optimize.loop import optimise
from tests.optimize.test_loop import PARAMETERS, SETTINGS, noisy
def slow(values, step, generator):
    time.sleep(float(sys.argv[2]))
    return noisy(values, step, generator)
learnt = optimise(slow, PARAMETERS, **SETTINGS, checkpoint=Path(sys.argv[1]))
torch.save({"values": learnt.values, "history": learnt.history}, sys.argv[1] + ".end")
"""


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path):
    def start(name, pause):
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), str(pause)]
        return subprocess.Popen(command, cwd=ROOT)

    killed = start("killed", 0.2)
    while not (tmp_path / "killed").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    at = load_checkpoint(tmp_path / "killed")["step"]
    assert 0 < at < 60
    assert not (tmp_path / "killed.end").exists()
    assert start("killed", 0).wait(120) == 0
    end = torch.load(tmp_path / "killed.end", weights_only=True)
    whole = optimise(noisy, PARAMETERS, **SETTINGS)
    assert torch.equal(end["values"]["x"], whole.values["x"])
    assert end["history"] == whole.history


@pytest.mark.parametrize("where", ["loss", "watch", "progress"])
@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(method, where, tmp_path):
    calls = []

    def interrupt(name):
        calls.append(name)
        if calls.count(where) == 5:
            calls.append(where)
            raise KeyboardInterrupt

    def loss(values, step, generator):
        interrupt("loss")
        return rosenbrock(values, step, generator)

    told = {"watch": lambda *_: interrupt("watch"), "progress": lambda *_: interrupt("progress")}
    settings = {"steps": 9, "method": method, "rate": 0.1, "restarts": 2}
    whole = optimise(rosenbrock, PARAMETERS, **settings)
    with pytest.raises(KeyboardInterrupt):
        optimise(loss, PARAMETERS, checkpoint=tmp_path / "a", **told, **settings)
    again = optimise(loss, PARAMETERS, checkpoint=tmp_path / "a", **told, **settings)
    assert torch.equal(again.values["x"], whole.values["x"])
    assert again.history == whole.history


@pytest.mark.parametrize("kind", ["nan", "gradient", "runaway"])
def test_a_run_that_diverges_keeps_its_last_good_state(kind, tmp_path):
    def bad(values, step, generator):
        x = values["x"]
        good = x.square().sum() + 1
        if step < 6:
            return Loss(good)
        if kind == "gradient":
            return Loss(good + (x - x.detach()).abs().sqrt().sum() + (x - x.detach()).square().sqrt().sum())
        return Loss(good * (math.nan if kind == "nan" else 1e9))

    whole = optimise(bad, PARAMETERS, steps=5)
    with pytest.raises(DivergedError, match=r"step 6.*state of step 5 is in"):
        optimise(bad, PARAMETERS, steps=20, checkpoint=tmp_path / "a")
    state = load_checkpoint(tmp_path / "a")
    assert torch.equal(state["free"]["x"], whole.values["x"])
    assert state["step"] == len(state["history"]) == 5


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    optimise(noisy, PARAMETERS, steps=3, checkpoint=tmp_path / "a")
    with pytest.raises(MismatchError, match="settings: rate"):
        optimise(noisy, PARAMETERS, steps=3, rate=0.5, checkpoint=tmp_path / "a")
    with pytest.raises(MismatchError, match="other parameters"):
        optimise(noisy, {"x": Parameter(torch.zeros(3))}, steps=3, checkpoint=tmp_path / "a")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    (tmp_path / "text").write_text("no")
    torch.save({"a": 1}, tmp_path / "other")
    save_checkpoint(tmp_path / "cut", {"step": 1, "free": {"x": torch.zeros(1000)}})
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:1500])
    torch.save({"what": Path("x")}, tmp_path / "code")
    for name in ("text", "other", "cut", "code", "missing"):
        with pytest.raises(FileError, match="anew"):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": 5, "rate": 0.0}, {"steps": 5, "decay": 2.0}, {"steps": 5, "restarts": 5},
     {"steps": 5, "method": "magic"}, {"steps": 5, "every": 0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ProtocolError, match="optimise"):
        optimise(noisy, PARAMETERS, **settings)


def test_gauss_newton_needs_residuals():
    with pytest.raises(ProtocolError, match="residuals"):
        optimise(noisy, PARAMETERS, steps=2, method="gauss-newton")
